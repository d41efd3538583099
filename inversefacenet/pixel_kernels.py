"""Compiled loops over a picture's pixels: what each one sees, and its level.

Convention:
    As in `inversefacenet.rasterizer`. A pixel's triangle is -1 and its inverse depth 0 where nothing is seen.
"""

from __future__ import annotations

from typing import Any, Final, no_type_check

import numpy as np

from inversefacenet.compilation import compiled, compiled_fused, compiled_inline

LANES: Final = 16
"""Pixels of a row that are tested at once, so that the compiler makes them one instruction; a row that is
written must be as long."""


@compiled
@no_type_check
def fill(points: Any, triangles: Any, width: Any, triangle: Any, nearest: Any) -> None:
    """Find the nearest triangle of each pixel; rows may be longer than the picture is wide.

    Args:
        points: Pixel coordinates and inverse depth, float32 [vertices, 3].
        triangles: Vertex indices, int32 [triangles, 3].
        width: Columns of the picture.
        triangle: Takes indices, int32 [height, at least width and LANES].
        nearest: Takes inverse depths, float32 of the same shape.
    """
    height, columns = triangle.shape
    triangle[:] = -1
    nearest[:] = 0
    indices, depths = triangle.reshape(-1), nearest.reshape(-1)
    count = triangles.shape[0]
    drawn = np.empty(count + 1, np.int32)
    boxes = np.empty((count + 1, 4), np.float32)
    none, half = np.float32(0), np.float32(0.5)
    last_row, last_column = np.float32(height - 1), np.float32(width - 1)
    found = 0
    # Which triangles there are to draw at all is gathered without a branch: none could be foretold.
    for t in range(count):
        a, b, c = np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2])
        x0, y0 = points[a, 0], points[a, 1]
        x1, y1 = points[b, 0], points[b, 1]
        x2, y2 = points[c, 0], points[c, 1]
        # With y down a triangle that faces the camera has negative area.
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        top = np.ceil(max(min(y0, y1, y2) - half, none))
        bottom = np.floor(min(max(y0, y1, y2) - half, last_row))
        left = np.ceil(max(min(x0, x1, x2) - half, none))
        right = np.floor(min(max(x0, x1, x2) - half, last_column))
        drawn[found] = t
        boxes[found, 0], boxes[found, 1], boxes[found, 2], boxes[found, 3] = top, bottom, left, right
        found += np.int32((area < 0) & (top <= bottom) & (left <= right))
    for k in range(found):
        t = drawn[k]
        a, b, c = np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2])
        x0, y0, z0 = points[a, 0], points[a, 1], points[a, 2]
        x1, y1, z1 = points[b, 0], points[b, 1], points[b, 2]
        x2, y2, z2 = points[c, 0], points[c, 1], points[c, 2]
        inverse_area = np.float32(1) / ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))
        first, last = np.int32(boxes[k, 2]), np.int32(boxes[k, 3])
        for row in range(np.int32(boxes[k, 0]), np.int32(boxes[k, 1]) + 1):
            py = np.float32(row) + half
            dy0, dy1, dy2 = y0 - py, y1 - py, y2 - py
            for begin in range(first, last + 1, LANES):
                # Pixels beyond the triangle's box are tested along with it, and fail.
                start = min(begin, columns - LANES)
                base = np.uintp(row * columns + start)
                for j in range(LANES):
                    px = np.float32(np.int32(start + j)) + half
                    dx0, dx1, dx2 = x0 - px, x1 - px, x2 - px
                    w0 = (dx1 * dy2 - dx2 * dy1) * inverse_area
                    w1 = (dx2 * dy0 - dx0 * dy2) * inverse_area
                    # From its own edge, not as 1 - w0 - w1: two triangles that share an edge then see it with
                    # opposite signs exactly, and no pixel between them is lost to rounding.
                    w2 = (dx0 * dy1 - dx1 * dy0) * inverse_area
                    inverse = w0 * z0 + w1 * z1 + w2 * z2
                    at = base + np.uintp(j)
                    before = depths[at]
                    seen = (w0 >= 0) & (w1 >= 0) & (w2 >= 0) & (inverse > before)
                    depths[at] = inverse if seen else before
                    indices[at] = np.int32(t) if seen else indices[at]


@compiled_inline
@no_type_check
def _weights(points: Any, a: Any, b: Any, c: Any, px: Any, py: Any) -> Any:
    """Return the perspective-correct weights of a triangle's corners at a point, as `fill` sees them."""
    x0, y0, z0 = points[a, 0], points[a, 1], points[a, 2]
    x1, y1, z1 = points[b, 0], points[b, 1], points[b, 2]
    x2, y2, z2 = points[c, 0], points[c, 1], points[c, 2]
    # Divided as NumPy does it: a surface that passes through the camera may make either 0, which is no error.
    inverse_area = np.divide(np.float32(1), (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))
    dx0, dx1, dx2, dy0, dy1, dy2 = x0 - px, x1 - px, x2 - px, y0 - py, y1 - py, y2 - py
    w0 = (dx1 * dy2 - dx2 * dy1) * inverse_area * z0
    w1 = (dx2 * dy0 - dx0 * dy2) * inverse_area * z1
    w2 = (dx0 * dy1 - dx1 * dy0) * inverse_area * z2
    depth = np.divide(np.float32(1), w0 + w1 + w2)
    return w0 * depth, w1 * depth, w2 * depth


