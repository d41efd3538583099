"""Edits applied to the photo: the face composited back into the uncropped picture, its own detail kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from inversefacenet.camera import Placement
from inversefacenet.crop import resample
from inversefacenet.editing.appearance import Appearances
from inversefacenet.editing.edits import Edit
from inversefacenet.editing.frame import Frame, Subject, near_border
from inversefacenet.editing.registration import register
from inversefacenet.editing.sampling_view import sample_photo
from inversefacenet.editing.sequence import apply_edits
from inversefacenet.editing.surface import Recent, Surface, Surfaces
from inversefacenet.errors import ImageError
from inversefacenet.parameters import Parameters
from inversefacenet.reconstruction import Reconstruction

CONTEXT: Final = 1.75
"""Side of the previews' square, in sizes of the face."""

LARGEST_PREVIEW: Final = 2048
_LARGEST_FRAME: Final = 1024
_MARGIN: Final = 1.0  # of the edited part of the photo around the face, in sizes of the face


class PhotoEditor:
    """A photo and one face of it, prepared once for many edits.

    An instance serves one thread at a time.
    """

    def __init__(self, image: UInt8[np.ndarray, "height width 3"], reconstruction: Reconstruction) -> None:
        """Prepare the edits.

        Args:
            image: The uncropped photo that was reconstructed.
            reconstruction: The face; the better it fits (`Reconstructor.refine`), the better the edits.

        Raises:
            ImageError: If the photo has another size than the one that was reconstructed, or the face doesn't
                lie in it.
            LandmarkError: If its parameters lead to no finite face.
        """
        reconstruction.check_photo(image)
        self.image = image
        self.reconstruction = reconstruction
        model = reconstruction.model
        self._registration = register(reconstruction)
        self._surfaces = Surfaces(model, self._registration.placement)
        registered = self._registration.of(reconstruction.parameters)
        present = self._surfaces.of(registered)
        samples = sample_photo(image, model, present)
        border = near_border(model)
        self._subject = Subject(model, self._registration.placement, present, samples, border)
        self._appearances = Appearances(self._surfaces, present, registered, samples)
        low, high = self._subject.box
        height, width = image.shape[:2]
        if high[0] <= 0 or high[1] <= 0 or low[0] >= width or low[1] >= height:
            raise ImageError("The face doesn't lie in this photo: give the photo that was reconstructed.")
        self._frames: Recent = Recent()

    @property
    def parameters(self) -> Parameters:
        """The present parameters."""
        return self.reconstruction.parameters

    @property
    def box(self) -> tuple[int, int, int]:
        """Left, top and side of the previews' square, in the photo's pixels; it lies inside the photo."""
        low, high = self._subject.box
        height, width = self.image.shape[:2]
        side = max(1, min(math.ceil(CONTEXT * self._subject.size), height, width))
        left, top = (round(float(middle) - side / 2) for middle in (low + high) / 2)
        return min(max(left, 0), width - side), min(max(top, 0), height - side), side

    def edited(self, edits: Sequence[Edit] | Parameters) -> Parameters:
        """Return the parameters that edits lead to."""
        if isinstance(edits, Parameters):
            return edits
        return apply_edits(self.reconstruction.model, self.parameters, edits)

    def edit(self, edits: Sequence[Edit] | Parameters) -> UInt8[np.ndarray, "height width 3"]:
        """Return the uncropped photo with the edited face in it.

        Edits that change nothing return the photo's own bytes, and so do pixels that no edit reaches.

        Args:
            edits: The edits, applied in order; or the edited parameters themselves.

        Raises:
            LandmarkError: If the parameters are so large that they lead to no finite face.
        """
        picture = self.image.copy()
        new = self.edited(edits)
        if not self._changes(new):
            return picture
        left, top, right, bottom = self._part(self._surface(new))
        frame = self._frames.get(
            ("part", left, top, right, bottom), lambda: self._frame(left, top, right, bottom)
        )
        picture[top:bottom, left:right] = self._edit(frame, new, smooth=True)
        return picture

    def preview(self, edits: Sequence[Edit] | Parameters, size: int) -> UInt8[np.ndarray, "size size 3"]:
        """Return the square `box` of the edited photo, at an interactive rate.

        Args:
            edits: The edits, applied in order; or the edited parameters themselves.
            size: Pixels on a side, 16 to 2048.

        Raises:
            ImageError: If the size is out of range.
            LandmarkError: If the parameters are so large that they lead to no finite face.
        """
        if not 16 <= size <= LARGEST_PREVIEW:
            raise ImageError(f"A preview has 16 to {LARGEST_PREVIEW} pixels on a side, not {size}.")
        frame = self._frames.get(("preview", size), lambda: self._preview_frame(size))
        new = self.edited(edits)
        return self._edit(frame, new, smooth=False) if self._changes(new) else frame.picture.copy()

    def _changes(self, new: Parameters) -> bool:
        return not np.array_equal(new.vector(), self.parameters.vector())

    def _surface(self, new: Parameters) -> Surface:
        return self._surfaces.of(self._registration.of(new))

    def _edit(self, frame: Frame, new: Parameters, *, smooth: bool) -> UInt8[np.ndarray, "height width 3"]:
        surface = self._surface(new)
        return frame.edit(surface, self._appearances.edited(surface, new), smooth=smooth)

    def _part(self, surface: Surface) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of what an edit may change."""
        points = np.concatenate([self._subject.surface.screen[:, :2], surface.screen[:, :2]])
        margin = _MARGIN * self._subject.size
        height, width = self.image.shape[:2]
        low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
        # Whole steps, so that the parts of similar edits are the same and are prepared once.
        step = max(int(self._subject.size / 8), 1)
        left, top = (max(math.floor(float(edge) / step) * step, 0) for edge in low)
        right, bottom = (math.ceil(float(edge) / step) * step for edge in high)
        left, top = min(left, width - 2), min(top, height - 2)
        return left, top, max(min(right, width), left + 2), max(min(bottom, height), top + 2)

    def _frame(self, left: int, top: int, right: int, bottom: int) -> Frame:
        picture = self.image[top:bottom, left:right]
        scale = min(1.0, _LARGEST_FRAME / max(picture.shape))
        small = picture
        if scale < 1:
            shape = (math.ceil(picture.shape[1] * scale), math.ceil(picture.shape[0] * scale))
            small = np.asarray(Image.fromarray(picture).resize(shape, Image.Resampling.BOX))
            scale = shape[0] / picture.shape[1]
        return Frame(self._subject, picture, small, Placement(scale, (-left * scale, -top * scale)))

    def _preview_frame(self, size: int) -> Frame:
        left, top, side = self.box
        scale = size / side
        placement = Placement(scale, (-left * scale, -top * scale))
        picture = resample(self.image, placement, size)
        return Frame(self._subject, picture, picture, placement)
