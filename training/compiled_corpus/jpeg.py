"""JPEG's losses, compiled (`training.jpeg` is the same in torch; entropy coding loses nothing)."""

from __future__ import annotations

from typing import Any, Final, no_type_check

import numpy as np

from inversefacenet.compilation import compiled
from training.compiled_corpus.arithmetic import ONE, ZERO, rounded
from training.jpeg_tables import CHROMINANCE_TABLE, LUMINANCE_TABLE

BLOCK: Final = 8
_TABLES: Final = np.array([LUMINANCE_TABLE, CHROMINANCE_TABLE], np.float64)
_WAVES: Final = (np.cos(np.arange(8) * np.pi / 16) / 2).astype(np.float32)
_C1, _C2, _C3, _C5, _C6, _C7 = (_WAVES[k] for k in (1, 2, 3, 5, 6, 7))
_C4: Final = _WAVES[4]
_LEVELS: Final = np.float32(255)
_LEVEL: Final = np.float32(1 / 255)
_MIDDLE: Final = np.float32(128)
_QUARTER: Final = np.float32(0.25)
_THREE_QUARTERS: Final = np.float32(0.75)
_YR, _YG, _YB = np.float32(0.299), np.float32(0.587), np.float32(0.114)
_UR, _UG, _UB = np.float32(-0.168736), np.float32(-0.331264), np.float32(0.5)
_VR, _VG, _VB = np.float32(0.5), np.float32(-0.418688), np.float32(-0.081312)
_RV, _GU, _GV, _BU = np.float32(1.402), np.float32(-0.344136), np.float32(-0.714136), np.float32(1.772)


