"""A photo of any size as a small picture, by averages over boxes of pixels.

Convention:
    The picture's pixel (row, column) is the mean of the photo's box from column * width // columns up to
    (column + 1) * width // columns, rows likewise. Of a box taller or wider than `MOST_SAMPLES` pixels only
    so many rows and columns are read, evenly spaced: a photo's other rows are never touched. The picture is
    planar, channel by channel. Worked value: of the photo [[10, 20], [30, 41]] (each channel alike) the one
    pixel is 25, the mean 25.25 rounded.
"""

from __future__ import annotations

from typing import Any, Final, no_type_check

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from inversefacenet.compilation import compiled
from inversefacenet.photo_array import check_photo

MOST_SAMPLES: Final = 4
"""Of a box at most so many rows, and so many columns, are read."""


def box_average(
    image: UInt8[np.ndarray, "height width 3"], rows: int, columns: int
) -> UInt8[np.ndarray, "3 rows columns"]:
    """Scale a photo by box averages.

    Args:
        image: Photo; strided views are read as they are, unless their pixels lie apart.
        rows: Of the picture. Where there are more than the photo's, rows are repeated.
        columns: Likewise.

    Raises:
        ImageError: If the photo is no 8-bit RGB array.
    """
    check_photo(image)
    if image.strides[2] != 1 or image.strides[1] != 3:
        image = np.ascontiguousarray(image)
    height, width = image.shape[:2]
    # The rows as bytes, whatever lies between them: so one compiled function serves all photos.
    lines = np.lib.stride_tricks.as_strided(
        image, (height, 3 * width), (image.strides[0], 1), writeable=False
    )
    picture = np.empty((3, rows, columns), np.uint8)
    _average(lines, *_samples(width, columns), picture)
    return picture


def _samples(
    length: int, count: int
) -> tuple[Int32[np.ndarray, "samples count"], Float32[np.ndarray, "count"]]:
    """Say which pixels of a row each box reads: their first bytes, and one over how many differ.

    All boxes read as many; those of fewer pixels also read beyond the row's end, where the sums are zero.
    """
    first = np.arange(count) * length // count
    wide = np.maximum(np.arange(1, count + 1) * length // count - first, 1)
    across = np.minimum(wide, MOST_SAMPLES)
    turn = np.arange(across.max())[:, None]
    places = np.where(turn < across, first + (2 * turn + 1) * wide // (2 * across), length)
    return (3 * places).astype(np.int32), (1 / across).astype(np.float32)


@compiled
@no_type_check
def _average(lines: Any, places: Any, shares: Any, picture: Any) -> None:
    height, size = lines.shape
    rows, columns = picture.shape[1:]
    sums = np.zeros(size + 3, np.uint16)
    for row in range(rows):
        top = row * height // rows
        tall = max((row + 1) * height // rows - top, 1)
        samples = min(tall, MOST_SAMPLES)
        line = lines[top + tall // (2 * samples)]
        for x in range(size):
            sums[x] = line[x]
        for i in range(1, samples):
            line = lines[top + (2 * i + 1) * tall // (2 * samples)]
            for x in range(size):
                sums[x] += line[x]
        share = np.float32(1.0) / np.float32(samples)
        for column in range(columns):
            red, green, blue = np.int32(0), np.int32(0), np.int32(0)
            for i in range(places.shape[0]):
                x = places[i, column]
                red += np.int32(sums[x])
                green += np.int32(sums[x + 1])
                blue += np.int32(sums[x + 2])
            factor = share * shares[column]
            picture[0, row, column] = np.uint8(np.float32(red) * factor + np.float32(0.5))
            picture[1, row, column] = np.uint8(np.float32(green) * factor + np.float32(0.5))
            picture[2, row, column] = np.uint8(np.float32(blue) * factor + np.float32(0.5))