@compiled
@no_type_check
def weigh(points: Any, triangles: Any, triangle: Any, barycentric: Any) -> None:
    """Find the weights of the corners of the triangle that each pixel sees.

    Args:
        points: Pixel coordinates and inverse depth, float32 [vertices, 3].
        triangles: Vertex indices, int32 [triangles, 3].
        triangle: What `fill` found, int32 [height, width].
        barycentric: Takes the weights, float32 [height, width, 3]; it must hold zeros.
    """
    height, width = triangle.shape
    half = np.float32(0.5)
    for row in range(height):
        for column in range(width):
            t = triangle[row, column]
            if t < 0:
                continue
            a, b, c = np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2])
            w0, w1, w2 = _weights(points, a, b, c, np.float32(column) + half, np.float32(row) + half)
            barycentric[row, column, 0] = w0
            barycentric[row, column, 1] = w1
            barycentric[row, column, 2] = w2


@compiled
@no_type_check
def interpolate_into(triangle: Any, barycentric: Any, triangles: Any, attributes: Any, picture: Any) -> None:
    """Add up the corners' attributes by their weights; pixels that see nothing are left as they are."""
    height, width = triangle.shape
    for row in range(height):
        for column in range(width):
            t = triangle[row, column]
            if t < 0:
                continue
            a, b, c = np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2])
            w0, w1, w2 = barycentric[row, column, 0], barycentric[row, column, 1], barycentric[row, column, 2]
            for channel in range(attributes.shape[1]):
                picture[row, column, channel] = (
                    w0 * attributes[a, channel] + w1 * attributes[b, channel] + w2 * attributes[c, channel]
                )


@compiled
@no_type_check
def encode_into(linear: Any, levels: Any, steps: Any, out: Any) -> None:
    """Turn linear light into 8-bit levels (`inversefacenet.colour.level_tables`); all arrays are flat."""
    highest = np.float32(levels.shape[0] - 1)
    none, one = np.float32(0), np.float32(1)
    for i in range(linear.shape[0]):
        value = linear[i]
        value = value if value > 0 else none  # NaN, too
        value = value if value < 1 else one
        level = levels[np.uint32(value * highest)]
        out[i] = level + np.uint8(value >= steps[level])


@compiled
@no_type_check
def _project(vertices: Any, distance: Any, scale: Any, offset_x: Any, offset_y: Any, points: Any) -> None:
    for v in range(vertices.shape[0]):
        depth = distance - vertices[v, 2]
        # Divided as NumPy does it: a vertex may lie at the camera's own depth.
        points[v, 0] = scale * np.divide(vertices[v, 0], depth) + offset_x
        points[v, 1] = scale * np.divide(-vertices[v, 1], depth) + offset_y
        points[v, 2] = np.divide(np.float32(1), depth)


@compiled_fused
@no_type_check
def draw(
    vertices: Any,
    triangles: Any,
    colours: Any,
    counted: Any,
    levels: Any,
    steps: Any,
    distance: Any,
    scale: Any,
    offset_x: Any,
    offset_y: Any,
    points: Any,
    triangle: Any,
    nearest: Any,
    image: Any,
    mask: Any,
    counted_mask: Any,
) -> None:
    """Project vertices, find what each pixel sees, and write its colour.

    Args:
        vertices: In camera axes, float32 [vertices, 3].
        triangles: Vertex indices, int32 [triangles, 3].
        colours: Linear colours, float32 [vertices, 3].
        counted: Triangles of `counted_mask`, bool [triangles].
        levels: Levels by linear value (`inversefacenet.colour.level_tables`).
        steps: Where the level after each begins.
        distance: From the camera to the origin, float32.
        scale: Image plane to pixels, float32, as are the offsets.
        offset_x: Pixels to the right.
        offset_y: Pixels down.
        points: Takes pixel coordinates and inverse depth, float32 [vertices, 3].
        triangle: As `fill` takes it.
        nearest: As `fill` takes it.
        image: Takes 8-bit levels, uint8 [height, width, 3].
        mask: Takes where a triangle is seen, bool [height, width].
        counted_mask: Takes where a counted one is seen, bool [height, width].
    """
    height, width = mask.shape
    none, half = np.float32(0), np.float32(0.5)
    _project(vertices, distance, scale, offset_x, offset_y, points)
    fill(points, triangles, width, triangle, nearest)
    linear = np.empty(3 * width, np.float32)
    for row in range(height):
        y = np.float32(row) + half
        begin, end = width, 0
        for column in range(width):
            t = triangle[row, column]
            mask[row, column] = t >= 0
            at = np.uintp(3 * column)
            if t < 0:
                counted_mask[row, column] = False
                linear[at] = linear[at + np.uintp(1)] = linear[at + np.uintp(2)] = none
                continue
            begin, end = min(begin, column), column + 1
            seen = np.uint32(t)
            counted_mask[row, column] = counted[seen]
            a, b, c = (
                np.uint32(triangles[seen, 0]),
                np.uint32(triangles[seen, 1]),
                np.uint32(triangles[seen, 2]),
            )
            w0, w1, w2 = _weights(points, a, b, c, np.float32(np.int32(column)) + half, y)
            linear[at] = w0 * colours[a, 0] + w1 * colours[b, 0] + w2 * colours[c, 0]
            linear[at + np.uintp(1)] = w0 * colours[a, 1] + w1 * colours[b, 1] + w2 * colours[c, 1]
            linear[at + np.uintp(2)] = w0 * colours[a, 2] + w1 * colours[b, 2] + w2 * colours[c, 2]
        begin = min(begin, end)
        pixels = image[row].reshape(-1)
        pixels[: 3 * begin] = 0
        pixels[3 * end :] = 0
        encode_into(linear[3 * begin : 3 * end], levels, steps, pixels[3 * begin : 3 * end])
