"""Smooth random fields and random colours, as `training.draws` makes them in torch."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np

from inversefacenet.compilation import compiled
from training.compiled_corpus.arithmetic import HALF, ONE


@compiled
@no_type_check
def field_row(grid: Any, start: Any, cells: Any, row: Any, out: Any) -> None:
    """Enlarge one row of a coarse grid bilinearly, its corners on the picture's corner pixels.

    Args:
        grid: Values, row after row.
        start: Where the grid begins in them.
        cells: Side of the grid.
        row: Row of the picture.
        out: The result, one value a pixel of the square picture.
    """
    size = out.shape[0]
    step = np.float32((cells - 1) / (size - 1))
    where = np.float32(row) * step
    above = min(np.int64(where), cells - 2)
    share = where - np.float32(above)
    begin = 0
    upper, lower = grid[start + above * cells :], grid[start + (above + 1) * cells :]
    left = upper[0] + share * (lower[0] - upper[0])
    # Cell by cell, so that no pixel has to look for its own.
    for cell in range(cells - 1):
        end = size if cell == cells - 2 else min(size, np.int64(np.ceil(np.float32(cell + 1) / step)))
        right = upper[cell + 1] + share * (lower[cell + 1] - upper[cell + 1])
        slope, first = right - left, np.float32(cell)
        part, shift = out[begin:end], np.float32(begin) * step - first
        for column in range(part.shape[0]):
            part[column] = left + (np.float32(column) * step + shift) * slope
        begin, left = end, right


@compiled
@no_type_check
def dull_colour(uniform: Any, at: Any, colour: Any) -> None:
    """Make a linear colour as things have them, mostly dark, seldom saturated, of five uniform numbers."""
    level = uniform[at] * uniform[at]
    vivid = uniform[at + 1] * uniform[at + 1]
    for channel in range(3):
        colour[channel] = level * (ONE + vivid * (uniform[at + 2 + channel] * (ONE + HALF) - ONE))
