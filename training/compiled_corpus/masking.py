"""The face region of `inversefacenet.crop.face_mask`: the landmarks' hull less the mouth's interior."""

from __future__ import annotations

from typing import Any, Final, no_type_check

import numpy as np

from inversefacenet.compilation import compiled
from inversefacenet.crop import INNER_MOUTH, KEPT_LANDMARKS

_KEPT: Final = KEPT_LANDMARKS
_MOUTH: Final = np.array(INNER_MOUTH)


@compiled
@no_type_check
def _turn(points: Any, a: Any, b: Any, c: Any) -> Any:
    return (points[b, 0] - points[a, 0]) * (points[c, 1] - points[a, 1]) - (points[b, 1] - points[a, 1]) * (
        points[c, 0] - points[a, 0]
    )


@compiled
@no_type_check
def fill_mask(landmarks: Any, mask: Any) -> None:
    """Fill the face region.

    Args:
        landmarks: The 68 landmarks in crop pixels.
        mask: The result: 1 inside, 0 outside.
    """
    size = mask.shape[0]
    count = _KEPT.shape[0]
    points = np.empty((count, 2), np.float64)
    for i in range(count):
        x, y = np.float64(landmarks[_KEPT[i], 0]), np.float64(landmarks[_KEPT[i], 1])
        place = i
        while place > 0 and (
            points[place - 1, 0] > x or (points[place - 1, 0] == x and points[place - 1, 1] > y)
        ):
            points[place, 0], points[place, 1] = points[place - 1, 0], points[place - 1, 1]
            place -= 1
        points[place, 0], points[place, 1] = x, y
    left, right = np.full(size, np.inf), np.full(size, -np.inf)
    chain = np.empty(count, np.int64)
    # Andrew's monotone chain: the hull's one side, then its other.
    for side in range(2):
        corners = 0
        for step in range(count):
            i = step if side == 0 else count - 1 - step
            while corners > 1 and _turn(points, chain[corners - 2], chain[corners - 1], i) <= 0:
                corners -= 1
            chain[corners] = i
            corners += 1
        for corner in range(corners - 1):
            a, b = chain[corner], chain[corner + 1]
            xa, ya, xb, yb = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
            if ya == yb:
                continue
            # A row counts an edge that crosses its centre line, the upper end included, the lower not.
            first = max(0, int(np.ceil(min(ya, yb) - 0.5)))
            last = min(size - 1, int(np.ceil(max(ya, yb) - 0.5)) - 1)
            for row in range(first, last + 1):
                x = xa + (row + 0.5 - ya) / (yb - ya) * (xb - xa)
                left[row], right[row] = min(left[row], x), max(right[row], x)
    for row in range(size):
        mask[row, :] = 0
        if right[row] > left[row]:
            begin = max(0, int(np.floor(left[row] + 0.5)))
            end = min(size, int(np.floor(right[row] + 0.5)))
            mask[row, begin:end] = 1
    _cut_mouth(landmarks, mask)


@compiled
@no_type_check
def _cut_mouth(landmarks: Any, mask: Any) -> None:
    """Clear the polygon of the inner lip points, by the even-odd rule."""
    size, count = mask.shape[0], _MOUTH.shape[0]
    inside = np.zeros((size, size), np.uint8)
    top, bottom = size, 0
    for edge in range(count):
        a, b = _MOUTH[edge], _MOUTH[(edge + 1) % count]
        xa, ya = np.float64(landmarks[a, 0]), np.float64(landmarks[a, 1])
        xb, yb = np.float64(landmarks[b, 0]), np.float64(landmarks[b, 1])
        if ya == yb:
            continue
        first = max(0, int(np.ceil(min(ya, yb) - 0.5)))
        last = min(size - 1, int(np.ceil(max(ya, yb) - 0.5)) - 1)
        top, bottom = min(top, first), max(bottom, last)
        for row in range(first, last + 1):
            x = xa + (row + 0.5 - ya) / (yb - ya) * (xb - xa)
            for column in range(min(size, max(0, int(np.floor(x + 0.5)))), size):
                inside[row, column] ^= 1
    for row in range(top, bottom + 1):
        for column in range(size):
            mask[row, column] &= inside[row, column] ^ 1
