"""What a photo is once it is decoded: an array that compiled code may read without looking at its ends."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import UInt8

from inversefacenet.errors import ImageError

FAR: Final = float(1 << 40)
"""Pixels from which on a place is outside every photo; sums of nearer ones are exact as whole numbers."""


def check_photo(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """Return a photo after checking it.

    Raises:
        ImageError: If it is no 8-bit RGB array, or has no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(
            f"Expected an 8-bit RGB photo, uint8 [height, width, 3]; got {image.dtype} {list(image.shape)}."
        )
    return image
