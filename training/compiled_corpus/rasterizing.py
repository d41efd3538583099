"""Faces as pictures: shaded vertices, and the picture of the nearest triangles.

Convention:
    As in `inversefacenet.rasterizer`: of equal depths the first triangle wins, and a pixel is covered when
    its centre lies inside, here up to a ten-thousandth of a pixel. Colours are interpolated along the screen,
    not along the surface: within one of the mesh's small triangles the two differ by less than a thousandth.
"""

from __future__ import annotations

from typing import Any, Final, no_type_check

import numpy as np

from inversefacenet.camera import CAMERA_DISTANCE
from inversefacenet.compilation import compiled
from inversefacenet.illumination import SQRT3, SQRT5, SQRT15
from training.compiled_corpus.arithmetic import HALF, ONE, ZERO

_DISTANCE: Final = np.float32(CAMERA_DISTANCE)
_SQRT3: Final = np.float32(SQRT3)
_SQRT15: Final = np.float32(SQRT15)
_HALF_SQRT5: Final = np.float32(SQRT5 / 2)
_HALF_SQRT15: Final = np.float32(SQRT15 / 2)
_THREE: Final = np.float32(3)
_SMALL: Final = np.float32(1e-30)
_FAR: Final = np.float32(1e9)
# Pixels by which a triangle is wider on both sides, so that rounding leaves no gap between two of them.
_TOLERANCE: Final = np.float32(1e-4)
VERTEX_VALUES: Final = 8
"""Column and row in pixels, inverse depth, red, green, blue; two are free, so that a vertex has half a cache
line of its own."""


@compiled
@no_type_check
def pose(geometry: Any, mean: Any, rotation: Any, posed: Any) -> None:
    """Add the mean face and turn it: planes of x, y and z in camera axes."""
    r00, r01, r02 = rotation[0, 0], rotation[0, 1], rotation[0, 2]
    r10, r11, r12 = rotation[1, 0], rotation[1, 1], rotation[1, 2]
    r20, r21, r22 = rotation[2, 0], rotation[2, 1], rotation[2, 2]
    ox, oy, oz = geometry[0], geometry[1], geometry[2]
    mx, my, mz = mean[0], mean[1], mean[2]
    px, py, pz = posed[0], posed[1], posed[2]
    for v in range(ox.shape[0]):
        x, y, z = ox[v] + mx[v], oy[v] + my[v], oz[v] + mz[v]
        px[v] = r00 * x + r01 * y + r02 * z
        py[v] = r10 * x + r11 * y + r12 * z
        pz[v] = r20 * x + r21 * y + r22 * z


@compiled
@no_type_check
def sum_normals(posed: Any, triangles: Any, corners: Any, normals: Any) -> None:
    """Add up, at every vertex, twice the areas of the triangles around it as vectors.

    Args:
        posed: Planes of coordinates.
        triangles: Vertex indices.
        corners: Room for the vertices, four values each.
        normals: The result, four values a vertex.
    """
    px, py, pz = posed[0], posed[1], posed[2]
    for v in range(corners.shape[0]):
        corners[v, 0], corners[v, 1], corners[v, 2] = px[v], py[v], pz[v]
    normals[:] = ZERO
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x, y, z = corners[a, 0], corners[a, 1], corners[a, 2]
        ux, uy, uz = corners[b, 0] - x, corners[b, 1] - y, corners[b, 2] - z
        wx, wy, wz = corners[c, 0] - x, corners[c, 1] - y, corners[c, 2] - z
        nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        normals[a, 0] += nx
        normals[a, 1] += ny
        normals[a, 2] += nz
        normals[b, 0] += nx
        normals[b, 1] += ny
        normals[b, 2] += nz
        normals[c, 0] += nx
        normals[c, 1] += ny
        normals[c, 2] += nz


@compiled
@no_type_check
def shade(
    posed: Any, normals: Any, reflectance: Any, mean: Any, light: Any, placement: Any, vertices: Any
) -> None:
    """Project the vertices into the picture and light them.

    Args:
        posed: Planes of coordinates in camera axes.
        normals: What `sum_normals` found.
        reflectance: Planes of each channel's deviation from the mean.
        mean: Planes of the mean reflectance.
        light: Coefficients of irradiance, a row per function.
        placement: Scale and offsets: pixels = scale * point + offset.
        vertices: The result, `VERTEX_VALUES` a vertex.
    """
    scale, left, top = placement[0], placement[1], placement[2]
    px, py, pz = posed[0], posed[1], posed[2]
    count = px.shape[0]
    column, row, inverse = (
        np.empty(count, np.float32),
        np.empty(count, np.float32),
        np.empty(count, np.float32),
    )
    for v in range(count):
        i = np.divide(ONE, _DISTANCE - pz[v])
        inverse[v] = i
        column[v] = px[v] * i * scale + left
        row[v] = top - py[v] * i * scale
    nx, ny, nz = np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count, np.float32)
    for v in range(count):
        x, y, z = normals[v, 0], normals[v, 1], normals[v, 2]
        f = np.divide(ONE, max(np.sqrt(x * x + y * y + z * z), _SMALL))
        nx[v], ny[v], nz[v] = x * f, y * f, z * f
        vertices[v, 0], vertices[v, 1], vertices[v, 2] = column[v], row[v], inverse[v]
    for channel in range(3):
        l0, l1, l2 = light[0, channel], light[1, channel] * _SQRT3, light[2, channel] * _SQRT3
        l3, l4, l5 = light[3, channel] * _SQRT3, light[4, channel] * _SQRT15, light[5, channel] * _SQRT15
        l6, l7 = light[6, channel] * _HALF_SQRT5, light[7, channel] * _SQRT15
        l8 = light[8, channel] * _HALF_SQRT15
        own, average = reflectance[channel], mean[channel]
        for v in range(count):
            x, y, z = nx[v], ny[v], nz[v]
            lit = l0 + l1 * y + l2 * z + l3 * x + l4 * (x * y) + l5 * (y * z)
            lit += l6 * (_THREE * z * z - ONE) + l7 * (x * z) + l8 * (x * x - y * y)
            column[v] = (own[v] + average[v]) * max(lit, ZERO)
        for v in range(count):
            vertices[v, 3 + channel] = column[v]


