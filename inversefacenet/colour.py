"""sRGB encoding, the one place where gamma is applied (IEC 61966-2-1).

Convention:
    Reflectance, light and their product are linear. Pictures are 8-bit sRGB.
    Worked values: linear 0.5 encodes to 0.7354 (188 of 255); 0.0031308 is where the curve's two parts meet.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

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
    """Encode linear light as rounded 8-bit sRGB."""
    return np.floor(srgb_encode(np.asarray(linear, np.float32)) * 255 + 0.5).astype(np.uint8)


def to_linear(picture: UInt8[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Decode an 8-bit sRGB picture to linear float32."""
    levels = srgb_decode(np.arange(256, dtype=np.float32) / 255)
    return levels[picture]
