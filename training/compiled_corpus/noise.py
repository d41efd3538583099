"""Sensor noise (`training.degradations.add_noise`) from numbers that depend on seed and pixel alone."""

from __future__ import annotations

from typing import Any, Final, no_type_check

import numpy as np

from inversefacenet.compilation import compiled
from training.compiled_corpus.arithmetic import HALF, ONE, ZERO, log2, scrambled, sin_turns

_LOW: Final = np.uint32(0xFFFF)
_16: Final = np.uint32(16)
_STEP: Final = np.float32(1 / 65536)
_MINUS_TWO_LN2: Final = np.float32(-2 * np.log(2))
_QUARTER: Final = np.float32(0.25)


@compiled
@no_type_check
def normal_numbers(seed: Any, start: Any, out: Any) -> None:
    """Draw N(0, 1) by Box and Muller's transform, two numbers of each 32 bits.

    Radius and direction have 16 bits each: no number is greater than 4.9.

    Args:
        seed: 32 bits.
        start: Number of the first pair, so that other numbers come with others.
        out: The result, even in length.
    """
    half = out.shape[0] // 2
    first, second = out[:half], out[half:]
    offset = np.uint32(start)
    for i in range(half):
        bits = scrambled(np.uint32(np.uint32(i) + offset) ^ seed)
        share = (np.float32(np.int32(bits & _LOW)) + HALF) * _STEP
        turns = np.float32(np.int32(np.uint32(bits >> _16))) * _STEP
        radius = np.sqrt(_MINUS_TWO_LN2 * log2(share))
        first[i] = radius * sin_turns(turns)
        second[i] = radius * sin_turns(turns + _QUARTER)


@compiled
@no_type_check
def add_noise(picture: Any, read: Any, shot: Any, seed: Any) -> None:
    """Add noise and clip to [0, 1].

    Args:
        picture: sRGB planes; changed.
        read: Variance of the noise that doesn't depend on brightness.
        shot: Variance, at white, of the noise that grows with brightness.
        seed: 32 bits that decide the numbers.
    """
    size = picture.shape[2]
    pairs = (size + 1) // 2
    numbers = np.empty(2 * pairs, np.float32)
    row_number = 0
    for plane in range(picture.shape[0]):
        for row in range(picture.shape[1]):
            normal_numbers(seed, row_number * pairs, numbers)
            row_number += 1
            line = picture[plane, row]
            for column in range(size):
                value = line[column]
                noisy = value + np.sqrt(read + shot * value) * numbers[column]
                line[column] = min(max(noisy, ZERO), ONE)
