"""Wavefront OBJ files as far as morph targets need them: vertices and polygons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from inversefacenet.errors import FaceModelError


def read_vertices(path: Path) -> Float64[np.ndarray, "vertices 3"]:
    """Read the vertices alone.

    Raises:
        FaceModelError: If the file is missing, has no vertices, or a line can't be read.
    """
    numbers = [line[2:] for line in _lines(path) if line.startswith("v ")]
    try:
        vertices = np.array([line.split()[:3] for line in numbers], np.float64)
    except ValueError as error:
        raise FaceModelError(f"{path.name}: a vertex can't be read: {error}.") from error
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise FaceModelError(f"{path.name} has no vertices: it is no OBJ mesh, or only a pointer to one.")
    return vertices


def read_polygons(path: Path) -> tuple[Int64[np.ndarray, "triangles 3"], Int64[np.ndarray, "triangles"]]:
    """Read the polygons as fans of triangles.

    Returns:
        Triangles, and the number of the polygon that each is of.

    Raises:
        FaceModelError: If the file is missing or a line can't be read.
    """
    triangles: list[tuple[int, int, int]] = []
    polygon: list[int] = []
    faces = (line for line in _lines(path) if line.startswith("f "))
    for number, line in enumerate(faces):
        try:
            corners = [int(corner.partition("/")[0]) - 1 for corner in line.split()[1:]]
        except ValueError as error:
            raise FaceModelError(f"{path.name}: a face can't be read: {line!r}.") from error
        fan = [(corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)]
        triangles += fan
        polygon += [number] * len(fan)
    if not triangles or min(map(min, triangles)) < 0:
        raise FaceModelError(f"{path.name} has no faces that name vertices by their numbers.")
    return np.array(triangles, np.int64), np.array(polygon, np.int64)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise FaceModelError(f"{path} can't be read: {error.strerror}.") from error
