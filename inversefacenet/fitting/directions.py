"""A face model laid out for fitting: directions vertex by vertex, and what each normal depends on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int32, Int64

from inversefacenet.morphable_model import MorphableModel


@dataclass(frozen=True, eq=False)
class Rings:
    """Which vertices a vertex's normal depends on, and by which edges.

    The normal of v, weighted by area, is the sum of its triangles' (b - a) x (c - a). Moving a corner w of
    such a triangle by d changes it by d x (next - second next corner). Summed over the triangles that v
    and w share, that is d x F(v, w).

    Attributes:
        start: Where a vertex's pairs (v, w) begin; one entry more than vertices.
        member: The vertex w of each pair; v itself is one.
        edge_start: Where a pair's edges begin.
        edge_from: First vertex of each edge.
        edge_to: Its second vertex.
    """

    start: Int64[np.ndarray, "starts"]
    member: Int32[np.ndarray, "pairs"]
    edge_start: Int64[np.ndarray, "pairs"]
    edge_from: Int32[np.ndarray, "edges"]
    edge_to: Int32[np.ndarray, "edges"]

    @classmethod
    def of(cls, triangles: Int32[np.ndarray, "triangles 3"], vertices: int) -> Rings:
        """Collect the rings of a mesh."""
        following, second = triangles[:, [1, 2, 0]], triangles[:, [2, 0, 1]]
        around = np.repeat(triangles, 3, axis=1).ravel().astype(np.int64)
        moved, ahead, behind = (np.tile(array, (1, 3)).ravel() for array in (triangles, following, second))
        order = np.argsort(around * vertices + moved, kind="stable")
        key = (around * vertices + moved)[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        start = np.searchsorted(key[first] // vertices, np.arange(vertices + 1))
        return cls(
            start=start.astype(np.int64),
            member=moved[order][first].astype(np.int32),
            edge_start=first.astype(np.int64),
            edge_from=behind[order].astype(np.int32),
            edge_to=ahead[order].astype(np.int32),
        )

    def sizes(self) -> Int64[np.ndarray, "vertices"]:
        """Number of vertices that each normal depends on."""
        return np.diff(self.start)

    def edge_sums(self, points: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "pairs 3"]:
        """Return F(v, w) of each pair."""
        return np.add.reduceat(points[self.edge_to] - points[self.edge_from], self.edge_start, axis=0)


@dataclass(frozen=True, eq=False)
class Directions:
    """A face model in one precision, vertex by vertex.

    Attributes:
        model: The model itself.
        mean_geometry: Millimetres.
        geometry: Shape and expression directions times their sigmas.
        mean_reflectance: Linear reflectance.
        reflectance: Its directions times their sigmas.
        rings: What normals depend on.
        corner_order: The triangles' corners, sorted by vertex.
        corner_start: Where a vertex's corners begin; vertices without any share the next one's.
    """

    model: MorphableModel
    mean_geometry: Float[np.ndarray, "vertices 3"]
    geometry: Float[np.ndarray, "vertices 3 192"]
    mean_reflectance: Float[np.ndarray, "vertices 3"]
    reflectance: Float[np.ndarray, "vertices 3 128"]
    rings: Rings
    corner_order: Int64[np.ndarray, "corners"]
    corner_start: Int64[np.ndarray, "vertices"]

    @classmethod
    def of(cls, model: MorphableModel, dtype: Any = np.float32) -> Directions:
        """Lay a model out."""
        count = model.vertex_count
        corners = model.triangles.ravel()
        order = np.argsort(corners, kind="stable")
        return cls(
            model=model,
            mean_geometry=model.mean_geometry.astype(dtype),
            geometry=np.ascontiguousarray(model.geometry_directions.T.astype(dtype)).reshape(count, 3, -1),
            mean_reflectance=model.mean_reflectance.astype(dtype),
            reflectance=np.ascontiguousarray(model.reflectance_directions.T.astype(dtype)).reshape(
                count, 3, -1
            ),
            rings=Rings.of(model.triangles, count),
            corner_order=order,
            corner_start=np.searchsorted(corners[order], np.arange(count)),
        )

    def normal_sums(self, points: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
        """Return vertex normals, weighted by area and not normalised; zero where no triangle is."""
        a, b, c = (points[self.model.triangles[:, corner]] for corner in range(3))
        faces = np.cross(b - a, c - a)
        spread = np.concatenate([faces[self.corner_order // 3], np.zeros((1, 3), faces.dtype)])
        sums = np.add.reduceat(spread, self.corner_start, axis=0)
        alone = np.diff(self.corner_start, append=len(self.corner_order)) == 0
        sums[alone] = 0
        return sums


@lru_cache(maxsize=2)
def directions_of(model: MorphableModel) -> Directions:
    """Return a model's layout in single precision, kept for the next face."""
    return Directions.of(model)
