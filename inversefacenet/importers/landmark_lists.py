"""Which vertices are the 68 landmarks, as far as somebody has published it; and files that say so.

- BFM 2009: `Landmarks68_BFM.anl` of anilbas/BFMLandmarks (MIT), numbered from 1 as MATLAB does; eos'
  `ibug_to_bfm.txt`, numbered from 0, has the nose tip (31) at 8319 and the left mouth corner (49) at 5006.
- BFM 2017 and 2019: the files name some sixty points; those that are iBUG's stand in `NAMED`. None lies on
  the jaw but the chin; `transfer` adds what is missing.
- ICT-FaceKit: `idx_to_landmark_verts` of its `vertex_indices.json`, read by `ict`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float64, Int64

from inversefacenet.errors import FaceModelError
from inversefacenet.importers.nearest import nearest
from inversefacenet.importers.raw_model import MISSING, no_between

BFM2009_VERTICES: Final = 53490

# fmt: off
BFM2009_LANDMARKS: Final[Int64[np.ndarray, "68"]] = np.array([
    22143, 22813, 22840, 23250, 44124, 45884, 47085, 47668, 48188, 48708, 49299, 50498, 52457, 32022, 32386,
    32359, 32979, 38886, 39636, 40030, 40238, 40433, 41172, 41368, 41578, 42011, 42646, 8291, 8305, 8314,
    8320, 6783, 7687, 8331, 8977, 9879, 1832, 3760, 5050, 6087, 4546, 3516, 10731, 11758, 12919, 14859, 13191,
    12157, 5523, 6155, 7442, 8345, 9506, 10799, 11199, 10179, 9277, 8374, 7471, 6566, 5909, 7322, 8354, 9386,
    10941, 9141, 8367, 7194,
]) - 1
# fmt: on

NAMED: Final = {
    8: ("center.chin.tip",),
    18: ("right.eyebrow.bend.upper", "right.eyebrow.bend.lower"),
    20: ("right.eyebrow.inner_upper", "right.eyebrow.inner_lower"),
    23: ("left.eyebrow.inner_upper", "left.eyebrow.inner_lower"),
    25: ("left.eyebrow.bend.upper", "left.eyebrow.bend.lower"),
    30: ("center.nose.tip",),
    31: ("right.nose.wing.tip",),
    33: ("center.nose.attachement_to_philtrum",),
    35: ("left.nose.wing.tip",),
    36: ("right.eye.corner_outer",),
    39: ("right.eye.corner_inner",),
    42: ("left.eye.corner_inner",),
    45: ("left.eye.corner_outer",),
    48: ("right.lips.corner",),
    50: ("right.lips.philtrum_ridge",),
    51: ("center.lips.upper.outer",),
    52: ("left.lips.philtrum_ridge",),
    54: ("left.lips.corner",),
    57: ("center.lips.lower.outer",),
    62: ("center.lips.upper.inner",),
    66: ("center.lips.lower.inner",),
}
"""Landmarks that are named points of the Basel pipeline, or lie between two; "right" is the subject's.

By their places: a brow's "inner" points lie 21 mm from the middle and its "bend" 45 mm, as points 20 and 18
do on average, while the brow's ends, 21 and 17, aren't named.
"""

NAMED_BETWEEN: Final = {
    (37, 38): "right.eye.top",
    (40, 41): "right.eye.bottom",
    (43, 44): "left.eye.top",
    (46, 47): "left.eye.bottom",
}
"""Named points that lie between two landmarks."""

_FAR: Final = 10.0
"""Millimetres from the surface beyond which a named point is on another face."""


def named_landmarks(
    where: str, text: str, geometry: Float64[np.ndarray, "vertices 3"]
) -> tuple[Int64[np.ndarray, "68"], Int64[np.ndarray, "between 3"]]:
    """Find the vertices of named points.

    Args:
        where: What to call the text in messages.
        text: JSON: a list of objects with "id" and "coordinates", or coordinates by name.
        geometry: The mean face in the same millimetres.

    Returns:
        Vertices in iBUG order, -1 for what isn't named; and points between two landmarks, as two numbers
        and a vertex.

    Raises:
        FaceModelError: If the text can't be read or its points lie off the face.
    """
    points = _points(where, text)
    known = {
        number: np.mean([points[name] for name in names], axis=0)
        for number, names in NAMED.items()
        if all(name in points for name in names)
    }
    middles = {pair: points[name] for pair, name in NAMED_BETWEEN.items() if name in points}
    landmarks = np.full(68, MISSING, np.int64)
    if not known:
        return landmarks, no_between()
    places = np.stack([*known.values(), *middles.values()])
    vertices = nearest(places, geometry)
    off = float(np.linalg.norm(geometry[vertices] - places, axis=1).max())
    if not off < _FAR:
        raise FaceModelError(
            f"{where}: a named point lies {off:.0f} mm off the mean face: name the landmarks with "
            "--landmarks."
        )
    landmarks[list(known)] = vertices[: len(known)]
    between = [(*pair, vertex) for pair, vertex in zip(middles, vertices[len(known) :], strict=True)]
    return landmarks, np.array(between, np.int64).reshape(-1, 3)


def _points(where: str, text: str) -> dict[str, Float64[np.ndarray, "3"]]:
    try:
        found = json.loads(text)
        entries = found.items() if isinstance(found, dict) else ((e["id"], e["coordinates"]) for e in found)
        return {str(name): np.asarray(place, np.float64).reshape(3) for name, place in entries}
    except (ValueError, KeyError, TypeError) as error:
        raise FaceModelError(f"{where} can't be read as named points: {error}.") from error


def read_landmarks(path: Path) -> Int64[np.ndarray, "68"]:
    """Read a landmark file: 68 vertex numbers from 0 in iBUG order, -1 for unknown ones, as JSON or text.

    In a text everything from `%` or `#` to the line's end is a comment.

    Raises:
        FaceModelError: If the file is missing or holds anything else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FaceModelError(f"{path.name} can't be read: {error}.") from error
    try:
        if path.suffix == ".json":
            numbers = [int(number) for number in json.loads(text)]
        else:
            lines = (line.partition("#")[0].partition("%")[0] for line in text.splitlines())
            numbers = [int(word) for line in lines for word in line.replace(",", " ").split()]
    except (ValueError, TypeError) as error:
        raise FaceModelError(f"{path.name} must hold vertex numbers: {error}.") from error
    if len(numbers) != 68 or min(numbers) < MISSING:
        raise FaceModelError(
            f"{path.name} must hold 68 vertex numbers, counted from 0, in iBUG order (-1: unknown), but "
            f"holds {len(numbers)}."
        )
    return np.array(numbers, np.int64)
