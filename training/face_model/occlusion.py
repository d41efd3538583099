"""How much of the sky a vertex sees: ambient occlusion of the neutral face.

Light in the model has no occlusion (Eq. 4 depends on the normal alone), so what hollows lose for good
has to lie in the reflectance.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int, Int32
from scipy.ndimage import distance_transform_edt

from inversefacenet.rasterizer import Fragments, rasterize, vertex_normals

_DISTANCE: Final = 5000.0
_RESOLUTION: Final = 256
_BIAS: Final = 1.5
"""Millimetres by which a vertex may lie behind the surface and still count as seen."""

_LOWEST: Final = -0.3
"""Directions from further behind the face are left out: the head itself is not in the mesh."""


def ambient_visibility(
    vertices: Float[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    directions: int = 144,
) -> Float[np.ndarray, " vertices"]:
    """Return the cosine-weighted share of the sky that each vertex sees, in [0, 1].

    Args:
        vertices: Positions in millimetres.
        triangles: Vertex indices.
        directions: How many views of the mesh are rasterized.
    """
    normals = vertex_normals(vertices.astype(np.float32), triangles)
    seen = np.zeros(len(vertices))
    total = np.zeros(len(vertices))
    for direction in _fibonacci_sphere(directions):
        if direction[2] < _LOWEST:
            continue
        rotated = vertices @ _frame(direction).T
        pixels, fragments = orthographic_view(rotated, triangles, _RESOLUTION)
        nearest = fragments.depth[pixels[:, 1], pixels[:, 0]]
        cosine = np.clip(normals @ direction, 0, None)
        total += cosine
        seen += cosine * (_DISTANCE - rotated[:, 2] < nearest + _BIAS)
    return seen / np.maximum(total, 1e-9)


def visible_distance(
    vertices: Float[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    chosen: Bool[np.ndarray, " triangles"],
    resolution: int = 900,
) -> Float[np.ndarray, " vertices"]:
    """Return how far each vertex lies, seen from the front, from where chosen triangles are seen.

    Args:
        vertices: Positions in millimetres.
        triangles: Vertex indices.
        chosen: Which triangles.
        resolution: Side of the picture in pixels.

    Returns:
        Millimetres in the image plane: 0 on the chosen triangles, also for what lies behind them;
        infinite where none is seen.
    """
    pixels, fragments = orthographic_view(vertices, triangles, resolution)
    # Index -1 (nothing seen) reads the last entry of the padded table.
    seen = np.append(chosen, False)[fragments.triangle]
    if not seen.any():
        return np.full(len(vertices), np.inf)
    distance = distance_transform_edt(~seen) / _scale(vertices, resolution)
    return np.asarray(distance[pixels[:, 1], pixels[:, 0]])


def orthographic_view(
    vertices: Float[np.ndarray, "vertices 3"], triangles: Int32[np.ndarray, "triangles 3"], resolution: int
) -> tuple[Int[np.ndarray, "vertices 2"], Fragments]:
    """Rasterize a mesh without perspective, seen from +z.

    Returns:
        The column and row of each vertex, and what each pixel sees.
    """
    scale = _scale(vertices, resolution)
    image = vertices[:, :2] * [scale, -scale] + resolution / 2
    points = np.concatenate([image, 1 / (_DISTANCE - vertices[:, 2:])], axis=1).astype(np.float32)
    return np.clip(image.astype(int), 0, resolution - 1), rasterize(points, triangles, resolution, resolution)


def _scale(vertices: Float[np.ndarray, "vertices 3"], resolution: int) -> float:
    """Return the pixels per millimetre with which any rotated view fits."""
    return 0.48 * resolution / float(np.linalg.norm(vertices, axis=1).max())


def _fibonacci_sphere(count: int) -> Float[np.ndarray, "count 3"]:
    """Return nearly evenly spread unit vectors."""
    step = np.arange(count) + 0.5
    z = 1 - 2 * step / count
    angle = np.pi * (1 + 5**0.5) * step
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)


def _frame(direction: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Return a rotation that turns a direction to +z."""
    up = np.array([0.0, 1, 0]) if abs(direction[1]) < 0.95 else np.array([1.0, 0, 0])
    right = np.cross(up, direction)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(direction, right), direction])
