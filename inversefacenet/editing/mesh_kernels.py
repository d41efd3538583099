"""Compiled loops over the vertices of a face."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from inversefacenet.compilation import compiled


def neighbours_of(
    triangles: Int32[np.ndarray, "triangles 3"], vertices: int
) -> tuple[Int32[np.ndarray, "starts"], Int32[np.ndarray, "links"]]:
    """Return each vertex's neighbours, one vertex after the other, and where each one's begin."""
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    starts = np.searchsorted(pairs[:, 0], np.arange(vertices + 1))
    return starts.astype(np.int32), np.ascontiguousarray(pairs[:, 1], np.int32)


def distance_to_border(
    points: Float32[np.ndarray, "vertices 3"], triangles: Int32[np.ndarray, "triangles 3"]
) -> Float32[np.ndarray, "vertices"]:
    """Return the distance of each vertex from the largest open border, straight through space.

    Args:
        points: The mesh, in millimetres.
        triangles: Vertex indices.

    Returns:
        Millimetres; infinite, if the mesh has no border.
    """
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    both, count = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    edges = both[count == 1]
    if not len(edges):
        return np.full(len(points), np.inf, np.float32)
    rim = _largest_piece(edges, len(points))
    squares = np.full(len(points), np.inf, np.float32)
    for vertex in points[rim]:
        offsets = points - vertex
        squares = np.minimum(squares, np.einsum("vc,vc->v", offsets, offsets))
    return np.sqrt(squares)


def _largest_piece(edges: Int32[np.ndarray, "edges 2"], vertices: int) -> Int64[np.ndarray, "piece"]:
    """Return the vertices of the connected piece of a graph that has the most of them."""
    label = np.arange(vertices)
    while True:
        lower = label.copy()
        np.minimum.at(lower, edges[:, 0], label[edges[:, 1]])
        np.minimum.at(lower, edges[:, 1], label[edges[:, 0]])
        lower = lower[lower]
        if np.array_equal(lower, label):
            break
        label = lower
    used = np.unique(edges)
    pieces, sizes = np.unique(label[used], return_counts=True)
    return used[label[used] == pieces[sizes.argmax()]].astype(np.int64)


def smoothed(
    values: Float32[np.ndarray, "vertices channels"],
    starts: Int32[np.ndarray, "starts"],
    links: Int32[np.ndarray, "links"],
    rounds: int,
) -> Float32[np.ndarray, "vertices channels"]:
    """Move each vertex's values half-way to its neighbours' mean, so many times."""
    now, after = values.copy(), np.empty_like(values)
    for _ in range(rounds):
        _smooth(now, starts, links, after)
        now, after = after, now
    return now


def spread(
    values: Float32[np.ndarray, "vertices channels"],
    known: Bool[np.ndarray, "vertices"],
    starts: Int32[np.ndarray, "starts"],
    links: Int32[np.ndarray, "links"],
    rounds: int,
) -> Float32[np.ndarray, "vertices channels"]:
    """Carry known values on to the other vertices; those that none reaches take the known ones' mean."""
    found = values.copy()
    found[~known] = values[known].mean(axis=0) if known.any() else np.float32(1)
    reached = known.copy()
    _spread(found, known, reached, starts, links, rounds)
    return found


def shade(
    normals: Float32[np.ndarray, "vertices 3"], light: Float32[np.ndarray, "9 3"]
) -> Float32[np.ndarray, "vertices 3"]:
    """Return irradiance, negative where the harmonics are (`illumination.irradiance` clips it)."""
    out = np.empty_like(normals)
    _shade(normals, np.ascontiguousarray(light, np.float32), out)
    return out


@compiled
@no_type_check
def _smooth(values: Any, starts: Any, links: Any, out: Any) -> None:
    half = np.float32(0.5)
    for v in range(values.shape[0]):
        count = starts[v + 1] - starts[v]
        for c in range(values.shape[1]):
            total = np.float32(0)
            for i in range(starts[v], starts[v + 1]):
                total += values[links[i], c]
            mean = total / np.float32(count) if count > 0 else values[v, c]
            out[v, c] = half * (values[v, c] + mean)


@compiled
@no_type_check
def _spread(values: Any, known: Any, reached: Any, starts: Any, links: Any, rounds: Any) -> None:
    for turn in range(rounds):
        for step in range(values.shape[0]):
            # To and fro, so that values travel both ways at once.
            v = step if turn % 2 == 0 else values.shape[0] - 1 - step
            if known[v]:
                continue
            count = 0
            for i in range(starts[v], starts[v + 1]):
                count += 1 if reached[links[i]] else 0
            if count == 0:
                continue
            for c in range(values.shape[1]):
                total = np.float32(0)
                for i in range(starts[v], starts[v + 1]):
                    if reached[links[i]]:
                        total += values[links[i], c]
                values[v, c] = total / np.float32(count)
            reached[v] = True


@compiled
@no_type_check
def _shade(normals: Any, light: Any, out: Any) -> None:
    r3, r15 = np.float32(3**0.5), np.float32(15**0.5)
    h5, h15 = np.float32(5**0.5 / 2), np.float32(15**0.5 / 2)
    one, three = np.float32(1), np.float32(3)
    for v in range(normals.shape[0]):
        x, y, z = normals[v, 0], normals[v, 1], normals[v, 2]
        for c in range(3):
            out[v, c] = (
                light[0, c]
                + r3 * (y * light[1, c] + z * light[2, c] + x * light[3, c])
                + r15 * (x * y * light[4, c] + y * z * light[5, c] + x * z * light[7, c])
                + h5 * (three * z * z - one) * light[6, c]
                + h15 * (x * x - y * y) * light[8, c]
            )
