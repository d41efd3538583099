"""sRGB encoding, the one place where gamma is applied (IEC 61966-2-1).

Convention:
    Reflectance, light and their product are linear. Pictures are 8-bit sRGB.
    Worked values: linear 0.5 encodes to 0.7354 (188 of 255); 0.0031308 is where the curve's two parts meet.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, UInt8

from inversefacenet.pixel_kernels import encode_into

_LEVEL_BINS: Final = (
    4096  # the curve is 3295 levels per unit where it is steepest: a bin holds one step at most
)
_LINEAR_LIMIT = 0.0031308
_ENCODED_LIMIT = 0.04045


def srgb_encode(linear: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Clip linear light to [0, 1] and encode it as sRGB in [0, 1]."""
    clipped = np.clip(linear, 0.0, 1.0)
    return np.where(
        clipped <= _LINEAR_LIMIT,
        12.92 * clipped,
        1.055 * np.power(np.maximum(clipped, _LINEAR_LIMIT), 1 / 2.4) - 0.055,
    ).astype(np.asarray(linear).dtype)


def srgb_decode(encoded: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Decode sRGB in [0, 1] to linear light in [0, 1]."""
    clipped = np.clip(encoded, 0.0, 1.0)
    return np.where(
        clipped <= _ENCODED_LIMIT,
        clipped / 12.92,
        np.power((clipped + 0.055) / 1.055, 2.4),
    ).astype(np.asarray(encoded).dtype)


def to_uint8(linear: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Encode linear light as rounded 8-bit sRGB; NaN becomes 0."""
    values = np.ascontiguousarray(linear, np.float32)
    levels = np.empty(np.shape(linear), np.uint8)
    encode_into(values.reshape(-1), *level_tables(), levels.reshape(-1))
    return levels


@lru_cache(maxsize=1)
def level_tables() -> tuple[UInt8[np.ndarray, "4097"], Float32[np.ndarray, "256"]]:
    """Return what turns linear light into levels exactly, without a power.

    Returns:
        The level at the beginning of each of 4096 bins of [0, 1], and the smallest float32 that belongs to
        the level after each, infinite for the last. A value's level is its bin's, or the next one from that
        one's smallest value on.
    """
    borders = srgb_decode((np.arange(1, 256) - 0.5) / 255)
    steps = borders.astype(np.float32)
    steps = np.where(steps < borders, np.nextafter(steps, np.float32(2)), steps)
    begins = (np.arange(_LEVEL_BINS + 1) / _LEVEL_BINS).astype(np.float32)
    levels = np.searchsorted(steps, begins, side="right").astype(np.uint8)
    return levels, np.append(steps, np.float32(np.inf))


def to_linear(picture: UInt8[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Decode an 8-bit sRGB picture to linear float32."""
    levels = srgb_decode(np.arange(256, dtype=np.float32) / 255)
    return levels[picture]
