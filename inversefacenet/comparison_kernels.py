"""Compiled loops that compare a crop with a rendering in its frame.

Convention:
    Pictures are uint8 [size, size, 3], masks uint8 [size, size] of 0 and 1, as bools are stored. What is
    called a cell is 5x5 pixels.
"""

from __future__ import annotations

import math
from typing import Any, Final, no_type_check

import numpy as np

from inversefacenet.compilation import compiled

CELL: Final = 5
OFF: Final = 50.0
"""Grey levels that no face is off."""

STRANGE: Final = 20.0
"""The same of differences between colour channels."""

FEWEST: Final = 9
"""Cells that can be compared."""

_PLACES: Final = ((36, 42), (42, 48), (27, 36), (48, 68))  # eyes, nose, mouth
_JAW: Final = 17


@compiled
@no_type_check
def count_differences(
    photo: Any, picture: Any, mask: Any, covered: Any, painted: Any, hull: Any, out: Any
) -> None:
    """Add up what the measures of `inversefacenet.metrics` need, in one pass.

    Args:
        photo: The crop before masking.
        picture: The rendering.
        mask: The face region.
        covered: Where the mesh is seen.
        painted: Where its painted region is.
        hull: The region of its landmarks.
        out: Takes squared differences over the face region, then over what of it is covered; pixels of the
            first, of the second; of the region and `painted`, of either; of the region and `hull`, of either.
    """
    height, width = mask.shape
    out[:] = 0
    for row in range(height):
        ours, theirs = photo[row].reshape(-1), picture[row].reshape(-1)
        squares, covered_squares = 0, 0
        for column in range(width):
            red = np.int32(ours[3 * column]) - np.int32(theirs[3 * column])
            green = np.int32(ours[3 * column + 1]) - np.int32(theirs[3 * column + 1])
            blue = np.int32(ours[3 * column + 2]) - np.int32(theirs[3 * column + 2])
            square = (red * red + green * green + blue * blue) * mask[row, column]
            squares += square
            covered_squares += square * covered[row, column]
        inside, seen, both, either, both_hull, either_hull = 0, 0, 0, 0, 0, 0
        for column in range(width):
            here = mask[row, column]
            inside += here
            seen += here & covered[row, column]
            both += here & painted[row, column]
            either += here | painted[row, column]
            both_hull += here & hull[row, column]
            either_hull += here | hull[row, column]
        out[0] += squares
        out[1] += covered_squares
        out[2] += inside
        out[3] += seen
        out[4] += both
        out[5] += either
        out[6] += both_hull
        out[7] += either_hull


@compiled
@no_type_check
def region_size(marked: Any) -> Any:
    """Return the number of cells of the largest region that is connected by sides; the marks are cleared."""
    rows, columns = marked.shape
    stack = np.empty(rows * columns, np.int64)
    best = 0
    for row in range(rows):
        for column in range(columns):
            if not marked[row, column]:
                continue
            marked[row, column] = False
            stack[0] = row * columns + column
            waiting, size = 1, 0
            while waiting:
                waiting -= 1
                size += 1
                y, x = stack[waiting] // columns, stack[waiting] % columns
                for step in range(4):
                    v, u = y + (step == 0) - (step == 1), x + (step == 2) - (step == 3)
                    if 0 <= v < rows and 0 <= u < columns and marked[v, u]:
                        marked[v, u] = False
                        stack[waiting] = v * columns + u
                        waiting += 1
            best = max(best, size)
    return best


@compiled
@no_type_check
def _cells(picture: Any, out: Any) -> None:
    """Average a picture, or the share of a mask given as one of one channel, over cells."""
    rows, columns, channels = out.shape
    width = picture.shape[1] * channels
    line = np.empty(width, np.int32)
    for row in range(rows):
        line[:] = 0
        for inner in range(CELL):
            pixels = picture[row * CELL + inner].reshape(-1)
            for i in range(width):
                line[i] += np.int32(pixels[i])
        for column in range(columns):
            for channel in range(channels):
                total = np.int32(0)
                for inner in range(CELL):
                    total += line[(column * CELL + inner) * channels + channel]
                out[row, column, channel] = np.float32(total) / np.float32(CELL * CELL)


