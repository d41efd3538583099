"""Boxes of faces, and the upright patch of fixed resolution that landmarks are predicted on.

Convention:
    Continuous coordinates, x right, y down, pixel centres at half integers, in the patch as in the photo. An
    angle is clockwise as seen in the image. Worked value: `rotation(pi / 2)` takes (1, 0) to (0, 1), from
    right to down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) edges."""

_REACH = 1.15  # half a patch's side, in box widths: holds the face at any roll


def rotation(angle: float) -> Float64[np.ndarray, "2 2"]:
    """Return the matrix of a clockwise rotation by `angle` radians."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def square(centre: Float[np.ndarray, "2"], size: float) -> Box:
    """Return the square box of a width about a centre."""
    x, y = float(centre[0]), float(centre[1])
    return (x - size / 2, y - size / 2, x + size / 2, y + size / 2)


def overlap(a: Box, b: Box) -> float:
    """Return intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / union if union > 0 else 0.0


@dataclass(frozen=True)
class FacePatch:
    """A piece of a photo about a face's box.

    Attributes:
        pixels: 8-bit sRGB.
        centre: Of the box, in patch pixels.
        width: Of the box, in patch pixels.
        matrix: With `offset`, maps patch pixels to photo pixels: matrix @ point + offset.
        offset: In photo pixels.
    """

    pixels: UInt8[np.ndarray, "rows columns 3"]
    centre: Float64[np.ndarray, "2"]
    width: float
    matrix: Float64[np.ndarray, "2 2"]
    offset: Float64[np.ndarray, "2"]

    @classmethod
    def cut(cls, image: UInt8[np.ndarray, "height width 3"], box: Box, face_width: float) -> FacePatch:
        """Cut the patch out of a photo, as far as the photo reaches.

        Args:
            image: The photo.
            box: The face; must overlap the photo.
            face_width: Patch pixels that the box's longer side becomes.
        """
        centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        size = max(box[2] - box[0], box[3] - box[1])
        limits = np.array([image.shape[1], image.shape[0]])
        low = np.clip(np.floor(centre - _REACH * size), 0, limits - 1).astype(int)
        high = np.clip(np.ceil(centre + _REACH * size), low + 1, limits).astype(int)
        piece = Image.fromarray(np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]))
        shape = np.maximum(np.rint((high - low) * (face_width / size)), 1).astype(int)
        resample = Image.Resampling.LANCZOS if face_width < size else Image.Resampling.BICUBIC
        resized = piece.resize((int(shape[0]), int(shape[1])), resample, reducing_gap=2.0)
        stretch = shape / (high - low)
        return cls(
            pixels=np.asarray(resized),
            centre=(centre - low) * stretch,
            width=face_width,
            matrix=np.diag(1 / stretch),
            offset=low.astype(np.float64),
        )

    def turned(self, roll: float, centre: Float[np.ndarray, "2"], width: float) -> FacePatch:
        """Return a patch about another box, in which a face rolled clockwise by `roll` stands upright.

        Args:
            roll: Radians.
            centre: Of the new box, in pixels of this patch; it also is the pivot.
            width: Of the new box, in pixels of this patch.
        """
        side = round(2 * _REACH * width)
        middle = np.full(2, side / 2)
        matrix = rotation(roll)
        offset = centre - matrix @ middle
        coefficients = (matrix[0, 0], matrix[0, 1], offset[0], matrix[1, 0], matrix[1, 1], offset[1])
        turned = Image.fromarray(self.pixels).transform(
            (side, side), Image.Transform.AFFINE, coefficients, resample=Image.Resampling.BILINEAR
        )
        return FacePatch(
            pixels=np.asarray(turned),
            centre=middle,
            width=width,
            matrix=self.matrix @ matrix,
            offset=self.matrix @ offset + self.offset,
        )

    def to_photo(self, points: Float[np.ndarray, "points 2"]) -> Float64[np.ndarray, "points 2"]:
        """Map patch pixels to photo pixels."""
        return points @ self.matrix.T + self.offset
