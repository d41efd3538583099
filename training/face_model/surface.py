"""A triangle mesh whose vertices are linear combinations of the base mesh's vertices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.sparse import coo_matrix, csr_matrix, vstack
from scipy.sparse.csgraph import connected_components

SNAP = 0.04
"""A vertex that lies closer to the cut than this share of its longest edge's drop is moved onto it:
the cut then makes no slivers."""


@dataclass(frozen=True)
class Surface:
    """Triangles over vertices that are rows of a sparse operator on the base mesh.

    Attributes:
        operator: Weights of the base vertices in each vertex; rows sum to one.
        triangles: Vertex numbers, counter-clockwise seen from outside.
        part: The part of each triangle.
        uv: Texture coordinates of each triangle's corners.
    """

    operator: csr_matrix
    triangles: Int[np.ndarray, "triangles 3"]
    part: UInt8[np.ndarray, " triangles"]
    uv: Float[np.ndarray, "triangles 3 2"]

    def keep(self, triangles: Bool[np.ndarray, " triangles"]) -> Surface:
        """Return the surface of the chosen triangles over the same vertices."""
        return replace(
            self, triangles=self.triangles[triangles], part=self.part[triangles], uv=self.uv[triangles]
        )

    def compact(self) -> Surface:
        """Return the surface without the vertices that no triangle uses."""
        used, numbers = np.unique(self.triangles, return_inverse=True)
        return replace(self, operator=self.operator[used], triangles=numbers.reshape(-1, 3))

    def component(
        self, vertex: int, chosen: Bool[np.ndarray, " triangles"]
    ) -> Bool[np.ndarray, " triangles"]:
        """Mark those of the chosen triangles that are connected to a vertex through chosen ones."""
        label = vertex_components(self.triangles[chosen], self.operator.shape[0])
        return chosen & (label[self.triangles[:, 0]] == label[vertex])

    def clip(self, value: Float[np.ndarray, " vertices"], part: int) -> Surface:
        """Cut a part off where a value given at its vertices is positive.

        The cut runs along the linear interpolation's zero line; new vertices there are again linear
        combinations of base vertices. Vertices that another part shares are kept.

        Args:
            value: A number for each vertex, negative where the surface stays.
            part: The part to cut.
        """
        value = self._snap(value, part)
        mine = self.part == part
        inside = value[self.triangles] <= 0
        whole = ~mine | inside.all(axis=1)
        cut = np.flatnonzero(mine & inside.any(axis=1) & ~inside.all(axis=1))
        crossings: dict[tuple[int, int], int] = {}
        pieces: list[tuple[int, int, int]] = []
        origins: list[int] = []
        corners: list[Float[np.ndarray, "3 2"]] = []
        for number in cut:
            polygon = self._cut_triangle(int(number), value, crossings)
            for k in range(1, len(polygon) - 1):
                trio = (polygon[0], polygon[k], polygon[k + 1])
                pieces.append((trio[0][0], trio[1][0], trio[2][0]))
                corners.append(np.stack([uv for _, uv in trio]))
                origins.append(int(number))
        ends = np.array(list(crossings), dtype=int).reshape(-1, 2)
        share = value[ends[:, 0]] / (value[ends[:, 0]] - value[ends[:, 1]])
        rows = np.arange(len(ends))
        blend = coo_matrix(
            (np.r_[1 - share, share], (np.r_[rows, rows], np.r_[ends[:, 0], ends[:, 1]])),
            shape=(len(ends), self.operator.shape[0]),
        ).tocsr()
        return Surface(
            operator=csr_matrix(vstack([self.operator, blend @ self.operator])),
            triangles=np.concatenate([self.triangles[whole], np.array(pieces, int).reshape(-1, 3)]),
            part=np.concatenate([self.part[whole], self.part[origins]]),
            uv=np.concatenate([self.uv[whole], np.array(corners).reshape(-1, 3, 2)]),
        )

    def _snap(self, value: Float[np.ndarray, " vertices"], part: int) -> Float[np.ndarray, " vertices"]:
        value = value.astype(np.float64).copy()
        sides = triangle_sides(self.triangles[self.part == part])
        drop = np.abs(value[sides[:, 0]] - value[sides[:, 1]])
        longest = np.zeros(len(value))
        np.maximum.at(longest, sides.ravel(), np.repeat(drop, 2))
        value[np.abs(value) < SNAP * longest] = 0.0
        shared = np.unique(self.triangles[self.part != part])
        value[shared] = -np.abs(value[shared]) - 1e-9
        return value

    def _cut_triangle(
        self, number: int, value: Float[np.ndarray, " vertices"], crossings: dict[tuple[int, int], int]
    ) -> list[tuple[int, Float[np.ndarray, " 2"]]]:
        """Return the kept polygon of one triangle, registering its crossings by edge."""
        polygon: list[tuple[int, Float[np.ndarray, " 2"]]] = []
        triangle, uv = self.triangles[number], self.uv[number]
        for i in range(3):
            j = (i + 1) % 3
            a, b = int(triangle[i]), int(triangle[j])
            if value[a] <= 0:
                polygon.append((a, uv[i]))
            if value[a] * value[b] < 0:
                edge = (min(a, b), max(a, b))
                new = crossings.setdefault(edge, self.operator.shape[0] + len(crossings))
                t = value[a] / (value[a] - value[b])
                polygon.append((new, (1 - t) * uv[i] + t * uv[j]))
        return polygon

    def close(self, rim: list[int], part: int) -> Surface:
        """Close a rim loop with a fan around its mean; the fan faces as its neighbours do.

        Args:
            rim: Vertices of the loop in the order in which the surface's own sides run.
            part: The new triangles' part.
        """
        centre = self.operator.shape[0]
        mean = csr_matrix(self.operator[rim].mean(axis=0))
        ahead = rim[1:] + rim[:1]
        fan = np.array([(b, a, centre) for a, b in zip(rim, ahead, strict=True)])
        return Surface(
            operator=csr_matrix(vstack([self.operator, mean])),
            triangles=np.concatenate([self.triangles, fan]),
            part=np.concatenate([self.part, np.full(len(fan), part, np.uint8)]),
            uv=np.concatenate([self.uv, np.zeros((len(fan), 3, 2))]),
        )


def triangle_sides(triangles: Int[np.ndarray, "triangles 3"]) -> Int[np.ndarray, "3*triangles 2"]:
    """Return the directed sides of all triangles."""
    return np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2)


def vertex_components(triangles: Int[np.ndarray, "triangles 3"], count: int) -> Int[np.ndarray, " vertices"]:
    """Label the connected components of a mesh's vertices."""
    sides = triangle_sides(triangles)
    graph = coo_matrix((np.ones(len(sides)), sides.T), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def rim_loops(triangles: Int[np.ndarray, "triangles 3"]) -> list[list[int]]:
    """Return the closed boundary loops, each in the direction of the triangles' own sides.

    Raises:
        ValueError: If two triangles run along a side in the same direction, or if the boundary
            touches itself.
    """
    sides = {(int(a), int(b)) for a, b in triangle_sides(triangles)}
    if len(sides) != 3 * len(triangles):
        raise ValueError("Triangles are not oriented consistently.")
    border = [(a, b) for a, b in sorted(sides) if (b, a) not in sides]
    ahead = dict(border)
    if len(ahead) != len(border):
        raise ValueError("The boundary touches itself.")
    return list(_loops(ahead))


def _loops(ahead: dict[int, int]) -> Iterator[list[int]]:
    left = dict(ahead)
    while left:
        start = next(iter(left))
        loop = [start]
        vertex = left.pop(start)
        while vertex != start:
            loop.append(vertex)
            vertex = left.pop(vertex)
        yield loop
