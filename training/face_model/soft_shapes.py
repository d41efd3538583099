"""Soft-edged shapes for painting on vertices: all in [0, 1], distances in millimetres."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def smoothstep(x: Float[np.ndarray, "*n"], low: float, high: float) -> Float[np.ndarray, "*n"]:
    """Return the cubic step from 0 below `low` to 1 above `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def polyline_distance(
    points: Float[np.ndarray, "points d"], line: Float[np.ndarray, "nodes d"]
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Return the distance to a polyline and where along it the nearest point lies, from 0 to 1."""
    start, step = line[:-1], np.diff(line, axis=0)
    length = np.linalg.norm(step, axis=1)
    offset = points[:, None] - start
    along = np.clip((offset * step).sum(axis=-1) / length**2, 0, 1)
    distance = np.linalg.norm(offset - along[..., None] * step, axis=-1)
    nearest = distance.argmin(axis=1)
    rows = np.arange(len(points))
    before = np.concatenate([[0.0], np.cumsum(length)[:-1]])
    travelled = before[nearest] + along[rows, nearest] * length[nearest]
    return distance[rows, nearest], travelled / length.sum()


def bump(
    x: Float[np.ndarray, "*n"], y: Float[np.ndarray, "*n"], width: float, height: float
) -> Float[np.ndarray, "*n"]:
    """Return a Gaussian bump of height 1 at the origin, with standard deviations `width` and `height`."""
    return np.exp(-0.5 * ((x / width) ** 2 + (y / height) ** 2))


def varying_step(
    x: Float[np.ndarray, " n"], low: Float[np.ndarray, " n"], high: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return `smoothstep` between bounds of their own for each value."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def along_lines(
    vertices: Float[np.ndarray, "vertices 3"],
    points: Float[np.ndarray, "68 3"],
    lines: tuple[tuple[int, ...], ...],
    full: float,
    none: float,
) -> Float[np.ndarray, " vertices"]:
    """Return 1 within `full` millimetres of any of the lines, 0 beyond `none`."""
    nearest = np.min([polyline_distance(vertices, points[list(line)])[0] for line in lines], axis=0)
    return 1 - smoothstep(nearest, full, none)
