"""Measures of one reconstruction that say without the truth whether it is usable.

They come from the detector, from the landmarks and how far the model can follow them, and from the pixels
beside the rendering. Of some sixty that were tried these carry over best to kinds of failure, and to cameras,
that the calibration hasn't seen; measures of the parameters, of pose, sharpness and brightness don't.

Convention:
    Pixels are averaged over cells of 5x5 crop pixels first, so that the photo's resolution hardly counts.
    Grey levels are 8-bit sRGB. Lengths are in distances of the outer eye corners. Measures without an upper
    bound are natural logarithms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

if TYPE_CHECKING:
    from inversefacenet.crop import FaceCrop
    from inversefacenet.landmarks import Face
    from inversefacenet.metrics import Quality
    from inversefacenet.rendering import Rendering

_CELL: Final = 5
_CELLS: Final = 48
_JAW, _INNER = slice(0, 17), slice(17, 68)
_LEFT_EYE, _RIGHT_EYE, _NOSE, _MOUTH = slice(36, 42), slice(42, 48), slice(27, 36), slice(48, 68)
_OFF: Final = 50.0  # grey levels that no face is off
_STRANGE: Final = 20.0  # the same of differences between colour channels
_FEWEST: Final = 9  # cells that can be compared


def evidence(face: Face, crop: FaceCrop, rendering: Rendering, quality: Quality) -> dict[str, float]:
    """Return all measures by name; those of `DETECTION` are NaN where no detector was asked.

    Args:
        face: What was found in the photo.
        crop: What the network saw; its landmarks must be known.
        rendering: The answer in the crop's frame.
        quality: How well that explains the crop.
    """
    points, model = crop.landmarks.astype(np.float64), rendering.landmarks.astype(np.float64)
    eyes = max(float(np.linalg.norm(points[36] - points[45])), 1e-3)
    return {
        "score": face.score,
        "spread": math.log(face.spread + 0.002),
        "photometric": math.log(quality.photometric_visible + 1),
        "hull_overlap": math.log(1.005 - quality.iou_hull),
        "nme": math.log(quality.nme + 0.005),
        **_of_landmarks(points, model, eyes),
        **_of_pixels(_Cells.of(crop, rendering), points, eyes),
    }


def _of_landmarks(
    points: Float64[np.ndarray, "68 2"], model: Float64[np.ndarray, "68 2"], eyes: float
) -> dict[str, float]:
    """How far the model's points follow the photo's, apart from shift, scale and turn."""
    inner, similarity = _after_similarity(model[_INNER], points[_INNER])
    whole, _ = _after_similarity(model, points)
    return {
        "inner_points": math.log(math.sqrt(float((inner**2).mean())) / eyes + 0.005),
        "jaw_points": math.log(float(whole[_JAW].mean()) / eyes + 0.005),
        "model_turned": abs(math.atan2(similarity.imag, similarity.real)),
    }


def _after_similarity(
    points: Float64[np.ndarray, "n 2"], onto: Float64[np.ndarray, "n 2"]
) -> tuple[Float64[np.ndarray, "n"], complex]:
    """Return the distances after the best similarity, and that similarity: scale and turn as one number."""
    a, b = points @ np.array([1, 1j]), onto @ np.array([1, 1j])
    a, b = a - a.mean(), b - b.mean()
    factor = complex(np.vdot(a, b) / max(float(np.vdot(a, a).real), 1e-9))
    return np.abs(b - factor * a), factor


@dataclass(frozen=True)
class _Cells:
    """Crop and rendering, averaged over cells.

    Attributes:
        photo: The crop before masking.
        drawn: The rendering.
        face: Cells of the face mask.
        seen: Those of them that the mesh covers.
    """

    photo: Float32[np.ndarray, "48 48 3"]
    drawn: Float32[np.ndarray, "48 48 3"]
    face: Bool[np.ndarray, "48 48"]
    seen: Bool[np.ndarray, "48 48"]

    @classmethod
    def of(cls, crop: FaceCrop, rendering: Rendering) -> _Cells:
        """Average a crop and a rendering in its frame."""
        face = _share(crop.mask) > 0.5
        seen = face & (_share(rendering.mask) > 0.9)
        return cls(_averages(crop.unmasked), _averages(rendering.image), face, seen)


def _of_pixels(cells: _Cells, points: Float64[np.ndarray, "68 2"], eyes: float) -> dict[str, float]:
    seen = cells.seen
    if seen.sum() < _FEWEST:
        return dict(_NOTHING_SEEN)  # the mesh misses the face
    grey, drawn = cells.photo.mean(axis=2), cells.drawn.mean(axis=2)
    contrast = float(grey[seen].std()) + 2
    # A face that is brighter or warmer as a whole is explained as well as before: hence the medians.
    off = np.where(seen, grey - drawn, 0)
    off = np.where(seen, off - np.median(off[seen]), 0)
    # Differences of neighbouring channels: red less green, green less blue.
    hue = np.diff(cells.photo - cells.drawn, axis=2)
    hue = np.where(seen, np.abs(hue - np.median(hue[seen], axis=0)).max(axis=2), 0)
    inside = seen[:-1, :-1]
    edges, own_edges = _gradient(grey)[inside], _gradient(drawn)[inside]
    area = float(cells.face.sum())
    return {
        "likeness": _correlation(grey[seen], drawn[seen]),
        "unexplained": math.log(math.sqrt(float((off[seen] ** 2).mean())) / contrast + 0.02),
        "odd_region": largest_region(np.abs(off) > _OFF) / area,
        "hue": math.log(math.sqrt(float((hue[seen] ** 2).mean())) + 1),
        "hue_region": largest_region(hue > _STRANGE) / area,
        "least_likeness": _least_likeness(grey, drawn, points, eyes),
        "eye_darkness": _eye_darkness(grey, points, eyes) / contrast,
        "edges": math.log((float(edges.mean()) + 0.5) / contrast),
        "edge_likeness": _correlation(edges, own_edges),
    }


def _least_likeness(
    grey: Float32[np.ndarray, "48 48"],
    drawn: Float32[np.ndarray, "48 48"],
    points: Float64[np.ndarray, "68 2"],
    eyes: float,
) -> float:
    """Return how much that of eyes, nose and mouth which is least like the rendering's is like it."""
    found = []
    for place in (_LEFT_EYE, _RIGHT_EYE, _NOSE, _MOUTH):
        window = _window(points[place].mean(axis=0), 0.22 * eyes)
        a, b = grey[window].ravel(), drawn[window].ravel()
        found.append(_correlation(a, b) if a.size > 3 else -1.0)
    return min(found)


