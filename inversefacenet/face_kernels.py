"""Compiled loops over a face's vertices: turned, lit, and where its landmarks lie."""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float32, Int32

from inversefacenet.camera import CAMERA_DISTANCE
from inversefacenet.compilation import compiled, compiled_fused
from inversefacenet.errors import FaceModelError, ParameterError
from inversefacenet.illumination import SQRT3, SQRT5, SQRT15


def vertex_normals(
    vertices: Float32[np.ndarray, "vertices 3"], triangles: Int32[np.ndarray, "triangles 3"]
) -> Float32[np.ndarray, "vertices 3"]:
    """Return unit vertex normals: the mean of the adjacent triangles' normals, weighted by area.

    Raises:
        FaceModelError: If triangles name vertices that there aren't.
    """
    normals = np.zeros((len(vertices), 3), np.float32)
    triangles = checked_triangles(triangles, len(vertices))
    _unit_normals(np.ascontiguousarray(vertices, np.float32), triangles, normals)
    return normals


def checked_triangles(
    triangles: Int32[np.ndarray, "triangles 3"], vertices: int
) -> Int32[np.ndarray, "triangles 3"]:
    """Return triangles as compiled loops take them, which check no index.

    Raises:
        FaceModelError: If they name vertices that there aren't.
    """
    narrow = np.ascontiguousarray(triangles, np.int32)
    # Seen as unsigned, a negative index is a large one.
    if narrow.size and narrow.view(np.uint32).max() >= vertices:
        raise FaceModelError("The mesh names vertices that it does not have.")
    return narrow


def turn_and_shade(
    geometry: Float32[np.ndarray, "vertices 3"],
    reflectance: Float32[np.ndarray, "vertices 3"],
    rotation: Float32[np.ndarray, "3 3"],
    light: Float32[np.ndarray, "9 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
) -> tuple[Float32[np.ndarray, "vertices 3"], Float32[np.ndarray, "vertices 3"]]:
    """Return vertices in camera axes and their linear colours, in one pass (Kim et al. 2018, Eq. 4).

    Args:
        geometry: Vertices in model space.
        reflectance: Their linear RGB reflectance.
        rotation: Model space to camera axes.
        light: Irradiance coefficients (`inversefacenet.illumination`).
        triangles: Vertex indices of a checked face model.

    Raises:
        ParameterError: If the arrays have other shapes: the loops look at no array's end.
    """
    if reflectance.shape != geometry.shape or rotation.shape != (3, 3) or light.shape != (9, 3):
        raise ParameterError("Geometry, reflectance, rotation and light do not fit together.")
    vertices, colours = np.empty_like(geometry), np.empty_like(geometry)
    _turn_and_shade(geometry, reflectance, rotation, _polynomial(light), triangles, vertices, colours)
    return vertices, colours


def projected_landmarks(
    vertices: Float32[np.ndarray, "vertices 3"],
    landmarks: Int32[np.ndarray, "68"],
    candidates: Int32[np.ndarray, "jaw candidates"],
    directions: Float32[np.ndarray, "jaw 2"],
    roll: float,
) -> Float32[np.ndarray, "68 2"]:
    """Do what `inversefacenet.camera.landmark_points` does, in one pass.

    Args:
        vertices: In camera axes, millimetres.
        landmarks: The landmarks' vertices.
        candidates: Of each jaw point the vertices that it may slide to.
        directions: Its outward direction in the frontal face.
        roll: The head's roll in radians.

    Returns:
        Points on the image plane at unit distance, x right, y down.
    """
    points = np.empty((len(landmarks), 2), np.float32)
    distance = np.float32(CAMERA_DISTANCE)
    _project_landmarks(
        vertices, landmarks, candidates, directions, math.cos(roll), math.sin(roll), distance, points
    )
    return points


def _polynomial(light: Float32[np.ndarray, "9 3"]) -> Float32[np.ndarray, "9 3"]:
    """Return the coefficients of 1, y, z, x, xy, yz, z², xz, x² - y²: the harmonics' factors put in."""
    wide = light * _FACTORS
    wide[0] -= np.float32(SQRT5 / 2) * light[6]
    return wide


_FACTORS = np.array([1, SQRT3, SQRT3, SQRT3, SQRT15, SQRT15, 1.5 * SQRT5, SQRT15, SQRT15 / 2], np.float32)[
    :, None
]


@compiled
@no_type_check
def _add_normals(vertices: Any, triangles: Any, normals: Any) -> None:
    for t in range(triangles.shape[0]):
        # Unsigned, so that no index is looked at for being negative.
        a, b, c = np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2])
        ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        ux, uy, uz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
        wx, wy, wz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
        nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        normals[a, 0] += nx
        normals[a, 1] += ny
        normals[a, 2] += nz
        normals[b, 0] += nx
        normals[b, 1] += ny
        normals[b, 2] += nz
        normals[c, 0] += nx
        normals[c, 1] += ny
        normals[c, 2] += nz