@compiled
@no_type_check
def jpeg(picture: Any, quality: Any, subsample: Any) -> None:
    """Put what a JPEG decoder would give back in the picture's place.

    Args:
        picture: sRGB planes in [0, 1].
        quality: libjpeg's quality, 1 to 100.
        subsample: Whether colour has half the resolution (4:2:0).
    """
    height, width = picture.shape[1], picture.shape[2]
    unit = 16 if subsample else 8
    rows, columns = (height + unit - 1) // unit * unit, (width + unit - 1) // unit * unit
    planes = np.empty((3, rows, columns), np.float32)
    for y in range(rows):
        source = min(y, height - 1)
        red, green, blue = picture[0, source], picture[1, source], picture[2, source]
        luma, u, v = planes[0, y], planes[1, y], planes[2, y]
        for x in range(width):
            r, g, b = rounded(red[x] * _LEVELS), rounded(green[x] * _LEVELS), rounded(blue[x] * _LEVELS)
            luma[x] = rounded(_YR * r + _YG * g + _YB * b) - _MIDDLE
            u[x] = rounded(_UR * r + _UG * g + _UB * b)
            v[x] = rounded(_VR * r + _VG * g + _VB * b)
        for x in range(width, columns):
            luma[x], u[x], v[x] = luma[width - 1], u[width - 1], v[width - 1]
    quantise(planes[0], step_table(0, quality), -_MIDDLE, _MIDDLE - ONE)
    table = step_table(1, quality)
    for channel in range(1, 3):
        plane = planes[channel]
        if subsample:
            small = np.empty((rows // 2, columns // 2), np.float32)
            halve(plane, small)
            quantise(small, table, -_MIDDLE, _MIDDLE - ONE)
            double(small, plane)
        else:
            quantise(plane, table, -_MIDDLE, _MIDDLE - ONE)
    for y in range(height):
        red, green, blue = picture[0, y], picture[1, y], picture[2, y]
        lumas, us, vs = planes[0, y], planes[1, y], planes[2, y]
        for x in range(width):
            luma, u, v = lumas[x] + _MIDDLE, us[x], vs[x]
            red[x] = min(max(rounded(luma + _RV * v), ZERO), _LEVELS) * _LEVEL
            green[x] = min(max(rounded(luma + _GU * u + _GV * v), ZERO), _LEVELS) * _LEVEL
            blue[x] = min(max(rounded(luma + _BU * u), ZERO), _LEVELS) * _LEVEL


@compiled
@no_type_check
def step_table(kind: Any, quality: Any) -> Any:
    """Return a quantisation table scaled to a quality as libjpeg does: 0 luminance, 1 chrominance."""
    exact = min(max(np.rint(quality), 1.0), 100.0)
    scale = np.floor(5000.0 / exact) if exact < 50 else 200.0 - 2 * exact
    table = np.empty((BLOCK, BLOCK), np.float32)
    for i in range(BLOCK):
        for j in range(BLOCK):
            base = _TABLES[kind, i, j]
            table[i, j] = np.float32(min(max(np.floor((base * scale + 50) / 100), 1.0), 255.0))
    return table


@compiled
@no_type_check
def halve(plane: Any, small: Any) -> None:
    """Average squares of four pixels, to whole levels."""
    for y in range(small.shape[0]):
        upper, lower, line = plane[2 * y], plane[2 * y + 1], small[y]
        for x in range(small.shape[1]):
            total = upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1]
            line[x] = rounded(total * _QUARTER)


@compiled
@no_type_check
def double(small: Any, plane: Any) -> None:
    """Enlarge a plane bilinearly to twice its sides."""
    rows, columns = small.shape
    line = np.empty(columns, np.float32)
    for y in range(2 * rows):
        near = small[y // 2]
        far = small[min(max(y // 2 + 2 * (y % 2) - 1, 0), rows - 1)]
        for x in range(columns):
            line[x] = _THREE_QUARTERS * near[x] + _QUARTER * far[x]
        target = plane[y]
        for x in range(1, columns):
            target[2 * x] = _THREE_QUARTERS * line[x] + _QUARTER * line[x - 1]
        for x in range(columns - 1):
            target[2 * x + 1] = _THREE_QUARTERS * line[x] + _QUARTER * line[x + 1]
        target[0], target[2 * columns - 1] = line[0], line[columns - 1]


@compiled
@no_type_check
def quantise(plane: Any, table: Any, low: Any, high: Any) -> None:
    """Round the cosine coefficients of every 8x8 block to multiples of the table's, and the result."""
    rows, columns = plane.shape
    blocks = columns // BLOCK
    length = BLOCK * blocks
    strip = np.empty((BLOCK, columns), np.float32)
    # Coefficient u of row k of block b lies at [u, k * blocks + b]: equal ones side by side.
    turned = np.empty((BLOCK, length), np.float32)
    steps, inverse = np.empty((BLOCK, length), np.float32), np.empty((BLOCK, length), np.float32)
    for u in range(BLOCK):
        for k in range(BLOCK):
            for b in range(blocks):
                steps[u, k * blocks + b] = table[k, u]
                inverse[u, k * blocks + b] = ONE / table[k, u]
    for top in range(0, rows, BLOCK):
        forward(plane[top : top + BLOCK], strip)
        for k in range(BLOCK):
            line = strip[k]
            for u in range(BLOCK):
                for b in range(blocks):
                    turned[u, k * blocks + b] = line[b * BLOCK + u]
        forward(turned, turned)
        for u in range(BLOCK):
            line, step, factor = turned[u], steps[u], inverse[u]
            for i in range(length):
                line[i] = rounded(line[i] * factor[i]) * step[i]
        backward(turned, turned)
        for k in range(BLOCK):
            line = strip[k]
            for u in range(BLOCK):
                for b in range(blocks):
                    line[b * BLOCK + u] = turned[u, k * blocks + b]
        backward(strip, plane[top : top + BLOCK])
        for k in range(BLOCK):
            line = plane[top + k]
            for x in range(columns):
                line[x] = min(max(rounded(line[x]), low), high)


@compiled
@no_type_check
def forward(values: Any, out: Any) -> None:
    """Take the orthonormal cosine transform of the columns of eight rows."""
    v0, v1, v2, v3, v4, v5, v6, v7 = (
        values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7]
    )  # fmt: skip
    o0, o1, o2, o3, o4, o5, o6, o7 = out[0], out[1], out[2], out[3], out[4], out[5], out[6], out[7]
    for x in range(v0.shape[0]):
        s0, d0 = v0[x] + v7[x], v0[x] - v7[x]
        s1, d1 = v1[x] + v6[x], v1[x] - v6[x]
        s2, d2 = v2[x] + v5[x], v2[x] - v5[x]
        s3, d3 = v3[x] + v4[x], v3[x] - v4[x]
        e0, e1, e2, e3 = s0 + s3, s1 + s2, s0 - s3, s1 - s2
        o0[x] = (e0 + e1) * _C4
        o4[x] = (e0 - e1) * _C4
        o2[x] = e2 * _C2 + e3 * _C6
        o6[x] = e2 * _C6 - e3 * _C2
        o1[x] = d0 * _C1 + d1 * _C3 + d2 * _C5 + d3 * _C7
        o3[x] = d0 * _C3 - d1 * _C7 - d2 * _C1 - d3 * _C5
        o5[x] = d0 * _C5 - d1 * _C1 + d2 * _C7 + d3 * _C3
        o7[x] = d0 * _C7 - d1 * _C5 + d2 * _C3 - d3 * _C1


@compiled
@no_type_check
def backward(values: Any, out: Any) -> None:
    """Undo `forward`."""
    v0, v1, v2, v3, v4, v5, v6, v7 = (
        values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7]
    )  # fmt: skip
    o0, o1, o2, o3, o4, o5, o6, o7 = out[0], out[1], out[2], out[3], out[4], out[5], out[6], out[7]
    for x in range(v0.shape[0]):
        a1, a3, a5, a7 = v1[x], v3[x], v5[x], v7[x]
        e0, e1 = (v0[x] + v4[x]) * _C4, (v0[x] - v4[x]) * _C4
        e2, e3 = v2[x] * _C2 + v6[x] * _C6, v2[x] * _C6 - v6[x] * _C2
        s0, s1, s2, s3 = e0 + e2, e1 + e3, e1 - e3, e0 - e2
        d0 = a1 * _C1 + a3 * _C3 + a5 * _C5 + a7 * _C7
        d1 = a1 * _C3 - a3 * _C7 - a5 * _C1 - a7 * _C5
        d2 = a1 * _C5 - a3 * _C1 + a5 * _C7 + a7 * _C3
        d3 = a1 * _C7 - a3 * _C5 + a5 * _C3 - a7 * _C1
        o0[x], o7[x] = s0 + d0, s0 - d0
        o1[x], o6[x] = s1 + d1, s1 - d1
        o2[x], o5[x] = s2 + d2, s2 - d2
        o3[x], o4[x] = s3 + d3, s3 - d3
