"""Fewer vertices, all of them old ones: a model's numbers stay what they are where a vertex stays.

Half-edge collapses by quadrics (Garland and Heckbert 1997) on the mean face: a vertex is drawn onto a
neighbour and vanishes. As no vertex moves, the thinned model is rows of the old one. Each round collapses
many edges whose surroundings don't touch, chosen at random (by a fixed seed) from the cheapest, so that plain
numpy does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from inversefacenet.importers.surface import area_vectors

LENGTH_WEIGHT: Final = 0.02
"""Cost of an edge's squared length beside that of the surface's squared deviation: keeps triangles even."""

COLOUR_WEIGHT: Final = 100.0
"""Cost of a squared difference of linear reflectance, in mm^2: lips and brows keep their outlines."""

RIM_WEIGHT: Final = 0.25
"""Cost of an edge's squared length along a rim: eyes, mouth and the outer border keep their outlines."""

TURN: Final = 0.3
"""Least cosine between a triangle's normals before and after."""

CHEAPEST: Final = 0.3
"""Share of the candidates that a round chooses from."""

FORGETTING: Final = 8
"""Rounds after which edges that couldn't collapse are tried again: their surroundings have changed."""

IDLE: Final = 3
"""Rounds with next to no collapse after which thinning gives up."""


@dataclass
class _Mesh:
    """The mesh between two rounds; quadrics are their ten numbers, against ten of a position."""

    position: Float64[np.ndarray, "vertices 3"]
    colour: Float64[np.ndarray, "vertices 3"]
    features: Float64[np.ndarray, "vertices 10"]
    quadric: Float64[np.ndarray, "vertices 10"]
    weight: Float64[np.ndarray, "vertices"]
    triangles: Int64[np.ndarray, "triangles 3"]
    part: Int[np.ndarray, "triangles"]
    locked: Bool[np.ndarray, "vertices"]
    refused: Int64[np.ndarray, "refused"]


@dataclass(frozen=True)
class _Edges:
    """Every edge in both directions, whether it lies on a rim, and the sorted numbers of undirected ones."""

    start: Int64[np.ndarray, "edges"]
    end: Int64[np.ndarray, "edges"]
    rim: Bool[np.ndarray, "edges"]
    keys: Int64[np.ndarray, "half"]


def decimate(
    position: Float64[np.ndarray, "vertices 3"],
    colour: Float64[np.ndarray, "vertices 3"],
    triangles: Int64[np.ndarray, "triangles 3"],
    part: Int[np.ndarray, "triangles"],
    kept: Int64[np.ndarray, "kept"],
    target: int,
) -> tuple[Int64[np.ndarray, "fewer 3"], Int[np.ndarray, "fewer"]]:
    """Collapse edges until at most so many vertices are in use, or no edge can be collapsed any more.

    Args:
        position: Vertices in millimetres.
        colour: Their linear reflectance, whose outlines are kept as well.
        triangles: Vertex indices.
        part: Each triangle's part; vertices between two parts stay.
        kept: Further vertices that must stay, such as landmarks.
        target: Wanted number of vertices.

    Returns:
        Triangles over the same vertices, of which fewer are used, and their parts.
    """
    mesh = _prepare(position, colour, triangles, part, kept)
    rng = np.random.default_rng(0)
    used, idle, number = len(np.unique(triangles)), 0, 0
    while used > target and idle < IDLE:
        removed = _round(mesh, used - target, rng)
        used -= removed
        number += 1
        if removed < 0.002 * used or number % FORGETTING == 0:
            mesh.refused = np.zeros(0, np.int64)
            idle = 0 if removed else idle + 1
    return mesh.triangles, mesh.part


def _prepare(
    position: Float64[np.ndarray, "vertices 3"],
    colour: Float64[np.ndarray, "vertices 3"],
    triangles: Int64[np.ndarray, "triangles 3"],
    part: Int[np.ndarray, "triangles"],
    kept: Int64[np.ndarray, "kept"],
) -> _Mesh:
    count = len(position)
    normals = area_vectors(position[triangles])
    area = np.linalg.norm(normals, axis=1)
    normals /= np.maximum(area, 1e-12)[:, None]
    offset = -(normals * position[triangles[:, 0]]).sum(axis=1, keepdims=True)
    plane = np.concatenate([normals, offset], axis=1)
    first, second = np.triu_indices(4)
    products = area[:, None] * plane[:, first] * plane[:, second]
    homogeneous = np.pad(position, ((0, 0), (0, 1)), constant_values=1.0)
    features = homogeneous[:, first] * homogeneous[:, second] * np.where(first == second, 1.0, 2.0)
    corners = triangles.ravel()
    quadric = np.stack([np.bincount(corners, np.repeat(q, 3), count) for q in products.T], axis=1)
    lowest, highest = np.full(count, 255), np.zeros(count, int)
    for corner in range(3):
        np.minimum.at(lowest, triangles[:, corner], part)
        np.maximum.at(highest, triangles[:, corner], part)
    locked = lowest < highest
    locked[kept] = True
    weight = np.bincount(corners, np.repeat(area, 3), count)
    nothing = np.zeros(0, np.int64)
    return _Mesh(position, colour, features, quadric, weight, triangles, part, locked, nothing)


