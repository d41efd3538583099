"""Lower resolution and back: antialiased and plain bilinear resizing, as torch's `interpolate` does them.

Convention:
    A pass resizes the rows and turns the picture over its diagonal, so that two passes resize both sides by
    code that walks along rows alone, and bring the picture back upright.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, no_type_check

import numpy as np
from jaxtyping import Float32, Int64

from inversefacenet.compilation import compiled
from training.compiled_corpus.arithmetic import ZERO

Taps = tuple[Int64[np.ndarray, "rows"], Float32[np.ndarray, "rows taps"]]
"""First source row, and the weights of it and of those that follow, for each row of the result."""

_TILE: Final = 16


@lru_cache(maxsize=512)
def shrinking(size: int, small: int) -> Taps:
    """Return the taps of antialiased bilinear resizing from `size` rows to fewer."""
    scale = size / small
    centre = (np.arange(small) + 0.5) * scale
    first = np.maximum((centre - scale + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + scale + 0.5).astype(np.int64), size)
    taps = int((last - first).max())
    rows = first[:, None] + np.arange(taps)
    weights = np.maximum(1 - np.abs((rows - centre[:, None] + 0.5) / scale), 0) * (rows < last[:, None])
    weights /= weights.sum(axis=1, keepdims=True)
    return _inside(first, weights, size)


@lru_cache(maxsize=512)
def enlarging(small: int, size: int) -> Taps:
    """Return the taps of bilinear resizing from `small` rows to more."""
    where = np.maximum((np.arange(size) + 0.5) * (small / size) - 0.5, 0)
    first = where.astype(np.int64)
    share = where - first
    return _inside(first, np.stack([1 - share, share], axis=1), small)


def _inside(first: np.ndarray, weights: np.ndarray, rows: int) -> Taps:
    """Move taps that reach beyond the last row up; their weights there count for that row."""
    taps = weights.shape[1]
    moved = np.maximum(first + taps - rows, 0)
    result = np.zeros_like(weights)
    for row, shift in enumerate(moved):
        for tap in range(taps):
            result[row, min(tap + shift, taps - 1)] += weights[row, tap]
    return (first - moved).astype(np.int64), np.ascontiguousarray(result, np.float32)


@compiled
@no_type_check
def resize_turned(source: Any, first: Any, weights: Any, target: Any) -> None:
    """Resize the rows of planes, and turn them over their diagonal.

    Args:
        source: Planes [3, height, width].
        first: First source row of each row of the result.
        weights: Its taps.
        target: The result, planes [3, width, rows].
    """
    width, rows, taps = source.shape[2], first.shape[0], weights.shape[1]
    lines = np.empty((_TILE, width), np.float32)
    for plane in range(source.shape[0]):
        own, result = source[plane], target[plane]
        for start in range(0, rows, _TILE):
            count = min(_TILE, rows - start)
            for i in range(count):
                line, at = lines[i], first[start + i]
                weight, read = weights[start + i, 0], own[at]
                for x in range(width):
                    line[x] = weight * read[x]
                for tap in range(1, taps):
                    weight, read = weights[start + i, tap], own[at + tap]
                    if weight != ZERO:
                        for x in range(width):
                            line[x] += weight * read[x]
            if count == _TILE:
                for x in range(width):
                    turned = result[x, start : start + _TILE]
                    for i in range(_TILE):
                        turned[i] = lines[i, x]
            else:
                for x in range(width):
                    for i in range(count):
                        result[x, start + i] = lines[i, x]
