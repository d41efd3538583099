"""Compiled loops that cut a face out of a photo: the square resampled, the region filled.

Convention:
    Antialiasing is the triangle filter of Pillow's `resize(..., BILINEAR, box=...)`: on each side as wide as
    a pixel of the coarser grid, its weights adding up to 1 over the samples that it reaches. Rows are
    combined first, then columns, in float32, and rounded once; Pillow rounds in between, and so may differ
    by a level. A pixel outside the photo is a black sample.
"""

from __future__ import annotations

import math
from typing import Any, Final, no_type_check

import numpy as np
from jaxtyping import Bool, Float, UInt8

from inversefacenet.compilation import compiled, compiled_fused, read_only
from inversefacenet.errors import ImageError, LandmarkError
from inversefacenet.photo_array import FAR, check_photo

_LARGEST_SPAN: Final = 8.0
"""A square that is resampled is at most so many times as wide as a square photo of the same area..."""

_SMALL_PHOTO: Final = 2048.0
"""...or as this, in pixels, for smaller photos."""


def resampled_square(
    image: UInt8[np.ndarray, "height width 3"], corner: tuple[float, float], span: float, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """Resample a square of the photo, reading no more of it than what the filter reaches.

    Args:
        image: The photo.
        corner: The square's left and top in the photo's continuous pixels.
        span: Its side.
        size: Pixels of the result's side.

    Raises:
        ImageError: See `masked_square`.
        LandmarkError: Likewise.
    """
    return masked_square(image, corner, span, _NO_MASK, size)[0]


def masked_square(
    image: UInt8[np.ndarray, "height width 3"],
    corner: tuple[float, float],
    span: float,
    mask: Bool[np.ndarray, "..."],
    size: int,
) -> tuple[UInt8[np.ndarray, "size size 3"], UInt8[np.ndarray, "..."]]:
    """Resample a square of the photo, and return it a second time black outside a mask.

    Args:
        image: The photo.
        corner: The square's left and top in the photo's continuous pixels.
        span: Its side.
        mask: True where the second picture isn't black; it may be empty, as the second picture is then.
        size: Pixels of the result's side.

    Raises:
        ImageError: If the photo is no 8-bit RGB array, or the mask has another size than the result.
        LandmarkError: If there is no such square, or one far larger than the photo: its memory and time would
            have no bound.
    """
    check_photo(image)
    if mask.shape not in ((0, 0), (size, size)):
        raise ImageError("The mask has another size than the picture that it is for.")
    left, top, side = float(corner[0]), float(corner[1]), float(span)
    most = _LARGEST_SPAN * max(math.sqrt(image.shape[0] * image.shape[1]), _SMALL_PHOTO)
    if not (0 < side <= most and math.isfinite(left) and math.isfinite(top)):
        raise LandmarkError("The square around the face isn't finite, or is far larger than the photo.")
    left, top = (min(max(edge, -FAR), FAR) for edge in (left, top))
    whole, masked = np.empty((size, size, 3), np.uint8), np.empty((*mask.shape, 3), np.uint8)
    _resample(read_only(image), left, top, side, mask, whole, masked)
    return whole, masked


_NO_MASK: Final = np.zeros((0, 0), bool)


def filled_region(
    points: Float[np.ndarray, "points 2"], hole: Float[np.ndarray, "corners 2"], size: int
) -> Bool[np.ndarray, "size size"]:
    """Return the pixels whose centres lie inside the points' convex hull and outside a polygon.

    Args:
        points: In pixels of the mask, finite.
        hole: The polygon's corners likewise.
        size: Pixels of the mask's side.
    """
    mask = np.zeros((size, size), bool)
    _fill_region(points.astype(np.float64), hole.astype(np.float64), mask)
    return mask


@compiled
@no_type_check
def _filter_weights(begin: Any, span: Any, size: Any, starts: Any, counts: Any, weights: Any) -> None:
    """Write of each output pixel the first sample that it reads, how many, and their weights."""
    scale = span / size
    reach = max(scale, 1.0)
    # The filter ends where the square ends, give or take a pixel, as if that had been cut out first.
    lowest, highest = np.floor(begin) - 1, np.ceil(begin + span) + 1
    for i in range(size):
        centre = begin + (i + 0.5) * scale
        first = max(np.floor(centre - reach + 0.5), lowest)
        last = min(np.floor(centre + reach + 0.5), highest)
        total = 0.0
        count = int(last - first)
        for k in range(count):
            weight = max(1 - abs((first + k - centre + 0.5) / reach), 0.0)
            weights[i, k] = weight
            total += weight
        for k in range(count):
            weights[i, k] /= total
        starts[i], counts[i] = int(first), count


@compiled_fused
@no_type_check
def _resample(image: Any, left: Any, top: Any, span: Any, mask: Any, whole: Any, masked: Any) -> None:
    size = whole.shape[0]
    height, width = image.shape[0], image.shape[1]
    most = 2 * int(np.ceil(max(span / size, 1.0))) + 2
    columns, column_counts = np.empty(size, np.int64), np.empty(size, np.int64)
    rows, row_counts = np.empty(size, np.int64), np.empty(size, np.int64)
    across, down = np.zeros((size, most), np.float32), np.zeros((size, most), np.float32)
    _filter_weights(left, span, size, columns, column_counts, across)
    _filter_weights(top, span, size, rows, row_counts, down)
    # One row of the square, from its first sample's left, with a spare number at the end.
    origin = columns[0]
    line = np.zeros(3 * (columns[size - 1] + column_counts[size - 1] - origin) + 3, np.float32)
    first, last = min(max(origin, 0), width), max(min(columns[size - 1] + column_counts[size - 1], width), 0)
    inside = line[3 * (first - origin) : 3 * (max(last, first) - origin)]
    sums, half = np.empty(3 * size + 1, np.float32), np.float32(0.5)
    for row in range(size):
        inside[:] = 0
        for k in range(row_counts[row]):
            source = rows[row] + k
            if source < 0 or source >= height:
                continue
            weight = down[row, k]
            samples = image[source].reshape(-1)[3 * first : 3 * max(last, first)]
            for i in range(inside.shape[0]):
                inside[i] += weight * np.float32(samples[i])
        # The fourth number is nobody's, and the next pixel's first one takes its place: four at a time are
        # one instruction, three are none.
        for column in range(size):
            at = np.uintp(3 * (columns[column] - origin))
            red = green = blue = spare = half
            for k in range(column_counts[column]):
                weight = across[column, k]
                red += weight * line[at]
                green += weight * line[at + np.uintp(1)]
                blue += weight * line[at + np.uintp(2)]
                spare += weight * line[at + np.uintp(3)]
                at += np.uintp(3)
            at = np.uintp(3 * column)
            sums[at] = red
            sums[at + np.uintp(1)] = green
            sums[at + np.uintp(2)] = blue
            sums[at + np.uintp(3)] = spare
        pixels = whole[row].reshape(-1)
        for i in range(3 * size):
            pixels[i] = np.uint8(np.int32(sums[i]))
        if row < mask.shape[0]:
            kept = masked[row].reshape(-1)
            for column in range(size):
                inside_mask = np.uint8(mask[row, column])
                kept[3 * column] = pixels[3 * column] * inside_mask
                kept[3 * column + 1] = pixels[3 * column + 1] * inside_mask
                kept[3 * column + 2] = pixels[3 * column + 2] * inside_mask


@compiled
@no_type_check
def _flip_polygon(xs: Any, ys: Any, mask: Any) -> None:
    """Flip the pixels inside a polygon, by the even-odd rule (`inversefacenet.crop.fill_polygon`)."""
    size, count = mask.shape[0], xs.shape[0]
    for corner in range(count):
        after = corner + 1 if corner + 1 < count else 0
        xa, ya, xb, yb = xs[corner], ys[corner], xs[after], ys[after]
        if ya == yb:
            continue
        # The constant comes first wherever a number is limited: `max` then takes it in place of NaN, which
        # would become an index otherwise.
        low, high = max(0.0, min(ya, yb)), max(ya, yb)
        if low >= size:
            continue
        # A row counts an edge that crosses its centre line, the upper end included, the lower not; each
        # crossing flips all pixels to its right.
        for row in range(int(np.ceil(low - 0.5)), size):
            centre = row + 0.5
            if not centre < high:
                break
            crossing = xa + (centre - ya) / (yb - ya) * (xb - xa)
            crossing = min(max(0.0, crossing), size)
            for column in range(int(np.floor(crossing - 0.5)) + 1, size):
                mask[row, column] = not mask[row, column]


@compiled
@no_type_check
def _fill_region(points: Any, hole: Any, mask: Any) -> None:
    count = points.shape[0]
    xs, ys = points[:, 0].copy(), points[:, 1].copy()
    for i in range(1, count):
        x, y = xs[i], ys[i]
        j = i - 1
        while j >= 0 and (xs[j] > x or (xs[j] == x and ys[j] > y)):
            xs[j + 1], ys[j + 1] = xs[j], ys[j]
            j -= 1
        xs[j + 1], ys[j + 1] = x, y
    # Andrew's monotone chain: there along one side, back along the other.
    hull = np.empty(2 * count + 1, np.int64)
    corners = 0
    for i in range(count):
        while corners > 1 and _turn(xs, ys, hull[corners - 2], hull[corners - 1], i) <= 0:
            corners -= 1
        hull[corners] = i
        corners += 1
    lower = corners
    for i in range(count - 2, -1, -1):
        while corners > lower and _turn(xs, ys, hull[corners - 2], hull[corners - 1], i) <= 0:
            corners -= 1
        hull[corners] = i
        corners += 1
    around = hull[: corners - 1]
    _flip_polygon(xs[around], ys[around], mask)
    inside = np.zeros(mask.shape, np.bool_)
    _flip_polygon(hole[:, 0].copy(), hole[:, 1].copy(), inside)
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            mask[row, column] = mask[row, column] and not inside[row, column]


@compiled
@no_type_check
def _turn(xs: Any, ys: Any, a: Any, b: Any, c: Any) -> Any:
    return (xs[b] - xs[a]) * (ys[c] - ys[a]) - (ys[b] - ys[a]) * (xs[c] - xs[a])
