"""What a posed face looks like in the crop, and how far that is from the photo."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32

from inversefacenet.camera import CROP_SIZE
from inversefacenet.colour import srgb_encode
from inversefacenet.crop import FaceCrop
from inversefacenet.errors import ImageError
from inversefacenet.fitting.posed import PosedFace
from inversefacenet.rasterizer import Fragments, interpolate, rasterize
from inversefacenet.rendering import screen_points

LEVELS = 255.0


@dataclass(frozen=True, eq=False)
class Target:
    """The photo that a fit explains.

    Attributes:
        photo: The crop in levels from 0 to 255, not masked.
        mask: The face region.
        landmarks: The 68 points in crop pixels; NaN where nobody knows them.
    """

    photo: Float32[np.ndarray, "240 240 3"]
    mask: Bool[np.ndarray, "240 240"]
    landmarks: Float32[np.ndarray, "68 2"]

    @classmethod
    def of(cls, crop: FaceCrop) -> Target:
        """Prepare a crop.

        Raises:
            ImageError: If its face region is empty.
        """
        if not crop.mask.any():
            raise ImageError("The crop's face region is empty: there is nothing to fit a face to.")
        return cls(crop.unmasked.astype(np.float32), crop.mask, crop.landmarks)

    @property
    def has_landmarks(self) -> bool:
        """Whether all points are known."""
        return bool(np.isfinite(self.landmarks).all())

    @cached_property
    def gradient(self) -> Float32[np.ndarray, "240 240 3 2"]:
        """Levels per pixel to the right and down.

        Differences reach to the neighbours inside the face region alone: what lies outside may be black.
        """
        return np.stack([self._slope(1), self._slope(0)], axis=-1)

    def _slope(self, axis: int) -> Float32[np.ndarray, "240 240 3"]:
        slope, reach = np.zeros_like(self.photo), np.zeros((*self.mask.shape, 1), np.float32)
        ahead = [slice(None), slice(None)]
        behind = [slice(None), slice(None)]
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        a, b = tuple(ahead), tuple(behind)
        both = (self.mask[a] & self.mask[b])[:, :, None]
        step = (self.photo[a] - self.photo[b]) * both
        for side in (a, b):
            slope[side] += step
            reach[side] += both
        return slope / np.maximum(reach, 1)


@dataclass(frozen=True, eq=False)
class View:
    """A face drawn into the crop.

    Attributes:
        fragments: What each pixel sees.
        picture: Levels from 0 to 255, not rounded; black where nothing is seen.
    """

    fragments: Fragments
    picture: Float32[np.ndarray, "240 240 3"]


def view(face: PosedFace) -> View:
    """Draw a face."""
    triangles = face.directions.model.triangles
    points = screen_points(face.vertices, face.placement)
    fragments = rasterize(points, triangles, CROP_SIZE, CROP_SIZE)
    linear = interpolate(fragments, triangles, face.colours.astype(np.float32))
    return View(fragments, (srgb_encode(linear) * np.float32(LEVELS)).astype(np.float32))


def squared_differences(target: Target, seen: View) -> Float32[np.ndarray, "pixels"]:
    """Return, of each pixel of the face region, the mean squared difference over the channels."""
    difference = target.photo[target.mask] - seen.picture[target.mask]
    return np.einsum("pc,pc->p", difference, difference) / np.float32(3)


def robust_cost(squared: Float[np.ndarray, "pixels"], scale: float | None) -> Float[np.ndarray, "pixels"]:
    """Return each pixel's cost: its squared difference, or Geman and McClure's bounded function of it."""
    return squared if scale is None else squared / (1 + squared / scale**2)


def robust_weights(squared: Float[np.ndarray, "pixels"], scale: float | None) -> Float[np.ndarray, "pixels"]:
    """Return each pixel's weight in a least-squares step: the derivative of its cost."""
    return np.ones_like(squared) if scale is None else 1 / (1 + squared / scale**2) ** 2
