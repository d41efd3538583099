"""Where hair grows on the face: brows, lashes and the beard's three parts.

Masks lie in [0, 1]; see `training.face_model.painting`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float

from training.face_model.occlusion import visible_distance
from training.face_model.soft_shapes import bump, polyline_distance, smoothstep, varying_step
from training.face_model.template import EYE, Template

_BROWS: Final = ((21, 20, 19, 18, 17), (22, 23, 24, 25, 26))


def paint_brows(
    vertices: Float[np.ndarray, "vertices 3"], points: Float[np.ndarray, "68 3"]
) -> tuple[Float[np.ndarray, " vertices"], Float[np.ndarray, " vertices"]]:
    """Return the brows' middle and their rim."""
    middle, rim = np.zeros(len(vertices)), np.zeros(len(vertices))
    knots, fine = np.linspace(0, 1, 5), np.linspace(0, 1, 25)
    for line in _BROWS:
        nodes = points[list(line), :2]
        curve = np.stack([np.polyval(np.polyfit(knots, nodes[:, i], 3), fine) for i in range(2)], axis=1)
        distance, along = polyline_distance(vertices[:, :2], curve)
        half_width = np.interp(along, [0, 0.2, 0.6, 1], [3.3, 3.5, 2.9, 1.5])
        density = np.interp(along, [0, 0.12, 0.8, 1], [0.6, 1, 1, 0.5])
        relative = distance / half_width
        middle = np.maximum(middle, density * (1 - smoothstep(relative, 0.25, 1.35)))
        rim = np.maximum(rim, density * (1 - smoothstep(relative, 0.7, 2.1)))
    return middle, rim * (1 - middle)


def paint_lashes(template: Template, upper: Float[np.ndarray, " vertices"]) -> Float[np.ndarray, " vertices"]:
    """Return the lash lines, along the edge of the visible eyeballs."""
    opening = visible_distance(template.vertices, template.triangles, template.triangle_part == EYE)
    return (1 - smoothstep(opening / (0.6 + 0.6 * upper), 0.3, 1.8)) * (0.35 + 0.65 * upper)


def paint_beard(
    vertices: Float[np.ndarray, "vertices 3"], points: Float[np.ndarray, "68 3"]
) -> tuple[Float[np.ndarray, " vertices"], ...]:
    """Return moustache, goatee and jaw: together the whole beard."""
    across, height = np.abs(vertices[:, 0]), vertices[:, 1]
    nose = points[33, 1]
    mouth = points[[48, 54], 1].mean()
    eyes = points[[36, 45], 1].mean()
    corner = np.abs(points[[48, 54], 0]).mean()
    # The upper edge, from under the nose past the mouth's corner over the cheek to the sideburns. It runs
    # around the head, where the distance across hardly grows any more: so the head is unrolled.
    arc = _unrolled(vertices, points)
    at = float(_unrolled(points[[48, 54]], points).mean())
    edge = np.array(
        [
            [0, nose - 1],
            [0.5 * at, nose - 2],
            [at, mouth + 3],
            [at + 6, mouth - 9],
            [at + 28, mouth - 7],
            [at + 46, mouth + 8],
            [at + 60, eyes - 12],
            [at + 74, eyes + 10],
        ]
    )
    distance, _ = polyline_distance(np.stack([arc, height], axis=1), edge)
    below = np.where(height < np.interp(arc, edge[:, 0], edge[:, 1]), distance, -distance)
    softness = np.interp(arc, [0, at, at + 10], [3.0, 4.5, 9.0])
    whole = varying_step(below, -softness, softness)
    # Sideburns are thinner than the beard.
    whole = whole * (1 - 0.5 * smoothstep(height, mouth, eyes))
    # Under the lower lip, on both sides of the middle, hardly anything grows.
    lip = points[57, 1]
    whole = whole * (1 - 0.6 * bump(across - 8, height - (lip - 4), 4.0, 2.5))
    upper = smoothstep(height, mouth - 9, mouth + 3) * (1 - smoothstep(across, corner + 1, corner + 9))
    chin = (1 - smoothstep(height, mouth - 9, mouth + 3)) * (1 - smoothstep(across, 12, 26))
    return whole * upper, whole * chin, whole * np.clip(1 - upper - chin, 0, 1)


def _unrolled(
    points: Float[np.ndarray, "points 3"], landmarks: Float[np.ndarray, "68 3"]
) -> Float[np.ndarray, " points"]:
    """Return the length of arc from the plane of symmetry around a cylinder as wide as a head."""
    axis = landmarks[27, 2] - 110
    return 75 * np.arctan2(np.abs(points[:, 0]), points[:, 2] - axis)
