"""Compiled loops that apply a field to a picture: moved, relit, filled, its edges smooth.

Convention:
    A field is float32 [height, width, 9] of frame pixels: where a pixel's photo colour lies relative to it
    (x, y, in frame pixels), the factor on its linear RGB, the share of the fill, and the fill's linear RGB.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, no_type_check

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.colour import to_linear, to_uint8
from inversefacenet.compilation import compiled

_LEVELS: Final = 65536


@cache
def encoding_table() -> UInt8[np.ndarray, "levels"]:
    """Return the 8-bit sRGB of evenly spaced linear values."""
    return to_uint8(np.linspace(0, 1, _LEVELS, dtype=np.float32))


@cache
def decoding_table() -> Float32[np.ndarray, "256"]:
    """Return the linear value of each sRGB level."""
    return np.asarray(to_linear(np.arange(256, dtype=np.uint8)), np.float32)


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
                # Zero comes first: `max` then takes it in place of NaN, which would become an index.
                sx = min(max(zero, column + f[0]), np.float32(width - 1))
                sy = min(max(zero, row + f[1]), np.float32(height - 1))
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
                level = min(max(zero, bright), one) * top_level + half  # zero first, as above
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