def _round(mesh: _Mesh, most: int, rng: np.random.Generator) -> int:
    """Collapse cheap edges that don't touch each other, at most so many, and return how many."""
    count = len(mesh.position)
    edges = _edges(mesh.triangles, count)
    candidates, cost = _candidates(mesh, edges)
    gone, heir = edges.start[candidates], edges.end[candidates]
    good = _linked(edges, gone, heir, edges.rim[candidates], count) & _unfolded(mesh, gone, heir, count)
    mesh.refused = np.concatenate([mesh.refused, (gone * count + heir)[~good]])
    gone, heir, cost = gone[good], heir[good], cost[good]
    cheap = np.argsort(cost, kind="stable")[: max(int(CHEAPEST * len(cost)), 1)]
    chosen = cheap[_apart(edges, gone[cheap], rng, count)][:most]
    gone, heir = gone[chosen], heir[chosen]
    onto = np.arange(count)
    onto[gone] = heir
    # An heir inherits once: two vertices with the same heir would have a neighbour in common.
    mesh.quadric[heir] += mesh.quadric[gone]
    mesh.weight[heir] += mesh.weight[gone]
    mesh.triangles = onto[mesh.triangles]
    a, b, c = mesh.triangles.T
    whole = (a != b) & (b != c) & (c != a)
    mesh.triangles, mesh.part = mesh.triangles[whole], mesh.part[whole]
    return len(gone)


def _edges(triangles: Int64[np.ndarray, "triangles 3"], count: int) -> _Edges:
    a, b = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    keys, uses = np.unique(np.minimum(a, b) * count + np.maximum(a, b), return_counts=True)
    low, high, rim = keys // count, keys % count, uses == 1
    return _Edges(np.concatenate([low, high]), np.concatenate([high, low]), np.concatenate([rim, rim]), keys)


def _candidates(
    mesh: _Mesh, edges: _Edges
) -> tuple[Int64[np.ndarray, "candidates"], Float64[np.ndarray, "candidates"]]:
    """Return each vertex's cheapest edge that it may collapse along, and its cost."""
    count = len(mesh.position)
    on_rim = np.zeros(count, bool)
    on_rim[edges.start[edges.rim]] = True
    # A vertex of a rim slides along the rim alone.
    allowed = np.flatnonzero(~mesh.locked[edges.start] & (edges.rim | ~on_rim[edges.start]))
    if len(mesh.refused):
        keys = edges.start[allowed] * count + edges.end[allowed]
        allowed = allowed[~np.isin(keys, mesh.refused)]
    start, end = edges.start[allowed], edges.end[allowed]
    deviation = (mesh.quadric[start] * mesh.features[end]).sum(axis=1) / np.maximum(mesh.weight[start], 1e-12)
    length = ((mesh.position[start] - mesh.position[end]) ** 2).sum(axis=1)
    colour = ((mesh.colour[start] - mesh.colour[end]) ** 2).sum(axis=1)
    weight = np.where(edges.rim[allowed], RIM_WEIGHT, LENGTH_WEIGHT)
    cost = deviation + weight * length + COLOUR_WEIGHT * colour
    # Written from the dearest to the cheapest, so that the cheapest stays.
    order = np.argsort(-cost, kind="stable")
    best = np.full(count, -1, np.int64)
    best[start[order]] = order
    chosen = best[best >= 0]
    return allowed[chosen], cost[chosen]


def _apart(
    edges: _Edges, vertices: Int64[np.ndarray, "candidates"], rng: np.random.Generator, count: int
) -> Int64[np.ndarray, "chosen"]:
    """Return the places of candidates more than two edges apart: their surroundings share nothing."""
    rank = np.full(count, count, np.int64)
    rank[vertices] = rng.permutation(len(vertices))
    around = rank
    for _ in range(2):
        wider = around.copy()
        np.minimum.at(wider, edges.start, around[edges.end])
        around = wider
    return np.flatnonzero(around[vertices] == rank[vertices])


def _linked(
    edges: _Edges,
    gone: Int64[np.ndarray, "candidates"],
    heir: Int64[np.ndarray, "candidates"],
    rim: Bool[np.ndarray, "candidates"],
    count: int,
) -> Bool[np.ndarray, "candidates"]:
    """Return where the ends have as many common neighbours as the edge has triangles (link condition)."""
    slot = np.full(count, -1, np.int64)
    slot[gone] = np.arange(len(gone))
    mine = slot[edges.start] >= 0
    owner, neighbour = slot[edges.start[mine]], edges.end[mine]
    other = heir[owner]
    key = np.minimum(other, neighbour) * count + np.maximum(other, neighbour)
    place = np.minimum(np.searchsorted(edges.keys, key), len(edges.keys) - 1)
    shared = np.bincount(owner, edges.keys[place] == key, minlength=len(gone))
    return shared == np.where(rim, 1, 2)


def _unfolded(
    mesh: _Mesh, gone: Int64[np.ndarray, "candidates"], heir: Int64[np.ndarray, "candidates"], count: int
) -> Bool[np.ndarray, "candidates"]:
    """Return where no triangle that stays would turn over or shrink to nothing."""
    slot = np.full(count, -1, np.int64)
    slot[gone] = np.arange(len(gone))
    bad = np.zeros(len(gone), bool)
    normals = area_vectors(mesh.position[mesh.triangles])
    for corner in range(3):
        owner = slot[mesh.triangles[:, corner]]
        replaced = mesh.triangles.copy()
        replaced[:, corner] = np.where(owner >= 0, heir[owner], replaced[:, corner])
        stays = (owner >= 0) & ~(mesh.triangles == replaced[:, corner, None]).any(axis=1)
        old, new = normals[stays], area_vectors(mesh.position[replaced[stays]])
        lengths = np.linalg.norm(old, axis=1) * np.linalg.norm(new, axis=1)
        bad[owner[stays][(old * new).sum(axis=1) <= TURN * lengths]] = True
    return ~bad
