"""A small grey square cut out of a photo and scaled, in time that doesn't grow with the photo.

Convention:
    The patch's pixel (row, column) shows the photo's square from left + column * scale and top + row * scale,
    `scale` photo pixels wide. What lies beyond the photo repeats its edge. Worked value: scale 2 from (0, 0)
    of a photo of 1, 3, 5, 7 across (all rows and channels alike) gives 2 and 6.

Grey is the mean of the three channels, as dlib makes it. Squares up to `MOST_SAMPLES` photo pixels wide are
averaged by area, wider ones over so many rows and columns, and narrower ones than a pixel are interpolated.
"""

from __future__ import annotations

import math
from typing import Any, Final, no_type_check

import numpy as np
from jaxtyping import UInt8

from inversefacenet.compilation import compiled, compiled_inline, read_only
from inversefacenet.errors import ImageError
from inversefacenet.photo_array import FAR, check_photo

MOST_SAMPLES: Final = 4


def cut_grey(
    image: UInt8[np.ndarray, "height width 3"], left: float, top: float, scale: float, size: int
) -> UInt8[np.ndarray, "size size"]:
    """Cut a patch.

    Args:
        image: The photo.
        left: The patch's left edge in continuous photo pixels; may lie outside.
        top: Its upper edge.
        scale: Photo pixels for one of the patch.
        size: Rows and columns of the patch.

    Raises:
        ImageError: If the photo is no 8-bit RGB array, a number isn't finite, or the scale isn't above 0.
    """
    if not (0 < scale < math.inf and math.isfinite(left) and math.isfinite(top)):
        raise ImageError("A patch has finite edges, and a finite scale above 0.")
    # Farther outside it is the photo's edge all the same, and positions still fit whole numbers.
    left, top, scale = min(max(left, -FAR), FAR), min(max(top, -FAR), FAR), min(scale, FAR)
    taps = 2 if scale < 1 else MOST_SAMPLES if scale > MOST_SAMPLES else math.ceil(scale) + 1
    patch = np.empty((size, size), np.uint8)
    _cut(read_only(check_photo(image)), left, top, scale, taps, patch)
    return patch


@compiled_inline
@no_type_check
def _place_taps(start: float, scale: float, places: Any, weights: Any) -> None:
    """Say which photo pixels each pixel of the patch reads along an axis, and how much of each."""
    size, taps = places.shape
    for n in range(size):
        low = start + n * scale
        first = math.floor(low + 0.5 * scale - 0.5 if scale < 1 else low)
        for t in range(taps):
            if scale < 1:
                share = low + 0.5 * scale - 0.5 - first
                places[n, t] = first + t
                weights[n, t] = share if t else 1 - share
            elif scale <= MOST_SAMPLES:
                places[n, t] = first + t
                weights[n, t] = max(min(low + scale, first + t + 1) - max(low, first + t), 0.0) / scale
            else:
                places[n, t] = math.floor(low + (t + 0.5) * scale / taps)
                weights[n, t] = 1.0 / taps


@compiled
@no_type_check
def _cut(image: Any, left: float, top: float, scale: float, taps: int, patch: Any) -> None:
    height, width = image.shape[:2]
    size = patch.shape[0]
    across, down = np.empty((size, taps), np.int64), np.empty((size, taps), np.int64)
    across_weights, down_weights = np.empty((size, taps), np.float32), np.empty((size, taps), np.float32)
    _place_taps(left, scale, across, across_weights)
    _place_taps(top, scale, down, down_weights)
    # The columns that are read: all between the first and the last, or only the sampled ones.
    if scale <= MOST_SAMPLES:
        first = across[0, 0]
        columns = np.arange(first, across[size - 1, taps - 1] + 1)
        across -= first
    else:
        columns = across.copy().ravel()
        across = np.arange(size * taps).reshape(size, taps)
    for n in range(len(columns)):
        columns[n] = min(max(columns[n], 0), width - 1)
    sums = np.empty(len(columns), np.float32)
    for row in range(size):
        sums[:] = np.float32(0.5)  # for rounding
        for t in range(taps):
            weight = down_weights[row, t] / np.float32(3)
            if weight == 0:
                continue
            line = image[min(max(down[row, t], 0), height - 1)]
            for n in range(len(columns)):
                x = columns[n]
                sums[n] += weight * np.float32(
                    np.int32(line[x, 0]) + np.int32(line[x, 1]) + np.int32(line[x, 2])
                )
        for column in range(size):
            value = np.float32(0)
            for t in range(taps):
                value += across_weights[column, t] * sums[across[column, t]]
            patch[row, column] = np.uint8(value)
