"""Compiled loops over the pixels of a picture in which a face is edited.

Convention:
    A field is float32 [height, width, 9] of frame pixels: where a pixel's photo colour lies relative to it
    (x, y, in frame pixels), the factor on its linear RGB, the share of the fill, and the fill's linear RGB.
    Coarse grids have half of the frame's resolution, rounded up.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from inversefacenet.colour import to_linear, to_uint8
from inversefacenet.compilation import compiled

FIELDS: Final = 9
_LEVELS: Final = 65536
_SHOULDER: Final = 0.8


@cache
def encoding_table() -> UInt8[np.ndarray, "levels"]:
    """Return the 8-bit sRGB of evenly spaced linear values."""
    return to_uint8(np.linspace(0, 1, _LEVELS, dtype=np.float32))


@cache
def decoding_table() -> Float32[np.ndarray, "256"]:
    """Return the linear value of each sRGB level."""
    return np.asarray(to_linear(np.arange(256, dtype=np.uint8)), np.float32)


def gather(
    triangle: Int32[np.ndarray, "height width"],
    barycentric: Float32[np.ndarray, "height width 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    mouth: Bool[np.ndarray, "triangles"],
    attributes: Float32[np.ndarray, "vertices 10"],
    teeth: Float32[np.ndarray, "vertices 2"],
    mouth_seen: Float32[np.ndarray, "height width"],
    moved: bool,
) -> tuple[Float32[np.ndarray, "height width 9"], Bool[np.ndarray, "height width"]]:
    """Return the field of the pixels that see the face, zero elsewhere, and which these are.

    Args:
        triangle: Triangle that each pixel sees, or -1.
        barycentric: Where in it.
        triangles: Vertex indices.
        mouth: True for triangles of the mouth's interior.
        attributes: Per vertex: its place in the photo (frame pixels), ratio, share of the fill, fill, and
            whether it is to be left out, from one half on.
        teeth: The same place for the mouth's interior, which moves with the skull.
        mouth_seen: How much of the mouth's interior the photo shows at each pixel.
        moved: Whether the face moved at all; otherwise places and the fill aren't looked at.
    """
    field = np.zeros((*triangle.shape, FIELDS), np.float32)
    mask = triangle >= 0
    _gather(triangle, barycentric, triangles, mouth, attributes, teeth, mouth_seen, moved, field, mask)
    return field, mask


def nearest_of(mask: Bool[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width 2"]:
    """Return the vector (x, y) from each pixel to the nearest pixel of a mask (Danielsson 1980).

    Where there is no such pixel at all, the vectors are longer than the picture.
    """
    out = np.empty((*mask.shape, 2), np.float32)
    out[mask] = 0
    out[~mask] = 4.0 * max(mask.shape)
    _propagate(out)
    return out


def matte(
    picture: Float32[np.ndarray, "height width 3"],
    core: Bool[np.ndarray, "height width"],
    inside: Bool[np.ndarray, "height width"],
    likeness: Float32[np.ndarray, "height width"],
    reach: float,
    contrast: float,
) -> Float32[np.ndarray, "height width"]:
    """Return how much of the face's change each pixel of the photo takes part in.

    1 in the core; from there on it falls along the shortest way through the picture, where colour
    differences count as length: skin of neck and ears takes part, what lies behind an edge doesn't.

    Args:
        picture: The photo, sRGB in [0, 1].
        core: Pixels that surely belong to the face.
        inside: Pixels of the face: there, length alone costs nothing.
        likeness: How much a pixel's hue is the skin's: skin goes on behind a fold.
        reach: Pixels over which it falls without any edge.
        contrast: Summed difference of the channels that ends it at once.
    """
    cost = np.where(core, np.float32(0), np.float32(4))
    _geodesic(picture, inside, likeness, cost, np.float32(1 / reach), np.float32(1 / contrast))
    left = np.clip(1 - cost, 0, 1)
    return _softened((left * left * (3 - 2 * left)).astype(np.float32))


def _softened(values: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """Take the least of 3 x 3 pixels, then their mean: an edge's own pixels are half background already."""
    padded = np.pad(values, 1, mode="edge")
    rows = np.minimum(np.minimum(padded[:-2], padded[1:-1]), padded[2:])
    least = np.minimum(np.minimum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    padded = np.pad(least, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return ((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9).astype(np.float32)


def rim_values(
    field: Float32[np.ndarray, "height width 9"],
    mask: Bool[np.ndarray, "height width"],
    outwards: Float32[np.ndarray, "height width 2"],
    moved: bool,
    slack: float,
) -> tuple[Float32[np.ndarray, "half_height half_width 5"], Float32[np.ndarray, "half_height half_width"]]:
    """Collect displacement and ratio along the face's rim, on the coarse grid.

    A rim pixel whose photo colour lies inside the old face, because the head turned away, stands beside what
    lies beside the *old* rim: its displacement is led on to there.

    Args:
        field: What `gather` returned.
        mask: Pixels that see the face.
        outwards: Vector from each pixel to the nearest one that the old face didn't cover.
        moved: Whether there is any displacement.
        slack: Pixels by which rims may differ without being led on.
    """
    height, width = mask.shape
    grid = ((height + 1) // 2, (width + 1) // 2)
    values, weights = np.zeros((*grid, 5), np.float32), np.zeros(grid, np.float32)
    _rim(field, mask, outwards, moved, np.float32(slack), values, weights)
    return values, weights


def pull_push(
    values: Float32[np.ndarray, "height width channels"], weights: Float32[np.ndarray, "height width"]
) -> Float32[np.ndarray, "height width channels"]:
    """Fill a grid smoothly from its known cells (Gortler et al. 1996).

    Args:
        values: Sums of the known values; they are overwritten.
        weights: Their number in each cell; they are overwritten.
    """
    _normalise(values, weights)
    if min(weights.shape) > 2:
        height, width = (side + 1 for side in weights.shape)
        coarse = np.zeros((height // 2, width // 2, values.shape[2]), np.float32)
        coarse_weights = np.zeros(coarse.shape[:2], np.float32)
        _pull(values, weights, coarse, coarse_weights)
        _push(values, weights, pull_push(coarse, coarse_weights))
    elif weights.any():
        mean = (values * weights[..., None]).sum(axis=(0, 1)) / weights.sum()
        values[weights <= 0] = mean
    return values


def coarse_mask(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "half_height half_width"]:
    """Return the cells of the coarse grid that hold a pixel of the mask."""
    height, width = mask.shape
    padded = np.zeros((height + height % 2, width + width % 2), bool)
    padded[:height, :width] = mask
    return np.asarray(padded.reshape(padded.shape[0] // 2, 2, -1, 2).any(axis=(1, 3)))


def complete(
    field: Float32[np.ndarray, "height width 9"],
    mask: Bool[np.ndarray, "height width"],
    around: Float32[np.ndarray, "half_height half_width 5"],
    share: Float32[np.ndarray, "half_height half_width"],
    matte: Float32[np.ndarray, "height width"],
    moved: bool,
) -> None:
    """Write the field of the pixels around the face, and let the matte dampen all ratios.

    Args:
        field: What `gather` returned.
        mask: Pixels that see the face.
        around: Displacement and ratio around the face, on the coarse grid.
        share: How much of the displacement a cell takes part in.
        matte: How much of the ratio each pixel of the photo takes part in.
        moved: Whether there is any displacement.
    """
    _complete(field, mask, around, share, matte, moved)


def compose(
    picture: UInt8[np.ndarray, "height width 3"],
    field: Float32[np.ndarray, "frame_height frame_width 9"],
    scale: float,
    smooth: bool,
) -> UInt8[np.ndarray, "height width 3"]:
    """Apply a field to a picture.

    Args:
        picture: The photo's part.
        field: The field, of the same part.
        scale: Frame pixels per pixel of the picture.
        smooth: Interpolate colours by cubics, which keeps detail sharp, instead of linearly.
    """
    out = np.empty_like(picture)
    _compose(picture, field, np.float32(scale), smooth, decoding_table(), encoding_table(), out)
    if field.shape[:2] != picture.shape[:2]:
        return out  # a field that is enlarged has no hard edges
    softened = out.copy()
    _soften_edges(out, field, decoding_table(), encoding_table(), softened)
    return softened


@compiled
@no_type_check
def _gather(
    triangle: Any,
    barycentric: Any,
    triangles: Any,
    mouth: Any,
    attributes: Any,
    teeth: Any,
    mouth_seen: Any,
    moved: Any,
    field: Any,
    mask: Any,
) -> None:
    height, width = triangle.shape
    half = np.float32(0.5)
    for row in range(height):
        for column in range(width):
            t = triangle[row, column]
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            wa, wb, wc = barycentric[row, column, 0], barycentric[row, column, 1], barycentric[row, column, 2]
            if moved and wa * attributes[a, 9] + wb * attributes[b, 9] + wc * attributes[c, 9] > half:
                mask[row, column] = False
                continue
            for k in range(2, 5):
                field[row, column, k] = wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]
            if not moved:
                continue
            for k in range(5, 9):
                field[row, column, k] = wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]
            if mouth[t]:
                x = wa * teeth[a, 0] + wb * teeth[b, 0] + wc * teeth[c, 0]
                y = wa * teeth[a, 1] + wb * teeth[b, 1] + wc * teeth[c, 1]
                i, j = int(np.floor(y)), int(np.floor(x))
                if i >= 0 and j >= 0 and i < height and j < width:
                    field[row, column, 5] = np.float32(1) - mouth_seen[i, j]
            else:
                x = wa * attributes[a, 0] + wb * attributes[b, 0] + wc * attributes[c, 0]
                y = wa * attributes[a, 1] + wb * attributes[b, 1] + wc * attributes[c, 1]
            field[row, column, 0] = x - (np.float32(column) + half)
            field[row, column, 1] = y - (np.float32(row) + half)


@compiled
@no_type_check
def _propagate(out: Any) -> None:
    height, width = out.shape[:2]
    for turn in range(2):
        for step in range(height):
            row = step if turn == 0 else height - 1 - step
            up = -1 if turn == 0 else 1
            for sweep in range(2):
                for walk in range(width):
                    column = walk if sweep == 0 else width - 1 - walk
                    back = -1 if sweep == 0 else 1
                    x, y = out[row, column, 0], out[row, column, 1]
                    best = x * x + y * y
                    if best == 0:
                        continue
                    for k in range(4):
                        if k == 0:
                            di, dj = 0, back
                        elif sweep == 1:
                            break
                        else:
                            di, dj = up, k - 2
                        i, j = row + di, column + dj
                        if i < 0 or j < 0 or i >= height or j >= width:
                            continue
                        nx, ny = out[i, j, 0] + np.float32(dj), out[i, j, 1] + np.float32(di)
                        length = nx * nx + ny * ny
                        if length < best:
                            best = length
                            out[row, column, 0] = nx
                            out[row, column, 1] = ny


@compiled
@no_type_check
def _geodesic(picture: Any, inside: Any, likeness: Any, cost: Any, per_pixel: Any, per_contrast: Any) -> None:
    height, width = cost.shape
    diagonal = np.float32(2**0.5)
    for turn in range(6):
        down = turn % 2 == 0
        for step in range(height):
            row = step if down else height - 1 - step
            for walk in range(width):
                column = walk if down else width - 1 - walk
                best = cost[row, column]
                if best == 0:
                    continue
                for k in range(4):
                    di = 0 if k == 0 else (-1 if down else 1)
                    dj = (-1 if down else 1) if k == 0 else k - 2
                    i, j = row + di, column + dj
                    if i < 0 or j < 0 or i >= height or j >= width:
                        continue
                    before = cost[i, j]
                    if before >= best:
                        continue
                    difference = np.float32(0)
                    for c in range(3):
                        difference += abs(picture[row, column, c] - picture[i, j, c])
                    length = diagonal if di != 0 and dj != 0 else np.float32(1)
                    # Noise and pores are no edges.
                    edge = max(difference - np.float32(0.03), np.float32(0)) * per_contrast
                    eased = np.float32(1) - np.float32(0.75) * min(likeness[row, column], likeness[i, j])
                    if not inside[row, column]:
                        strange = np.float32(1) - likeness[row, column]
                        edge += length * per_pixel * (np.float32(1) + np.float32(2) * strange)
                    step_cost = eased * edge
                    best = min(best, before + step_cost)
                cost[row, column] = best


@compiled
@no_type_check
def _rim(field: Any, mask: Any, outwards: Any, moved: Any, slack: Any, values: Any, weights: Any) -> None:
    height, width = mask.shape
    half = np.float32(0.5)
    for row in range(height):
        for column in range(width):
            if not mask[row, column]:
                continue
            open_side = False
            if row > 0 and not mask[row - 1, column]:
                open_side = True
            if column > 0 and not mask[row, column - 1]:
                open_side = True
            if row + 1 < height and not mask[row + 1, column]:
                open_side = True
            if column + 1 < width and not mask[row, column + 1]:
                open_side = True
            if not open_side:
                continue
            i, j = row // 2, column // 2
            if moved:
                dx, dy = field[row, column, 0], field[row, column, 1]
                y, x = int(np.floor(row + half + dy)), int(np.floor(column + half + dx))
                if x >= 0 and y >= 0 and x < width and y < height:
                    ox, oy = outwards[y, x, 0], outwards[y, x, 1]
                    far = np.sqrt(ox * ox + oy * oy)
                    if far > slack:
                        share = (far - slack) / far
                        dx += share * ox
                        dy += share * oy
                values[i, j, 0] += dx
                values[i, j, 1] += dy
            for k in range(2, 5):
                values[i, j, k] += field[row, column, k]
            weights[i, j] += np.float32(1)


@compiled
@no_type_check
def _normalise(values: Any, weights: Any) -> None:
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            w = weights[i, j]
            if w > 0:
                for k in range(values.shape[2]):
                    values[i, j, k] /= w
                weights[i, j] = min(w, np.float32(1))


@compiled
@no_type_check
def _pull(values: Any, weights: Any, coarse: Any, coarse_weights: Any) -> None:
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            w = weights[i, j]
            if w > 0:
                for k in range(values.shape[2]):
                    coarse[i // 2, j // 2, k] += w * values[i, j, k]
                coarse_weights[i // 2, j // 2] += w


@compiled
@no_type_check
def _push(values: Any, weights: Any, coarse: Any) -> None:
    rows, columns = coarse.shape[0], coarse.shape[1]
    near, far = np.float32(0.75), np.float32(0.25)
    for i in range(values.shape[0]):
        ci = i // 2
        oi = min(max(ci + (1 if i % 2 else -1), 0), rows - 1)
        for j in range(values.shape[1]):
            w = weights[i, j]
            if w >= 1:
                continue
            cj = j // 2
            oj = min(max(cj + (1 if j % 2 else -1), 0), columns - 1)
            for k in range(values.shape[2]):
                up = near * (near * coarse[ci, cj, k] + far * coarse[ci, oj, k]) + far * (
                    near * coarse[oi, cj, k] + far * coarse[oi, oj, k]
                )
                values[i, j, k] = w * values[i, j, k] + (np.float32(1) - w) * up


@compiled
@no_type_check
def _complete(field: Any, mask: Any, around: Any, share: Any, matte: Any, moved: Any) -> None:
    height, width = mask.shape
    rows, columns = share.shape
    one, half = np.float32(1), np.float32(0.5)
    near, far = np.float32(0.75), np.float32(0.25)
    for row in range(height):
        ci = row // 2
        oi = min(max(ci + (1 if row % 2 else -1), 0), rows - 1)
        for column in range(width):
            if not mask[row, column]:
                cj = column // 2
                oj = min(max(cj + (1 if column % 2 else -1), 0), columns - 1)
                a, b, c, d = near * near, near * far, far * near, far * far
                if moved:
                    part = a * share[ci, cj] + b * share[ci, oj] + c * share[oi, cj] + d * share[oi, oj]
                    for k in range(2):
                        field[row, column, k] = part * (
                            a * around[ci, cj, k]
                            + b * around[ci, oj, k]
                            + c * around[oi, cj, k]
                            + d * around[oi, oj, k]
                        )
                for k in range(2, 5):
                    field[row, column, k] = (
                        a * around[ci, cj, k]
                        + b * around[ci, oj, k]
                        + c * around[oi, cj, k]
                        + d * around[oi, oj, k]
                    )
            i, j = row, column
            if moved:
                i = min(max(int(np.floor(row + half + field[row, column, 1])), 0), height - 1)
                j = min(max(int(np.floor(column + half + field[row, column, 0])), 0), width - 1)
            m = matte[i, j]
            for k in range(2, 5):
                field[row, column, k] = one + m * (field[row, column, k] - one)


@compiled
@no_type_check
def _compose(picture: Any, field: Any, scale: Any, smooth: Any, decode: Any, encode: Any, out: Any) -> None:
    height, width = picture.shape[:2]
    rows, columns = field.shape[:2]
    one, half, zero = np.float32(1), np.float32(0.5), np.float32(0)
    top_level = np.float32(encode.shape[0] - 1)
    direct = rows == height and columns == width
    f = np.zeros(9, np.float32)
    wx, wy = np.zeros(4, np.float32), np.zeros(4, np.float32)
    for row in range(height):
        for column in range(width):
            if direct:
                for k in range(9):
                    f[k] = field[row, column, k]
            else:
                y = min(max((row + half) * scale - half, zero), np.float32(rows - 1))
                x = min(max((column + half) * scale - half, zero), np.float32(columns - 1))
                i, j = min(int(y), rows - 2), min(int(x), columns - 2)
                v, u = y - np.float32(i), x - np.float32(j)
                for k in range(9):
                    f[k] = (one - v) * ((one - u) * field[i, j, k] + u * field[i, j + 1, k]) + v * (
                        (one - u) * field[i + 1, j, k] + u * field[i + 1, j + 1, k]
                    )
                f[0] /= scale
                f[1] /= scale
            still = abs(f[0]) < 0.004 and abs(f[1]) < 0.004
            plain = abs(f[2] - one) < 5e-4 and abs(f[3] - one) < 5e-4 and abs(f[4] - one) < 5e-4
            if still and plain and f[5] < 1e-3:
                for c in range(3):
                    out[row, column, c] = picture[row, column, c]
                continue
            if not still:
                sx = min(max(column + f[0], zero), np.float32(width - 1))
                sy = min(max(row + f[1], zero), np.float32(height - 1))
                bj, bi = int(sx), int(sy)
                tx, ty = sx - np.float32(bj), sy - np.float32(bi)
                if smooth:
                    _cubic(tx, wx)
                    _cubic(ty, wy)
            for c in range(3):
                if still:
                    value = decode[picture[row, column, c]]
                elif smooth:
                    value = zero
                    low, high = one, zero
                    for m in range(4):
                        i = min(max(bi + m - 1, 0), height - 1)
                        line = zero
                        for n in range(4):
                            j = min(max(bj + n - 1, 0), width - 1)
                            sample = decode[picture[i, j, c]]
                            line += wx[n] * sample
                            if (m == 1 or m == 2) and (n == 1 or n == 2):
                                low = min(low, sample)
                                high = max(high, sample)
                        value += wy[m] * line
                    # Cubics overshoot at edges: what lies between four pixels is none of them exceeded.
                    value = min(max(value, low), high)
                else:
                    i1, j1 = min(bi + 1, height - 1), min(bj + 1, width - 1)
                    value = (one - ty) * (
                        (one - tx) * decode[picture[bi, bj, c]] + tx * decode[picture[bi, j1, c]]
                    ) + ty * ((one - tx) * decode[picture[i1, bj, c]] + tx * decode[picture[i1, j1, c]])
                bright = value * f[2 + c]
                shoulder = max(np.float32(0.8), value)
                if bright > shoulder:
                    # Highlights roll off towards white instead of being cut.
                    room = max(one - shoulder, np.float32(1e-4))
                    bright = shoulder + room * (one - np.exp(-(bright - shoulder) / room))
                bright = (one - f[5]) * bright + f[5] * min(f[6 + c], one)
                level = min(max(bright, zero), one) * top_level + half
                out[row, column, c] = encode[int(level)]


@compiled
@no_type_check
def _soften_edges(picture: Any, field: Any, decode: Any, encode: Any, out: Any) -> None:
    """Average pixels where what is seen changes at once: lips over the mouth, lids, the head's outline."""
    height, width = picture.shape[:2]
    top_level = np.float32(encode.shape[0] - 1)
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            torn = False
            for k in range(4):
                i = row + (1 if k == 0 else (-1 if k == 1 else 0))
                j = column + (1 if k == 2 else (-1 if k == 3 else 0))
                shift = abs(field[row, column, 0] - field[i, j, 0]) + abs(
                    field[row, column, 1] - field[i, j, 1]
                )
                if shift > 2 or abs(field[row, column, 5] - field[i, j, 5]) > np.float32(0.35):
                    torn = True
            if not torn:
                continue
            for c in range(3):
                total = np.float32(4) * decode[picture[row, column, c]]
                for i in range(row - 1, row + 2):
                    for j in range(column - 1, column + 2):
                        weight = np.float32(1) if i != row and j != column else np.float32(2)
                        if i != row or j != column:
                            total += weight * decode[picture[i, j, c]]
                out[row, column, c] = encode[int(total / np.float32(16) * top_level + np.float32(0.5))]


@compiled
@no_type_check
def _cubic(t: Any, weights: Any) -> None:
    """Catmull-Rom weights."""
    half = np.float32(0.5)
    t2, t3 = t * t, t * t * t
    weights[0] = half * (-t3 + np.float32(2) * t2 - t)
    weights[1] = half * (np.float32(3) * t3 - np.float32(5) * t2 + np.float32(2))
    weights[2] = half * (np.float32(-3) * t3 + np.float32(4) * t2 + t)
    weights[3] = half * (t3 - t2)