def _eye_darkness(
    grey: Float32[np.ndarray, "48 48"], points: Float64[np.ndarray, "68 2"], eyes: float
) -> float:
    """Return by how many grey levels the brighter pupil is darker than the cheek below it."""
    down = (points[8] - points[36:48].mean(axis=0)) / 3
    found = []
    for eye in (_LEFT_EYE, _RIGHT_EYE):
        centre = points[eye].mean(axis=0)
        cheek, pupil = grey[_window(centre + down, 0.09 * eyes)], grey[_window(centre, 0.1 * eyes)]
        found.append(float(cheek.mean()) - float(pupil.min()) if cheek.size and pupil.size else 0.0)
    return min(found)


def largest_region(marked: Bool[np.ndarray, "rows columns"]) -> int:
    """Return the number of cells of the largest region that is connected by sides.

    Runs of a row are joined to those of the row above (union by the smaller number).
    """
    padded = np.zeros((marked.shape[0], marked.shape[1] + 2), np.int8)
    padded[:, 1:-1] = marked
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    if not len(rows):
        return 0
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            run = parent[run]
        return run

    above = 0
    runs = list(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True))
    for run, (row, start, end) in enumerate(runs):
        while runs[above][0] < row - 1 or (runs[above][0] == row - 1 and runs[above][2] <= start):
            above += 1
        other = above
        while other < run and runs[other][0] == row - 1 and runs[other][1] < end:
            a, b = root(other), root(run)
            parent[max(a, b)] = min(a, b)
            other += 1
    sizes: dict[int, int] = {}
    for run, (_, start, end) in enumerate(runs):
        sizes[root(run)] = sizes.get(root(run), 0) + end - start
    return max(sizes.values())


def _averages(picture: UInt8[np.ndarray, "240 240 3"]) -> Float32[np.ndarray, "48 48 3"]:
    blocks = picture.reshape(_CELLS, _CELL, _CELLS, _CELL, 3)
    return blocks.sum(axis=1, dtype=np.uint16).sum(axis=2, dtype=np.uint16).astype(np.float32) / _CELL**2


def _share(mask: Bool[np.ndarray, "240 240"]) -> Float32[np.ndarray, "48 48"]:
    blocks = mask.reshape(_CELLS, _CELL, _CELLS, _CELL)
    return blocks.sum(axis=1, dtype=np.uint16).sum(axis=2, dtype=np.uint16).astype(np.float32) / _CELL**2


def _window(centre: Float64[np.ndarray, "2"], radius: float) -> tuple[slice, slice]:
    """Return the cells about a point in crop pixels: rows and columns, at least one if inside."""
    low = np.rint((centre - radius) / _CELL).astype(int)
    high = np.maximum(np.rint((centre + radius) / _CELL).astype(int), low + 1)
    low, high = np.clip(low, 0, _CELLS), np.clip(high, 0, _CELLS)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _correlation(a: Float32[np.ndarray, "n"], b: Float32[np.ndarray, "n"]) -> float:
    """Pearson's, drawn to 0 where there is hardly any contrast: as if each cell had two grey levels more."""
    a, b = a - a.mean(), b - b.mean()
    rest = 2.0 * math.sqrt(len(a))
    return float(a @ b) / ((float(np.linalg.norm(a)) + rest) * (float(np.linalg.norm(b)) + rest))


def _gradient(picture: Float32[np.ndarray, "48 48"]) -> Float32[np.ndarray, "47 47"]:
    return np.hypot(np.diff(picture, axis=0)[:, :-1], np.diff(picture, axis=1)[:-1])


_NOTHING_SEEN: Final = {
    "likeness": -1.0,
    "unexplained": 1.0,
    "odd_region": 1.0,
    "hue": 4.0,
    "hue_region": 1.0,
    "least_likeness": -1.0,
    "eye_darkness": -1.0,
    "edges": -2.0,
    "edge_likeness": -1.0,
}

DETECTION: Final = ("score", "spread")
"""Names of the measures that come from the detector."""

EVIDENCE: Final = (
    *DETECTION,
    "photometric",
    "hull_overlap",
    "nme",
    "inner_points",
    "jaw_points",
    "model_turned",
    *_NOTHING_SEEN,
)
"""Names of all measures."""