@compiled
@no_type_check
def _correlation(a: Any, b: Any) -> Any:
    """Pearson's, drawn to 0 where there is hardly any contrast: as if each cell had two grey levels more."""
    count = a.shape[0]
    mean_a, mean_b = 0.0, 0.0
    for i in range(count):
        mean_a += a[i]
        mean_b += b[i]
    mean_a, mean_b = mean_a / count, mean_b / count
    both, square_a, square_b = 0.0, 0.0, 0.0
    for i in range(count):
        da, db = a[i] - mean_a, b[i] - mean_b
        both += da * db
        square_a += da * da
        square_b += db * db
    rest = 2.0 * math.sqrt(count)
    return both / ((math.sqrt(square_a) + rest) * (math.sqrt(square_b) + rest))


@compiled
@no_type_check
def _window(x: Any, y: Any, radius: Any, size: Any) -> Any:
    """Return the cells about a point in crop pixels: from and to which row and column; one at least."""
    left, top = int(np.rint((x - radius) / CELL)), int(np.rint((y - radius) / CELL))
    right = max(int(np.rint((x + radius) / CELL)), left + 1)
    bottom = max(int(np.rint((y + radius) / CELL)), top + 1)
    return (
        min(max(top, 0), size),
        min(max(bottom, 0), size),
        min(max(left, 0), size),
        min(max(right, 0), size),
    )


@compiled
@no_type_check
def _centre(points: Any, first: Any, last: Any) -> Any:
    x, y = 0.0, 0.0
    for i in range(first, last):
        x += points[i, 0]
        y += points[i, 1]
    return x / (last - first), y / (last - first)


@compiled
@no_type_check
def _after_similarity(points: Any, onto: Any, first: Any, distances: Any) -> Any:
    """Write the distances after the best similarity; return the sine and cosine part of its factor."""
    count = points.shape[0]
    ax, ay = _centre(points, first, count)
    bx, by = _centre(onto, first, count)
    real, imaginary, norm = 0.0, 0.0, 0.0
    for i in range(first, count):
        px, py, qx, qy = points[i, 0] - ax, points[i, 1] - ay, onto[i, 0] - bx, onto[i, 1] - by
        real += px * qx + py * qy
        imaginary += px * qy - py * qx
        norm += px * px + py * py
    norm = max(norm, 1e-9)
    real, imaginary = real / norm, imaginary / norm
    for i in range(first, count):
        px, py, qx, qy = points[i, 0] - ax, points[i, 1] - ay, onto[i, 0] - bx, onto[i, 1] - by
        dx, dy = qx - (real * px - imaginary * py), qy - (real * py + imaginary * px)
        distances[i] = math.sqrt(dx * dx + dy * dy)
    return imaginary, real


@compiled
@no_type_check
def measure_landmarks(points: Any, model: Any, eyes: Any, out: Any) -> None:
    """Measure how far the model's points follow the photo's, apart from shift, scale and turn.

    Args:
        points: The photo's 68 points, float64 [68, 2].
        model: The model's.
        eyes: Distance of the outer eye corners.
        out: Takes the measures of the inner points, of the jaw, and of the turn.
    """
    count = points.shape[0]
    distances = np.empty(count)
    imaginary, real = _after_similarity(model, points, _JAW, distances)
    total = 0.0
    for i in range(_JAW, count):
        total += distances[i] * distances[i]
    out[0] = math.log(math.sqrt(total / (count - _JAW)) / eyes + 0.005)
    out[2] = abs(math.atan2(imaginary, real))
    _after_similarity(model, points, 0, distances)
    out[1] = math.log(distances[:_JAW].mean() / eyes + 0.005)


