"""What the photo shows of each vertex: whether it is seen, and its colour, blurred to the mesh's scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.camera import CAMERA_DISTANCE, Placement
from inversefacenet.colour import to_linear
from inversefacenet.crop import resample
from inversefacenet.editing.surface import Surface
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.rasterizer import rasterize

_SIZE: Final = 320
_MARGIN: Final = 6.0
_BEHIND: Final = 3.0  # millimetres that a seen vertex may lie behind what its pixel sees
_GRAZING: Final = (0.08, 0.3)  # cosines between which a vertex counts more and more as seen


@dataclass(frozen=True, eq=False)
class PhotoSamples:
    """What a photo shows of a face's vertices.

    Attributes:
        seen: 1 for what the photo shows, 0 for what it doesn't, between at grazing angles.
        bare: 1 unless something else of the face lies before the vertex, or it lies outside the photo.
        colours: Linear RGB where the vertex lies in the picture, seen or not.
    """

    seen: Float32[np.ndarray, "vertices"]
    bare: Float32[np.ndarray, "vertices"]
    colours: Float32[np.ndarray, "vertices 3"]


def sample_photo(
    image: UInt8[np.ndarray, "height width 3"], model: MorphableModel, surface: Surface
) -> PhotoSamples:
    """Look at each vertex in the photo."""
    points = surface.screen[:, :2]
    low, high = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
    scale = (_SIZE - 2 * _MARGIN) / max(float((high - low).max()), 1e-3)
    view = Placement(scale, (_MARGIN - scale * float(low[0]), _MARGIN - scale * float(low[1])))
    picture = to_linear(resample(image, view, _SIZE))
    placed = view.apply(points)
    fragments = rasterize(
        np.concatenate([placed, surface.screen[:, 2:]], axis=1).astype(np.float32),
        model.triangles,
        _SIZE,
        _SIZE,
    )
    column, row = (np.clip(placed[:, axis].astype(int), 0, _SIZE - 1) for axis in range(2))
    depth = CAMERA_DISTANCE - surface.vertices[:, 2]
    nearest = fragments.depth[row, column]
    before = np.where(np.isfinite(nearest), depth - nearest < _BEHIND, True)
    slant = np.clip((surface.facing - _GRAZING[0]) / (_GRAZING[1] - _GRAZING[0]), 0, 1)
    seen = before * slant * slant * (3 - 2 * slant)
    inside = (
        (points[:, 0] > 0)
        & (points[:, 1] > 0)
        & (points[:, 0] < image.shape[1])
        & (points[:, 1] < image.shape[0])
    )
    return PhotoSamples(
        (seen * inside).astype(np.float32),
        (before & inside).astype(np.float32),
        _blurred(picture)[row, column],
    )


def _blurred(picture: Float32[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width 3"]:
    """Average over 5 x 5 pixels, the border repeated."""
    for axis in (0, 1):
        padded = np.pad(picture, [(2, 2) if a == axis else (0, 0) for a in range(3)], mode="edge")
        count = picture.shape[axis]
        parts = [np.take(padded, range(i, i + count), axis=axis) for i in range(5)]
        picture = np.asarray(np.mean(parts, axis=0, dtype=np.float32))
    return np.maximum(picture, np.float32(0.002))
