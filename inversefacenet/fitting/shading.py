"""Derivatives of colour: sRGB's slope, and irradiance by the normals and so by the geometry around."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64

from inversefacenet.fitting.posed import PosedFace
from inversefacenet.illumination import SQRT3, SQRT5, SQRT15
from inversefacenet.parameters import ILLUMINATION

_LINEAR_LIMIT = 0.0031308
_CHUNK = 256


def encoding_slopes(linear: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Return the derivative of `colour.srgb_encode`: 0 where it clips."""
    inside = (linear > 0) & (linear < 1)
    curved = 1.055 / 2.4 * np.maximum(linear, _LINEAR_LIMIT) ** (1 / 2.4 - 1)
    slopes = np.where(linear <= _LINEAR_LIMIT, 12.92, curved)
    return np.where(inside, slopes, 0).astype(linear.dtype)


def harmonic_slopes(normals: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 9 3"]:
    """Return the derivatives of `illumination.sh_basis` by the normal."""
    x, y, z = normals.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    rows = [
        (zero, zero, zero),
        (zero, SQRT3 * one, zero),
        (zero, zero, SQRT3 * one),
        (SQRT3 * one, zero, zero),
        (SQRT15 * y, SQRT15 * x, zero),
        (zero, SQRT15 * z, SQRT15 * y),
        (zero, zero, 3 * SQRT5 * z),
        (SQRT15 * z, zero, SQRT15 * x),
        (SQRT15 * x, -SQRT15 * y, zero),
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=1).astype(normals.dtype)


def normal_velocities(
    face: PosedFace, turns: Float[np.ndarray, "3 3 3"], vertices: Int64[np.ndarray, "chosen"]
) -> tuple[Float[np.ndarray, "chosen 3 192"], Float[np.ndarray, "chosen 3 3"]]:
    """Return how the irradiance of vertices changes through their normals.

    Args:
        face: The face.
        turns: Velocity of a point, and so of a normal, by each angle.
        vertices: Which vertices.

    Returns:
        The derivatives by shape and expression, and by rotation, of each channel.
    """
    rings, directions = face.directions.rings, face.directions.geometry
    sums = face.normal_sums[vertices]
    length = np.maximum(np.linalg.norm(sums, axis=1), 1e-12)
    normals = sums / length[:, None]
    light = face.theta[ILLUMINATION].reshape(9, 3)
    pull = np.einsum("bc,vbi->vci", light, harmonic_slopes(normals))
    by_turn = np.einsum("vci,aij,vj->vca", pull, turns, normals)
    # A normal has unit length, so only what is across it counts.
    pull -= (pull @ normals[:, :, None]) * normals[:, None]
    pull /= length[:, None, None]
    edges = rings.edge_sums(face.vertices)
    sizes = rings.sizes()[vertices]
    order = np.argsort(sizes, kind="stable")
    result = np.empty((len(vertices), 3, directions.shape[2]), directions.dtype)
    for first in range(0, len(order), _CHUNK):
        chosen = order[first : first + _CHUNK]
        slots = np.arange(max(int(sizes[chosen[-1]]), 1))
        present = slots < sizes[chosen, None]
        pairs = np.where(present, rings.start[vertices[chosen], None] + slots, 0)
        edge = edges[pairs] * present[:, :, None]
        # (d x edge) . pull = d . (edge x pull); d is the rotated motion of the ring's vertex.
        across = np.cross(edge[:, None], pull[chosen][:, :, None]) @ face.rotation
        near = directions[rings.member[pairs]].reshape(len(chosen), -1, directions.shape[2])
        result[chosen] = np.matmul(across.reshape(len(chosen), 3, -1), near)
    return result, by_turn