@compiled
@no_type_check
def measure_cells(
    picture: Any, rendering: Any, mask: Any, covered: Any, points: Any, eyes: Any, out: Any
) -> Any:
    """Measure what the pixels say (`inversefacenet.evidence`); returns False where nothing can be compared.

    Args:
        picture: The crop before masking.
        rendering: The rendering.
        mask: The face region.
        covered: Where the mesh is seen.
        points: The photo's 68 points, float64 [68, 2].
        eyes: Distance of the outer eye corners.
        out: Takes nine measures: likeness, unexplained, odd region, hue, hue region, least likeness, eye
            darkness, edges and their likeness.
    """
    size = mask.shape[0] // CELL
    photo, drawn = np.empty((size, size, 3), np.float32), np.empty((size, size, 3), np.float32)
    face, share = np.empty((size, size, 1), np.float32), np.empty((size, size, 1), np.float32)
    _cells(picture, photo)
    _cells(rendering, drawn)
    _cells(mask, face)
    _cells(covered, share)
    three = np.float32(3)
    grey, shown = np.empty((size, size), np.float32), np.empty((size, size), np.float32)
    warm, cold = np.empty((size, size), np.float32), np.empty((size, size), np.float32)
    seen, area, count = np.zeros((size, size), np.bool_), 0, 0
    for row in range(size):
        for column in range(size):
            p, d = photo[row, column], drawn[row, column]
            grey[row, column] = (p[0] + p[1] + p[2]) / three
            shown[row, column] = (d[0] + d[1] + d[2]) / three
            # Differences of neighbouring channels: red less green, green less blue.
            warm[row, column] = (p[1] - d[1]) - (p[0] - d[0])
            cold[row, column] = (p[2] - d[2]) - (p[1] - d[1])
            inside = face[row, column, 0] > 0.5
            area += inside
            seen[row, column] = inside and share[row, column, 0] > 0.9
            count += seen[row, column]
    if count < FEWEST:
        return False
    a, b = np.empty(count, np.float32), np.empty(count, np.float32)
    reds, blues = np.empty(count, np.float32), np.empty(count, np.float32)
    k = 0
    for row in range(size):
        for column in range(size):
            if seen[row, column]:
                a[k], b[k] = grey[row, column], shown[row, column]
                reds[k], blues[k] = warm[row, column], cold[row, column]
                k += 1
    mean = 0.0
    for i in range(count):
        mean += a[i]
    mean /= count
    variance = 0.0
    for i in range(count):
        variance += (a[i] - mean) ** 2
    contrast = math.sqrt(variance / count) + 2
    # A face that is brighter or warmer as a whole is explained as well as before: hence the medians.
    middle, middle_red, middle_blue = np.median(a - b), np.median(reds), np.median(blues)
    odd, strange = np.zeros((size, size), np.bool_), np.zeros((size, size), np.bool_)
    squares, hues = 0.0, 0.0
    for row in range(size):
        for column in range(size):
            if seen[row, column]:
                off = grey[row, column] - shown[row, column] - middle
                hue = max(abs(warm[row, column] - middle_red), abs(cold[row, column] - middle_blue))
                squares += off * off
                hues += hue * hue
                odd[row, column], strange[row, column] = abs(off) > OFF, hue > STRANGE
    out[0] = _correlation(a, b)
    out[1] = math.log(math.sqrt(squares / count) / contrast + 0.02)
    out[2] = region_size(odd) / area
    out[3] = math.log(math.sqrt(hues / count) + 1)
    out[4] = region_size(strange) / area
    least = 1.0
    for first, last in _PLACES:
        x, y = _centre(points, first, last)
        top, bottom, left, right = _window(x, y, 0.22 * eyes, size)
        cells = (bottom - top) * (right - left)
        found = -1.0
        if cells > 3:
            found = _correlation(
                grey[top:bottom, left:right].copy().reshape(-1),
                shown[top:bottom, left:right].copy().reshape(-1),
            )
        least = min(least, found)
    out[5] = least
    out[6] = _eye_darkness(grey, points, eyes) / contrast
    k, total = 0, 0.0
    for row in range(size - 1):
        for column in range(size - 1):
            if seen[row, column]:
                a[k] = math.hypot(
                    grey[row + 1, column] - grey[row, column], grey[row, column + 1] - grey[row, column]
                )
                b[k] = math.hypot(
                    shown[row + 1, column] - shown[row, column], shown[row, column + 1] - shown[row, column]
                )
                total += a[k]
                k += 1
    if k == 0:
        return False
    out[7] = math.log((total / k + 0.5) / contrast)
    out[8] = _correlation(a[:k], b[:k])
    return True


@compiled
@no_type_check
def _eye_darkness(grey: Any, points: Any, eyes: Any) -> Any:
    """Return by how many grey levels the brighter pupil is darker than the cheek below it."""
    size = grey.shape[0]
    x, y = _centre(points, 36, 48)
    right, down = (points[8, 0] - x) / 3, (points[8, 1] - y) / 3
    least = np.inf
    for first, last in _PLACES[:2]:
        x, y = _centre(points, first, last)
        top, bottom, begin, end = _window(x + right, y + down, 0.09 * eyes, size)
        cheek = grey[top:bottom, begin:end]
        top, bottom, begin, end = _window(x, y, 0.1 * eyes, size)
        pupil = grey[top:bottom, begin:end]
        found = 0.0
        if cheek.size > 0 and pupil.size > 0:
            found = cheek.mean() - pupil.min()
        least = min(least, found)
    return least
