"""What stands behind the face: a colour with smooth variations (`training.augmentation.draw_backgrounds`)."""

from __future__ import annotations

from typing import Any, Final, no_type_check

import numpy as np

from inversefacenet.compilation import compiled
from training.compiled_corpus.arithmetic import ZERO, exp
from training.compiled_corpus.fields import dull_colour, field_row

UNIFORM: Final = 6
NORMAL: Final = 108
"""Uniform and normal numbers that a background takes."""

_CELLS: Final = 6
_MOST: Final = np.float32(0.6)


@compiled
@no_type_check
def fill_background(picture: Any, nearest: Any, uniform: Any, normal: Any) -> None:
    """Fill the pixels that no triangle covers.

    Args:
        picture: Planes of linear red, green and blue; changed.
        nearest: Inverse depth, 0 where no triangle is seen.
        uniform: `UNIFORM` numbers of [0, 1).
        normal: `NORMAL` numbers of N(0, 1).
    """
    size = nearest.shape[0]
    colour = np.empty(3, np.float32)
    dull_colour(uniform, 0, colour)
    amplitude = uniform[5] * _MOST
    values = np.empty(size, np.float32)
    for row in range(size):
        depths = nearest[row]
        # Mostly the free pixels lie on the left and on the right of a face.
        left, right = 0, size
        while left < size and depths[left] == ZERO:
            left += 1
        while right > left and depths[right - 1] == ZERO:
            right -= 1
        hole = False
        for column in range(left, right):
            hole |= depths[column] == ZERO
        if hole:
            left = right = size
        if left == 0 and right == size:
            continue
        for channel in range(3):
            field_row(normal, channel * _CELLS * _CELLS, _CELLS, row, values)
            base, line = colour[channel], picture[channel, row]
            # A part of its own: where a loop begins at 0, the compiler knows that no index is negative.
            part, bare, those = line[:left], depths[:left], values[:left]
            for column in range(part.shape[0]):
                behind = base * exp(amplitude * those[column])
                part[column] = behind if bare[column] == ZERO else part[column]
            part, those = line[right:], values[right:]
            for column in range(part.shape[0]):
                part[column] = base * exp(amplitude * those[column])