@compiled
@no_type_check
def draw(vertices: Any, triangles: Any, pixels: Any) -> None:
    """Draw the nearest front-facing triangles.

    A row of a triangle is what lies to the right of its left edges and to the left of its right ones; depth
    and colour change by the same step from pixel to pixel.

    Args:
        vertices: What `shade` found.
        triangles: Vertex indices.
        pixels: Inverse depth, red, green and blue of each pixel; the result, 0 where there is nothing.
    """
    height, width = pixels.shape[0], pixels.shape[1]
    pixels[:] = ZERO
    last_row, last_column = np.float32(height - 1), np.float32(width - 1)
    for t in range(triangles.shape[0]):
        v0, v1, v2 = vertices[triangles[t, 0]], vertices[triangles[t, 1]], vertices[triangles[t, 2]]
        x0, y0, x1, y1, x2, y2 = v0[0], v0[1], v1[0], v1[1], v2[0], v2[1]
        # With y down a triangle that faces the camera has negative area.
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if not area < ZERO:
            continue
        top = max(ZERO, np.ceil(min(y0, y1, y2) - HALF))
        bottom = min(last_row, np.floor(max(y0, y1, y2) - HALF))
        if top > bottom or np.ceil(min(x0, x1, x2) - HALF) > np.floor(max(x0, x1, x2) - HALF):
            continue
        start = top + HALF
        rise0, rise1, rise2 = y2 - y1, y0 - y2, y1 - y0
        # A horizontal edge's slope is infinite and never used: it bounds no row from a side.
        slope0, slope1, slope2 = (
            np.divide(x2 - x1, rise0),
            np.divide(x0 - x2, rise1),
            np.divide(x1 - x0, rise2),
        )
        at0 = x1 + (start - y1) * slope0 - HALF
        at1 = x2 + (start - y2) * slope1 - HALF
        at2 = x0 + (start - y0) * slope2 - HALF
        left0, leftward0 = (at0 - _TOLERANCE, slope0) if rise0 > ZERO else (-_FAR, ZERO)
        left1, leftward1 = (at1 - _TOLERANCE, slope1) if rise1 > ZERO else (-_FAR, ZERO)
        left2, leftward2 = (at2 - _TOLERANCE, slope2) if rise2 > ZERO else (-_FAR, ZERO)
        right0, rightward0 = (at0 + _TOLERANCE, slope0) if rise0 < ZERO else (_FAR, ZERO)
        right1, rightward1 = (at1 + _TOLERANCE, slope1) if rise1 < ZERO else (_FAR, ZERO)
        right2, rightward2 = (at2 + _TOLERANCE, slope2) if rise2 < ZERO else (_FAR, ZERO)
        inverse_area = np.divide(ONE, area)
        across1, down1 = (y2 - y0) * inverse_area, (x0 - x2) * inverse_area
        across2, down2 = (y0 - y1) * inverse_area, (x1 - x0) * inverse_area
        z0, r0, g0, b0 = v0[2], v0[3], v0[4], v0[5]
        z1, r1, g1, b1 = v1[2] - z0, v1[3] - r0, v1[4] - g0, v1[5] - b0
        z2, r2, g2, b2 = v2[2] - z0, v2[3] - r0, v2[4] - g0, v2[5] - b0
        zx, zy = across1 * z1 + across2 * z2, down1 * z1 + down2 * z2
        rx, ry = across1 * r1 + across2 * r2, down1 * r1 + down2 * r2
        gx, gy = across1 * g1 + across2 * g2, down1 * g1 + down2 * g2
        bx, by = across1 * b1 + across2 * b2, down1 * b1 + down2 * b2
        row = np.int64(top)
        for step in range(np.int64(bottom) - row + 1):
            k = np.float32(step)
            left = max(max(left0 + k * leftward0, left1 + k * leftward1), max(left2 + k * leftward2, ZERO))
            right = min(right2 + k * rightward2, last_column)
            right = min(min(right0 + k * rightward0, right1 + k * rightward1), right)
            first = np.ceil(left)
            count = np.int64(np.floor(right) - first) + 1
            if count <= 0:
                continue
            dx, dy = first + HALF - x0, start + k - y0
            z, r = z0 + dx * zx + dy * zy, r0 + dx * rx + dy * ry
            g, b = g0 + dx * gx + dy * gy, b0 + dx * bx + dy * by
            line = pixels[row + step, np.int64(first) :]
            for column in range(count):
                if z > line[column, 0]:
                    line[column, 0], line[column, 1], line[column, 2], line[column, 3] = z, r, g, b
                z, r, g, b = z + zx, r + rx, g + gx, b + bx


@compiled
@no_type_check
def split(pixels: Any, nearest: Any, picture: Any) -> None:
    """Take the four values of each pixel apart: inverse depths, and planes of red, green and blue."""
    for row in range(nearest.shape[0]):
        values = pixels[row]
        depth, red, green, blue = nearest[row], picture[0, row], picture[1, row], picture[2, row]
        for x in range(depth.shape[0]):
            depth[x], red[x], green[x], blue[x] = values[x, 0], values[x, 1], values[x, 2], values[x, 3]
