"""Catmull-Clark subdivision as a sparse linear operator, so that it maps morph targets exactly."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, csr_matrix, diags, vstack


def catmull_clark(
    quads: Int[np.ndarray, "faces 4"], vertex_count: int
) -> tuple[csr_matrix, Int[np.ndarray, "4*faces 4"]]:
    """Return one step of Catmull-Clark subdivision of a quad mesh (Catmull and Clark 1978).

    Boundary edges follow the cubic B-spline rule. Every row of the operator sums to one.

    Args:
        quads: Vertex numbers of each face, consistently oriented.
        vertex_count: Vertices of the mesh, used by a face or not.

    Returns:
        The operator [vertices + edges + faces, vertices] that gives new positions from old ones (rows
        of unused vertices are zero), and the new quads: four for each old one, in the order of
        its corners, each (corner, edge point, face point, edge point).
    """
    faces = len(quads)
    corners = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    face_of_edge = np.repeat(np.arange(faces), 4)
    edges, edge_of_side, uses = np.unique(
        np.sort(corners, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    edge_of_side = edge_of_side.ravel()
    border = uses == 1

    face_point = _incidence(face_of_edge, quads.ravel(), (faces, vertex_count)) / 4
    ends = np.repeat(np.arange(len(edges)), 2)
    edge_middle = _incidence(ends, edges.ravel(), (len(edges), vertex_count)) / 2
    faces_at_edge = _incidence(edge_of_side, face_of_edge, (len(edges), faces))
    edge_point = (
        diags(np.where(border, 1.0, 0.5)) @ edge_middle
        + diags(np.where(border, 0.0, 0.25)) @ faces_at_edge @ face_point
    )

    faces_at_vertex = _incidence(quads.ravel(), face_of_edge, (vertex_count, faces))
    edges_at_vertex = _incidence(edges.ravel(), ends, (vertex_count, len(edges)))
    rim_at_vertex = edges_at_vertex @ diags(border.astype(float))
    valence = np.asarray(edges_at_vertex.sum(axis=1)).ravel()
    face_count = np.asarray(faces_at_vertex.sum(axis=1)).ravel()
    used = valence > 0
    on_rim = np.asarray(rim_at_vertex.sum(axis=1)).ravel() > 0
    n = np.maximum(valence, 1)
    inner = (
        diags(1 / np.maximum(face_count, 1) / n) @ faces_at_vertex @ face_point
        + diags(2 / n**2) @ edges_at_vertex @ edge_middle
        + diags((n - 3) / n)
    )
    rim = diags(np.full(vertex_count, 0.5)) + rim_at_vertex @ edge_middle / 4
    vertex_point = diags((used & ~on_rim).astype(float)) @ inner + diags(on_rim.astype(float)) @ rim

    operator = csr_matrix(vstack([vertex_point, edge_point, face_point]))
    edge_number = edge_of_side.reshape(faces, 4) + vertex_count
    face_number = np.arange(faces) + vertex_count + len(edges)
    children = [
        np.stack([quads[:, i], edge_number[:, i], face_number, edge_number[:, i - 1]], axis=-1)
        for i in range(4)
    ]
    return operator, np.stack(children, axis=1).reshape(-1, 4)


def subdivide_corners(
    values: Float[np.ndarray, "faces 4 channels"],
) -> Float[np.ndarray, "4*faces 4 channels"]:
    """Subdivide values given at face corners, such as texture coordinates, bilinearly."""
    middle = (values + np.roll(values, -1, axis=1)) / 2
    centre = values.mean(axis=1)
    children = [np.stack([values[:, i], middle[:, i], centre, middle[:, i - 1]], axis=1) for i in range(4)]
    return np.stack(children, axis=1).reshape(-1, 4, values.shape[-1])


def _incidence(
    rows: Int[np.ndarray, " entries"], columns: Int[np.ndarray, " entries"], shape: tuple[int, int]
) -> csr_matrix:
    return coo_matrix((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()
