"""Z-buffer rasterization of triangle meshes, compiled by numba.

Convention:
    Points are (x, y, inverse depth): x and y in continuous pixels, x right and y down, pixel centres at
    half integers; depth is the distance from the camera along its axis in millimetres. A triangle faces
    the camera when its corners turn counter-clockwise as seen with y up. A pixel belongs to a triangle
    when its centre lies inside or on an edge; of equal depths the triangle that comes first wins.

`inversefacenet.rasterizer_reference` does the same slowly and plainly; the tests hold the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Int32

from inversefacenet.compilation import compiled, compiled_inline


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees.

    Attributes:
        triangle: Index of the nearest triangle, -1 where there is none.
        barycentric: Perspective-correct weights of the triangle's corners, 0 where there is none.
        depth: Distance from the camera along its axis in millimetres, infinite where there is none.
    """

    triangle: Int32[np.ndarray, "height width"]
    barycentric: Float32[np.ndarray, "height width 3"]
    depth: Float32[np.ndarray, "height width"]

    @property
    def mask(self) -> Bool[np.ndarray, "height width"]:
        """True where a triangle is seen."""
        return self.triangle >= 0


def rasterize(
    points: Float32[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    height: int,
    width: int,
) -> Fragments:
    """Find the nearest front-facing triangle of every pixel.

    The cost of a triangle is proportional to its rows and the pixels that it covers.

    Args:
        points: Pixel coordinates and inverse depth (1/mm, positive in front of the camera).
        triangles: Vertex indices.
        height: Rows of the picture.
        width: Columns of the picture.
    """
    triangle = np.full((height, width), -1, np.int32)
    barycentric = np.zeros((height, width, 3), np.float32)
    inverse_depth = np.zeros((height, width), np.float32)
    _fill(
        np.ascontiguousarray(points, np.float32),
        np.ascontiguousarray(triangles, np.int32),
        triangle,
        barycentric,
        inverse_depth,
    )
    with np.errstate(divide="ignore"):
        depth = np.float32(1) / inverse_depth
    return Fragments(triangle, barycentric, depth)


def interpolate(
    fragments: Fragments,
    triangles: Int32[np.ndarray, "triangles 3"],
    attributes: Float32[np.ndarray, "vertices channels"],
) -> Float32[np.ndarray, "height width channels"]:
    """Interpolate vertex attributes over the picture, 0 where no triangle is seen."""
    height, width = fragments.triangle.shape
    picture = np.zeros((height, width, attributes.shape[1]), np.float32)
    _interpolate(
        fragments.triangle,
        fragments.barycentric,
        np.ascontiguousarray(triangles, np.int32),
        np.ascontiguousarray(attributes, np.float32),
        picture,
    )
    return picture


def vertex_normals(
    vertices: Float32[np.ndarray, "vertices 3"], triangles: Int32[np.ndarray, "triangles 3"]
) -> Float32[np.ndarray, "vertices 3"]:
    """Return unit vertex normals: the mean of the adjacent triangles' normals, weighted by area."""
    return np.asarray(
        _vertex_normals(np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(triangles, np.int32))
    )


@compiled
@no_type_check
def _fill(points: Any, triangles: Any, triangle: Any, barycentric: Any, inverse_depth: Any) -> None:
    height, width = triangle.shape
    half = np.float32(0.5)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, z0 = points[a, 0], points[a, 1], points[a, 2]
        x1, y1, z1 = points[b, 0], points[b, 1], points[b, 2]
        x2, y2, z2 = points[c, 0], points[c, 1], points[c, 2]
        # With y down a triangle that faces the camera has negative area.
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if not area < 0:
            continue
        top = max(0, int(np.ceil(min(y0, y1, y2) - half)))
        bottom = min(height - 1, int(np.floor(max(y0, y1, y2) - half)))
        inverse_area = np.float32(1) / area
        for row in range(top, bottom + 1):
            py = np.float32(row) + half
            left, right = _span(x0, y0, x1, y1, x2, y2, py)
            # One pixel more on each side: the exact test below decides, the span only saves work.
            first = max(0, int(np.floor(left - half)))
            last = min(width - 1, int(np.ceil(right - half)))
            for column in range(first, last + 1):
                px = np.float32(column) + half
                w0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) * inverse_area
                w1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) * inverse_area
                # From its own edge, not as 1 - w0 - w1: two triangles that share an edge then see it with
                # opposite signs exactly, and no pixel between them is lost to rounding.
                w2 = ((x0 - px) * (y1 - py) - (x1 - px) * (y0 - py)) * inverse_area
                if w0 < 0 or w1 < 0 or w2 < 0:
                    continue
                inverse = w0 * z0 + w1 * z1 + w2 * z2
                if inverse > inverse_depth[row, column]:
                    inverse_depth[row, column] = inverse
                    triangle[row, column] = t
                    depth = np.float32(1) / inverse
                    barycentric[row, column, 0] = w0 * z0 * depth
                    barycentric[row, column, 1] = w1 * z1 * depth
                    barycentric[row, column, 2] = w2 * z2 * depth


@compiled_inline
@no_type_check
def _span(x0: Any, y0: Any, x1: Any, y1: Any, x2: Any, y2: Any, y: Any) -> Any:
    """Return the leftmost and rightmost x at which the triangle's outline crosses the row at y."""
    left = np.float32(np.inf)
    right = np.float32(-np.inf)
    for edge in range(3):
        if edge == 0:
            xa, ya, xb, yb = x0, y0, x1, y1
        elif edge == 1:
            xa, ya, xb, yb = x1, y1, x2, y2
        else:
            xa, ya, xb, yb = x2, y2, x0, y0
        if (ya <= y and yb >= y) or (yb <= y and ya >= y):
            if ya == yb:
                left, right = min(left, xa, xb), max(right, xa, xb)
            else:
                x = xa + (y - ya) / (yb - ya) * (xb - xa)
                left, right = min(left, x), max(right, x)
    return left, right


@compiled
@no_type_check
def _interpolate(triangle: Any, barycentric: Any, triangles: Any, attributes: Any, picture: Any) -> None:
    height, width = triangle.shape
    for row in range(height):
        for column in range(width):
            t = triangle[row, column]
            if t < 0:
                continue
            for channel in range(attributes.shape[1]):
                total = np.float32(0)
                for corner in range(3):
                    total += barycentric[row, column, corner] * attributes[triangles[t, corner], channel]
                picture[row, column, channel] = total


@compiled
@no_type_check
def _vertex_normals(vertices: Any, triangles: Any) -> Any:
    normals = np.zeros_like(vertices)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        wx, wy, wz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        for corner in range(3):
            v = triangles[t, corner]
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz
    for v in range(normals.shape[0]):
        length = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        if length > 0:
            for axis in range(3):
                normals[v, axis] /= length
    return normals
