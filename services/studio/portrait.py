"""A photo and the face in it, and what the page shows of them; neither a disk nor a log ever sees it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from inversefacenet.camera import Placement
from inversefacenet.editing import Edit, PhotoEditor, parse_edits
from inversefacenet.errors import InputError
from inversefacenet.image import decode_photo, encode_jpeg
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.reconstruction import FoundFace, Reconstruction, Reconstructor
from inversefacenet.rendering import render
from inversefacenet.visualisation import overlay
from services.studio.look import Look

SECOND: Final = "second"
"""What edits call the face of the second photo."""

PREVIEW_QUALITY: Final = 88
PREVIEW_SIZE: Final = 512
"""Side of the pictures that the page asks for first while a slider moves."""

# An editor keeps maps of the photo; measured on photos of 0.3 to 24 megapixels, edited at all sizes.
_BYTES_PER_PIXEL: Final = 3
_EDITOR_BYTES: Final = 96 * 1024 * 1024

View = Literal["photo", "model"]
Square = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Portrait:
    """A photo with one of its faces chosen.

    Attributes:
        image: The sRGB photo.
        found: All faces of it, largest first.
        chosen: Which of them is edited.
        reconstruction: That face.
        editor: What applies edits to the photo.
        others: Faces of other photos that edits may refer to.
        turn: Whoever holds it uses the editor, which serves one thread at a time.
    """

    image: UInt8[np.ndarray, "height width 3"]
    found: tuple[FoundFace, ...]
    chosen: int
    reconstruction: Reconstruction
    editor: PhotoEditor
    others: Mapping[str, Parameters] = field(default_factory=dict)
    turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def model(self) -> MorphableModel:
        """The face model."""
        return self.reconstruction.model

    @property
    def memory(self) -> int:
        """Bytes that it takes, as estimated."""
        return _BYTES_PER_PIXEL * self.image.shape[0] * self.image.shape[1] + _EDITOR_BYTES

    @property
    def square(self) -> Square:
        """Left, top and side of the square that previews show, in the photo's pixels."""
        left, top, side = self.editor.box
        return int(left), int(top), int(side)

    def resolve(self, look: Look) -> tuple[tuple[Edit, ...], Parameters]:
        """Return a look's edits and the parameters that they lead to.

        Raises:
            EditError: If an edit is none.
        """
        return look.resolve(self.model, self.reconstruction.parameters, self.others)

    def picture(self, look: Look, size: int, view: View) -> tuple[bytes, Parameters]:
        """Return the face and its surroundings as JPEG, and the parameters behind the picture."""
        _, parameters = self.resolve(look)
        if view == "model":
            return encode_jpeg(self._model(parameters, size), PREVIEW_QUALITY), parameters
        with self.turn:
            square = self.editor.preview(parameters, size)
        return encode_jpeg(square, PREVIEW_QUALITY), parameters

    def edited_photo(self, parameters: Parameters) -> UInt8[np.ndarray, "height width 3"]:
        """Return the whole photo with the edited face in it."""
        with self.turn:
            return self.editor.edit(parameters)

    def with_other(self, name: str, parameters: Parameters) -> Portrait:
        """Return the same with another face that edits may refer to."""
        return replace(self, others={**self.others, name: parameters})

    def thumbnail(self, size: int) -> bytes:
        """Return the face as a small JPEG."""
        left, top, side = self.square
        source = Image.fromarray(self.image[top : top + side, left : left + side])
        return encode_jpeg(np.asarray(source.resize((size, size), Image.Resampling.LANCZOS)), PREVIEW_QUALITY)

    def summary(self) -> dict[str, Any]:
        """Return what the page needs to know of the photo, ready for JSON."""
        height, width = self.image.shape[:2]
        before = self.reconstruction.before
        return {
            "width": width,
            "height": height,
            "square": self.square,
            "faces": [{"box": [float(edge) for edge in one.face.box]} for one in self.found],
            "face": self.chosen,
            "quality": self.reconstruction.assessment(),
            "quality_before": before.to_dict() if before else None,
            "parameters": self.reconstruction.parameters.to_dict(),
            "others": sorted(self.others),
        }

    def _model(self, parameters: Parameters, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """Lay the face model over the square."""
        left, top, side = self.square
        source = Image.fromarray(self.image[top : top + side, left : left + side])
        small = np.asarray(source.resize((size, size), Image.Resampling.BILINEAR))
        scale = size / side
        into_square = Placement(scale, (-scale * left, -scale * top))
        old = self.reconstruction
        # As in the editor, a face that turns keeps its place instead of filling the crop anew.
        rendering = render(old.model, parameters, placement=old.rendering.placement)
        crop = replace(old.crop, placement=into_square.inverse().then(old.crop.placement))
        return overlay(small, replace(old, parameters=parameters, rendering=rendering, crop=crop))


def open_portrait(
    reconstructor: Reconstructor,
    data: bytes,
    *,
    max_bytes: int,
    max_pixels: int,
    max_faces: int,
    refine: int = 0,
) -> Portrait:
    """Read a photo, find its faces and reconstruct the largest.

    Args:
        reconstructor: What finds faces and parameters.
        data: The photo's file.
        max_bytes: Largest file.
        max_pixels: Largest photo.
        max_faces: So many faces are found at most.
        refine: Most steps of the optimiser; 0 for the network's own answer.

    Raises:
        ImageError: If it is no photo or too large.
        NoFaceError: If it shows no face.
        BackendError: If the network can't answer.
    """
    image = decode_photo(data, max_bytes=max_bytes, max_pixels=max_pixels)
    found = tuple(reconstructor.find(image, "all", limit=max_faces))
    return _reconstructed(reconstructor, image, found, 0, refine)


def choose_face(reconstructor: Reconstructor, portrait: Portrait, face: int, refine: int) -> Portrait:
    """Return the same photo with one of its faces reconstructed anew: another, or fitted in another way.

    Args:
        reconstructor: What finds parameters.
        portrait: The photo.
        face: Which face.
        refine: Most steps of the optimiser; 0 for the network's own answer.

    Raises:
        InputError: If there is no such face.
    """
    if face >= len(portrait.found):
        raise InputError(
            f"The photo has {len(portrait.found)} faces, counted from 0: there is no face {face}."
        )
    chosen = _reconstructed(reconstructor, portrait.image, portrait.found, face, refine)
    return replace(chosen, others=portrait.others)


def _reconstructed(
    reconstructor: Reconstructor,
    image: UInt8[np.ndarray, "height width 3"],
    found: tuple[FoundFace, ...],
    chosen: int,
    refine: int,
) -> Portrait:
    one = [found[chosen]]
    (reconstruction,) = reconstructor.finish(one, reconstructor.infer(one))
    if refine:
        reconstruction = reconstructor.refine(reconstruction, refine)
    return Portrait(image, found, chosen, reconstruction, _prepared(image, reconstruction))


def _prepared(image: UInt8[np.ndarray, "height width 3"], reconstruction: Reconstruction) -> PhotoEditor:
    """Return an editor that has done once what the first slider would else wait for."""
    editor = PhotoEditor(image, reconstruction)
    editor.preview(parse_edits([{"edit": "relight", "light": "soft"}], reconstruction.model), PREVIEW_SIZE)
    return editor
