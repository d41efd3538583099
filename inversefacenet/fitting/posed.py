"""A face at given parameters, with all that derivatives need of it (Kim et al. 2018, Eq. 2 to 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from inversefacenet.camera import (
    CROP_SIZE,
    JAW_POINTS,
    Placement,
    fit_placement,
    image_directions,
    project,
    rotation_matrix,
)
from inversefacenet.crop import landmarks66
from inversefacenet.fitting.directions import Directions
from inversefacenet.illumination import sh_basis
from inversefacenet.parameters import EXPRESSION, ILLUMINATION, REFLECTANCE, ROTATION, SHAPE

GEOMETRY = slice(SHAPE.start, EXPRESSION.stop)
"""Shape and expression: they stand side by side."""

POSE = slice(ROTATION.start, EXPRESSION.stop)
"""Everything that moves a vertex: rotation, shape and expression."""


@dataclass(frozen=True, eq=False)
class PosedFace:
    """A face's geometry, colours and place in the crop.

    Attributes:
        directions: The face model.
        theta: The parameters.
        rotation: Camera axes from model axes.
        vertices: Camera axes, millimetres from the pivot.
        normal_sums: Vertex normals, weighted by area, not normalised.
        harmonics: The light's nine functions at each vertex.
        light: Irradiance before it is clamped at 0.
        reflectance: Linear, not clipped.
        landmark_vertices: The vertex of each of the 68 points; jaw points lie on the visible contour.
        landmarks: The 68 points on the image plane at unit distance.
        placement: Image plane to crop pixels.
    """

    directions: Directions
    theta: Float[np.ndarray, "350"]
    rotation: Float[np.ndarray, "3 3"]
    vertices: Float[np.ndarray, "vertices 3"]
    normal_sums: Float[np.ndarray, "vertices 3"]
    harmonics: Float[np.ndarray, "vertices 9"]
    light: Float[np.ndarray, "vertices 3"]
    reflectance: Float[np.ndarray, "vertices 3"]
    landmark_vertices: Int64[np.ndarray, "68"]
    landmarks: Float[np.ndarray, "68 2"]
    placement: Placement

    @property
    def colours(self) -> Float[np.ndarray, "vertices 3"]:
        """Linear colour of each vertex: reflectance times irradiance, not clipped."""
        return self.reflectance * np.maximum(self.light, 0)

    @property
    def landmark_pixels(self) -> Float[np.ndarray, "68 2"]:
        """The 68 points in crop pixels."""
        return self.placement.apply(self.landmarks)


def pose(directions: Directions, theta: Float[np.ndarray, "350"]) -> PosedFace:
    """Compute a face.

    Args:
        directions: The face model; its precision is the result's.
        theta: The parameters.

    Raises:
        LandmarkError: If the face has no finite extent.
    """
    mean = directions.mean_geometry
    values = theta.astype(mean.dtype)
    flat = directions.geometry.reshape(mean.size, -1)
    geometry = mean + (flat @ values[GEOMETRY]).reshape(mean.shape)
    rotation = rotation_matrix(theta[ROTATION].astype(np.float64)).astype(mean.dtype)
    vertices = geometry @ rotation.T
    sums = directions.normal_sums(vertices)
    harmonics = sh_basis(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))
    flat = directions.reflectance.reshape(mean.size, -1)
    chosen = landmark_vertices(directions, vertices, float(theta[ROTATION][2]))
    landmarks = project(vertices[chosen])
    return PosedFace(
        directions=directions,
        theta=values,
        rotation=rotation,
        vertices=vertices,
        normal_sums=sums,
        harmonics=harmonics,
        light=harmonics @ values[ILLUMINATION].reshape(9, 3),
        reflectance=directions.mean_reflectance + (flat @ values[REFLECTANCE]).reshape(mean.shape),
        landmark_vertices=chosen,
        landmarks=landmarks,
        placement=fit_placement(landmarks66(landmarks), CROP_SIZE),
    )


def landmark_vertices(
    directions: Directions, vertices: Float[np.ndarray, "vertices 3"], roll: float
) -> Int64[np.ndarray, "68"]:
    """Return the vertex of each landmark, as `camera.landmark_points` chooses them."""
    model = directions.model
    chosen = model.landmarks.astype(np.int64)
    candidates = project(vertices[model.contour_candidates])
    outward = image_directions(model.contour_directions, roll).astype(vertices.dtype)
    best = np.einsum("jkc,jc->jk", candidates, outward).argmax(axis=1)
    chosen[:JAW_POINTS] = model.contour_candidates[np.arange(JAW_POINTS), best]
    return chosen


def rotation_derivatives(angles: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3 3"]:
    """Return dR/dyaw, dR/dpitch and dR/droll of R = Rz(roll) Rx(pitch) Ry(yaw)."""
    (ca, cb, cg), (sa, sb, sg) = np.cos(angles), np.sin(angles)
    yaw = [
        [-cg * sa - sg * sb * ca, 0, cg * ca - sg * sb * sa],
        [-sg * sa + cg * sb * ca, 0, sg * ca + cg * sb * sa],
        [-cb * ca, 0, -cb * sa],
    ]
    pitch = [
        [-sg * cb * sa, sg * sb, sg * cb * ca],
        [cg * cb * sa, -cg * sb, -cg * cb * ca],
        [sb * sa, cb, -sb * ca],
    ]
    roll = [
        [-sg * ca - cg * sb * sa, -cg * cb, -sg * sa + cg * sb * ca],
        [cg * ca - sg * sb * sa, -sg * cb, cg * sa + sg * sb * ca],
        [0, 0, 0],
    ]
    return np.array([yaw, pitch, roll], angles.dtype)
