"""How points in the crop move with the parameters: rotation, shape, expression, projection and placement.

The placement (Section 6.1) depends on four numbers, the edges of the landmarks' box. So a point's motion in
the crop is its own motion on the image plane, plus a combination of three rows that all points share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from inversefacenet.camera import CAMERA_DISTANCE, project
from inversefacenet.crop import KEPT_LANDMARKS, landmarks66
from inversefacenet.fitting.posed import PosedFace, rotation_derivatives
from inversefacenet.parameters import ROTATION


@dataclass(frozen=True, eq=False)
class Motion:
    """Derivatives of the placement and the landmarks by rotation, shape and expression.

    Attributes:
        turns: The rotation's derivative by each angle, times its inverse: turns @ point is its velocity.
        landmarks: Of the 68 points on the image plane.
        scale: Of the placement's scale.
        offset: Of the placement's offset.
    """

    turns: Float[np.ndarray, "3 3 3"]
    landmarks: Float[np.ndarray, "68 2 195"]
    scale: Float[np.ndarray, "195"]
    offset: Float[np.ndarray, "2 195"]

    def landmark_pixels(self, face: PosedFace) -> Float[np.ndarray, "68 2 195"]:
        """Return the derivatives of the 68 points in crop pixels."""
        shared = face.landmarks[:, :, None] * self.scale + self.offset
        return face.placement.scale * self.landmarks + shared


def motion(face: PosedFace) -> Motion:
    """Differentiate a face's placement and landmarks.

    The active choices, which vertices are landmarks and which of them touch the box, are held.
    """
    dtype = face.vertices.dtype
    angles = face.theta[ROTATION].astype(np.float64)
    turns = (rotation_derivatives(angles) @ face.rotation.T.astype(np.float64)).astype(dtype)
    points = face.vertices[face.landmark_vertices]
    landmarks = project_velocities(points, vertex_velocities(face, turns, face.landmark_vertices))
    kept, rows = landmarks66(face.landmarks), landmarks[KEPT_LANDMARKS]
    axes = np.arange(2)
    low, high = kept.argmin(axis=0), kept.argmax(axis=0)
    extent = kept[high, axes] - kept[low, axes]
    longer = int(extent.argmax())
    d_low, d_high = rows[low, axes], rows[high, axes]
    scale = face.placement.scale
    d_scale = -scale / extent[longer] * (d_high[longer] - d_low[longer])
    centre = (kept[low, axes] + kept[high, axes]) / 2
    d_offset = -(d_scale * centre[:, None] + scale * (d_low + d_high) / 2)
    return Motion(turns, landmarks, d_scale.astype(dtype), d_offset.astype(dtype))


def vertex_velocities(
    face: PosedFace, turns: Float[np.ndarray, "3 3 3"], chosen: Int64[np.ndarray, "chosen"]
) -> Float[np.ndarray, "chosen 3 195"]:
    """Return the derivatives of vertices in camera axes by rotation, shape and expression."""
    by_angle = np.einsum("aij,vj->via", turns, face.vertices[chosen])
    by_shape = face.rotation @ face.directions.geometry[chosen]
    return np.concatenate([by_angle, by_shape], axis=2)


def projection(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 2 3"]:
    """Return the derivative of `camera.project` by the point."""
    inverse = 1 / (CAMERA_DISTANCE - points[:, 2])
    flat = project(points)
    jacobian = np.zeros((len(points), 2, 3), points.dtype)
    jacobian[:, 0, 0] = inverse
    jacobian[:, 1, 1] = -inverse
    jacobian[:, :, 2] = flat * inverse[:, None]
    return jacobian


def project_velocities(
    points: Float[np.ndarray, "points 3"], velocities: Float[np.ndarray, "points 3 columns"]
) -> Float[np.ndarray, "points 2 columns"]:
    """Return how projected points move on the image plane."""
    return projection(points) @ velocities
