"""Floors of the stages that numba computes: the same memory traffic, and as little else as possible."""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(cache=True, nogil=True, fastmath=True)
def read_all(values: Any) -> Any:
    """Add up a flat array: what it takes to read a matrix once."""
    total = values[0] * 0
    for i in range(values.shape[0]):
        total += values[i]
    return total


@njit(cache=True, nogil=True)
def scatter(vertices: Any, triangles: Any, coefficients: Any, out: Any) -> None:
    """Add each triangle's corners up at its corners, then write one colour a vertex.

    The reads and writes of vertex normals and shading, without cross products, roots and harmonics.
    """
    out[:] = 0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        for axis in range(3):
            total = vertices[a, axis] + vertices[b, axis] + vertices[c, axis]
            out[a, axis] += total
            out[b, axis] += total
            out[c, axis] += total
    for v in range(out.shape[0]):
        for channel in range(3):
            out[v, channel] *= coefficients[0, channel]


@njit(cache=True, nogil=True)
def fill_pixels(covered: Any, triangle: Any, barycentric: Any, inverse_depth: Any, picture: Any) -> None:
    """Write what a rasterizer writes, to the pixels that the face covers."""
    height, width = covered.shape
    for row in range(height):
        for column in range(width):
            if not covered[row, column]:
                continue
            triangle[row, column] = 1
            inverse_depth[row, column] = 1
            for channel in range(3):
                barycentric[row, column, channel] = 1
                picture[row, column, channel] = 1


@njit(cache=True, nogil=True)
def encode_levels(picture: Any, table: Any, out: Any) -> None:
    """Turn linear values into 8-bit levels through a table: each value is read and written once."""
    highest = table.shape[0] - 1
    for i in range(picture.shape[0]):
        value = min(max(picture[i], 0), 1)
        out[i] = table[int(value * highest)]


@njit(cache=True, nogil=True)
def squared_error(photo: Any, picture: Any, mask: Any) -> Any:
    """Add up squared differences over a mask: one pass over photo, picture and mask."""
    height, width = mask.shape
    total, count = 0, 0
    for row in range(height):
        for column in range(width):
            if mask[row, column]:
                count += 1
                for channel in range(3):
                    difference = int(photo[row, column, channel]) - int(picture[row, column, channel])
                    total += difference * difference
    return total, count