@compiled
@no_type_check
def _unit_normals(vertices: Any, triangles: Any, normals: Any) -> None:
    _add_normals(vertices, triangles, normals)
    for v in range(normals.shape[0]):
        length = math.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        if length > 0:
            for axis in range(3):
                normals[v, axis] /= length


@compiled_fused
@no_type_check
def _turn_and_shade(
    geometry: Any, reflectance: Any, rotation: Any, light: Any, triangles: Any, vertices: Any, colours: Any
) -> None:
    count = geometry.shape[0]
    for v in range(count):
        x, y, z = geometry[v, 0], geometry[v, 1], geometry[v, 2]
        vertices[v, 0] = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z
        vertices[v, 1] = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z
        vertices[v, 2] = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z
    # The colours' own room holds the normals until they become colours.
    normals = colours
    normals[:] = 0
    _add_normals(vertices, triangles, normals)
    none, one = np.float32(0), np.float32(1)
    for v in range(count):
        x, y, z = normals[v, 0], normals[v, 1], normals[v, 2]
        length = math.sqrt(x * x + y * y + z * z)
        scale = one / length if length > 0 else none
        x, y, z = x * scale, y * scale, z * scale
        xy, yz, zz, xz, xx_yy = x * y, y * z, z * z, x * z, x * x - y * y
        for channel in range(3):
            lit = (
                light[0, channel]
                + light[1, channel] * y
                + light[2, channel] * z
                + light[3, channel] * x
                + light[4, channel] * xy
                + light[5, channel] * yz
                + light[6, channel] * zz
                + light[7, channel] * xz
                + light[8, channel] * xx_yy
            )
            colours[v, channel] = reflectance[v, channel] * max(lit, none)


@compiled
@no_type_check
def _project_landmarks(
    vertices: Any,
    landmarks: Any,
    candidates: Any,
    directions: Any,
    cosine: Any,
    sine: Any,
    distance: Any,
    points: Any,
) -> None:
    for i in range(landmarks.shape[0]):
        chosen = landmarks[i]
        if i < candidates.shape[0]:
            dx = np.float32(cosine * directions[i, 0] - sine * directions[i, 1])
            dy = np.float32(sine * directions[i, 0] + cosine * directions[i, 1])
            farthest = np.float32(-np.inf)
            for k in range(candidates.shape[1]):
                v = candidates[i, k]
                depth = distance - vertices[v, 2]
                out = np.divide(vertices[v, 0], depth) * dx + np.divide(vertices[v, 1], depth) * dy
                if k == 0 or out > farthest:
                    farthest, chosen = out, v
        depth = distance - vertices[chosen, 2]
        # Divided as NumPy does it: a vertex may lie at the camera's own depth.
        points[i, 0] = np.divide(vertices[chosen, 0], depth)
        points[i, 1] = np.divide(-vertices[chosen, 1], depth)
