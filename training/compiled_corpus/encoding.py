"""sRGB encoding and the tone curve in one pass, and 8-bit levels at the end."""

from __future__ import annotations

from typing import Any, Final, no_type_check

import numpy as np

from inversefacenet.compilation import compiled
from training.compiled_corpus.arithmetic import HALF, ONE, ZERO, exp2, log2

_LIMIT: Final = np.float32(0.0031308)
_SLOPE: Final = np.float32(12.92)
_FACTOR: Final = np.float32(1.055)
_SHIFT: Final = np.float32(0.055)
_EXPONENT: Final = np.float32(1 / 2.4)
_LEVELS: Final = np.float32(255)


@compiled
@no_type_check
def encode(picture: Any, exponent: Any) -> None:
    """Clip linear colours, encode them as sRGB, and apply a power to the encoded values.

    Args:
        picture: Planes of linear red, green and blue; sRGB in [0, 1] afterwards.
        exponent: The tone curve's exponent, 1 for none.
    """
    toned = exponent != ONE
    for channel in range(3):
        for row in range(picture.shape[1]):
            line = picture[channel, row]
            for column in range(line.shape[0]):
                linear = min(max(line[column], ZERO), ONE)
                curve = _FACTOR * exp2(log2(max(linear, _LIMIT)) * _EXPONENT) - _SHIFT
                line[column] = linear * _SLOPE if linear <= _LIMIT else curve
            if toned:
                for column in range(line.shape[0]):
                    line[column] = exp2(log2(line[column]) * exponent)


@compiled
@no_type_check
def finish(picture: Any, mask: Any, crop: Any) -> None:
    """Round to 8 bits and black out what lies outside the face region.

    Args:
        picture: sRGB planes.
        mask: 1 inside the face region, 0 outside.
        crop: The result, channels last.
    """
    height, width = mask.shape
    levels = np.empty((3, width), np.uint8)
    for row in range(height):
        inside = mask[row]
        for channel in range(3):
            line, own = picture[channel, row], levels[channel]
            for column in range(width):
                level = np.int32(min(max(line[column], ZERO), ONE) * _LEVELS + HALF)
                own[column] = np.uint8(level * np.int32(inside[column]))
        pixels = crop[row]
        for column in range(width):
            pixels[column, 0] = levels[0, column]
            pixels[column, 1] = levels[1, column]
            pixels[column, 2] = levels[2, column]
