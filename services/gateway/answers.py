"""What is answered about a photo, before anyone has written it as JSON, msgpack or protobuf."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.camera import CAMERA_DISTANCE
from inversefacenet.confidence import quality_block
from inversefacenet.errors import ExportError, InputError
from inversefacenet.image import encode_png
from inversefacenet.stages import stage
from services.gateway.jobs import Output
from services.gateway.schemas import ModelInfo, Part

if TYPE_CHECKING:
    from inversefacenet.parameters import Parameters
    from inversefacenet.reconstruction import Reconstruction

PNG: str = "image/png"


@dataclass(frozen=True)
class File:
    """A file that belongs to an answer.

    Attributes:
        name: What it could be called on a disk.
        content: Its bytes.
        media_type: Its media type.
        format: Its format's short name: png, glb, obj or ply.
        size: Width and height in pixels, of pictures.
    """

    name: str
    content: bytes
    media_type: str
    format: str
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class FaceResult:
    """One reconstructed face.

    Attributes:
        box: Left, top, right, bottom in photo pixels.
        score: The detector's confidence; None where it wasn't asked.
        landmarks: The 68 points in photo pixels; None where nobody knows them.
        parameters: The 350 numbers.
        quality: How well they explain the photo, by name; what nobody could measure is left out.
        camera_distance: Millimetres from the pinhole to the model's origin.
        scale: Photo pixels per unit of the image plane.
        offset: Photo pixel of the optical axis.
        crop_scale: Crop pixels per photo pixel.
        crop_offset: crop = crop_scale * photo + crop_offset.
        mesh: If asked for.
        rendering: If asked for.
        contours: If asked for.
        quality_before: The quality of the network's own answer, where this one is refined.
    """

    box: tuple[float, float, float, float]
    score: float | None
    landmarks: Float32[np.ndarray, "68 2"] | None
    parameters: Parameters
    quality: dict[str, float | str]
    camera_distance: float
    scale: float
    offset: tuple[float, float]
    crop_scale: float
    crop_offset: tuple[float, float]
    mesh: File | None = None
    rendering: File | None = None
    contours: File | None = None
    quality_before: dict[str, float | str] | None = None


@dataclass
class PhotoAnswer:
    """The faces of one photo, largest first.

    Attributes:
        id: Names this reconstruction.
        model: What made it.
        size: Width and height of the upright photo in pixels.
        faces: At least one.
        truncated: There are more faces than the service's limit; the smallest were left out.
        overlay: If asked for.
        timings_ms: Milliseconds by stage.
    """

    id: str
    model: ModelInfo
    size: tuple[int, int]
    faces: list[FaceResult]
    truncated: bool = False
    overlay: File | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)

    def files(self) -> list[File]:
        """Return all files that belong to the answer."""
        files = [file for face in self.faces for file in (face.mesh, face.rendering, face.contours)]
        return [file for file in (*files, self.overlay) if file is not None]


def answer_faces(
    image: UInt8[np.ndarray, "height width 3"] | None,
    size: tuple[int, int],
    reconstructions: Sequence[Reconstruction],
    model: ModelInfo,
    output: Output,
    *,
    truncated: bool = False,
) -> PhotoAnswer:
    """Collect what the caller wants to know about a photo's faces, without timings.

    Args:
        image: The decoded photo; wanted where `output` needs it.
        size: Its width and height.
        reconstructions: Its faces, largest first.
        model: What made them.
        output: What the caller wants to have.
        truncated: More faces were found than are given here.
    """
    from inversefacenet.visualisation import overlay

    faces = [
        answer_face(reconstruction, output, number, image)
        for number, reconstruction in enumerate(reconstructions)
    ]
    laid_over = None
    if Part.OVERLAY in output.parts and image is not None:
        with stage("render"):
            picture = overlay(image, list(reconstructions))
        laid_over = picture_file("overlay.png", picture)
    return PhotoAnswer(uuid.uuid4().hex, model, size, faces, truncated, laid_over)


def answer_face(
    reconstruction: Reconstruction,
    output: Output,
    number: int = 0,
    image: UInt8[np.ndarray, "height width 3"] | None = None,
) -> FaceResult:
    """Collect what the caller wants to know about one face.

    Args:
        reconstruction: The face.
        output: What is wanted.
        number: Names its files.
        image: The photo; wanted for a mesh with its colours or in its pixels.
    """
    face, crop = reconstruction.face, reconstruction.crop
    left, top, right, bottom = (float(edge) for edge in face.box)
    placement = reconstruction.photo_placement
    parts, before = output.parts, reconstruction.before
    return FaceResult(
        box=(left, top, right, bottom),
        score=None if math.isnan(face.score) else float(face.score),
        landmarks=face.landmarks if np.isfinite(face.landmarks).all() else None,
        parameters=reconstruction.parameters,
        quality=reconstruction.assessment(),
        camera_distance=CAMERA_DISTANCE,
        scale=float(placement.scale),
        offset=(float(placement.offset[0]), float(placement.offset[1])),
        crop_scale=float(crop.placement.scale),
        crop_offset=(float(crop.placement.offset[0]), float(crop.placement.offset[1])),
        mesh=_mesh(reconstruction, output, number, image) if Part.MESH in parts else None,
        rendering=_rendering(reconstruction, output, number) if Part.RENDERING in parts else None,
        contours=_contours(reconstruction, number) if Part.CONTOURS in parts else None,
        quality_before=None if before is None else quality_block(before, reconstruction.confidence),
    )


def picture_file(name: str, pixels: UInt8[np.ndarray, "height width channels"]) -> File:
    """Encode a picture as PNG."""
    with stage("encode"):
        return File(name, encode_png(pixels), PNG, "png", (pixels.shape[1], pixels.shape[0]))


def _mesh(
    reconstruction: Reconstruction,
    output: Output,
    number: int,
    image: UInt8[np.ndarray, "height width 3"] | None,
) -> File:
    from inversefacenet.export import mesh_of

    with stage("encode"):
        try:
            mesh = mesh_of(reconstruction, output.mesh_space, output.mesh_colours, image, output.texture_size)
        except ExportError as error:
            # A model that its operator has imported; the project's own has an atlas.
            raise InputError(
                "This service's face model has no places for a texture: ask for other mesh_colours."
            ) from error
        return mesh_file(mesh, output, f"face{number}")


def mesh_file(mesh: object, output: Output, name: str) -> File:
    """Encode a mesh in the format that was asked for; OBJ comes as a ZIP with its material."""
    from inversefacenet.export import MEDIA_TYPES, Mesh, mesh_to_bytes

    assert isinstance(mesh, Mesh)
    form = output.mesh_format
    ending = "obj.zip" if form == "obj" else form
    return File(f"{name}.{ending}", mesh_to_bytes(mesh, form), MEDIA_TYPES[form], form)


def _rendering(reconstruction: Reconstruction, output: Output, number: int) -> File:
    from inversefacenet.visualisation import face_picture

    with stage("render"):
        picture = face_picture(reconstruction.model, reconstruction.parameters, output.size)
    return picture_file(f"face{number}.rendering.png", picture)


def _contours(reconstruction: Reconstruction, number: int) -> File:
    from inversefacenet.visualisation import contour_picture

    with stage("render"):
        picture = contour_picture(reconstruction)
    return picture_file(f"face{number}.contours.png", picture)
