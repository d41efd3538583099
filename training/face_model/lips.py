"""Close the lips of sampled heads: MakeHuman's neutral mouths stand open by amounts that vary.

First the jaw is turned until the lips' middle just overlaps; then each spot of the slit that still
gapes, towards the corners, is drawn together, fading out over the lips. Both steps are linear in the
head, so all samples are closed by matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Float64, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from training.face_model.expression import Rig
from training.face_model.landmarks import lip_halves
from training.face_model.surface import triangle_sides
from training.face_model.template import Template

OVERLAP: Final = 1.0
"""Millimetres by which closed lips overlap, so that no slit is seen; it tapers off at the very corners."""

TAPER: Final = 6

FADE: Final = 7.0
"""Standard deviation, in millimetres along the surface, of the fading of the drawing together."""

INNER_UPPER_LIP: Final = (61, 62, 63)
INNER_LOWER_LIP: Final = (67, 66, 65)


@dataclass(frozen=True)
class LipSeal:
    """A linear map that draws the lips together.

    Attributes:
        gap: Signed heights: the slit's opening at each spot is ``heights @ gap``.
        overlap: Wanted overlap at each spot, in millimetres.
        spread: How each vertex moves up when a spot closes by one millimetre.
    """

    gap: Float64[np.ndarray, "vertices spots"]
    overlap: Float64[np.ndarray, " spots"]
    spread: Float64[np.ndarray, "spots vertices"]


def close_lips(
    heads: Float32[np.ndarray, "count coordinates"], template: Template, rig: Rig
) -> Float32[np.ndarray, "count coordinates"]:
    """Close (or part) the lips of each head until they just overlap everywhere."""
    jaw = rig.unit("jawOpen")
    upper, lower = (template.landmarks[list(ids)] for ids in (INNER_UPPER_LIP, INNER_LOWER_LIP))
    points = heads.reshape(len(heads), -1, 3)
    gap = (points[:, upper, 1] - points[:, lower, 1]).mean(axis=1)
    gap_per_weight = (jaw[upper, 1] - jaw[lower, 1]).mean()
    closed = points - ((gap + OVERLAP) / gap_per_weight)[:, None, None] * jaw
    seal = lip_seal(template)
    closing = closed[..., 1] @ seal.gap.astype(np.float32) + seal.overlap.astype(np.float32)
    closed[..., 1] += closing @ seal.spread.astype(np.float32)
    return closed.reshape(heads.shape)


def lip_seal(template: Template) -> LipSeal:
    """Prepare the drawing together: a spot for each vertex of the lower lip's seam.

    The corners are shared by both lips and stay where they are.
    """
    vertices = template.vertices
    upper, lower = lip_halves(template.geometry)
    spots = lower[1:-1]
    place = vertices[spots, 0]
    gap = np.zeros((len(vertices), len(spots)))
    gap[upper] = _interpolation(vertices[upper, 0], place)
    gap[spots, np.arange(len(spots))] -= 1
    overlap = OVERLAP * (1 - (np.abs(place) / np.abs(vertices[lower, 0]).max()) ** TAPER)

    along = _interpolation(np.r_[vertices[lower[0], 0], place, vertices[lower[-1], 0]], vertices[:, 0])[1:-1]
    to_lower, to_upper = (_surface_distance(template, half) for half in (lower, upper))
    side = np.where(to_lower < to_upper, 1.0, -1.0)
    fade = np.exp(-0.5 * (np.minimum(to_lower, to_upper) / FADE) ** 2)
    return LipSeal(gap, overlap, along * (0.5 * side * fade))


def _interpolation(
    nodes: Float[np.ndarray, " nodes"], places: Float[np.ndarray, " places"]
) -> Float64[np.ndarray, "nodes places"]:
    """Return the weights of piecewise linear interpolation between nodes, constant beyond the ends."""
    order = nodes.argsort()
    return np.stack([np.interp(places, nodes[order], row[order]) for row in np.eye(len(nodes))])


def _surface_distance(
    template: Template, sources: Int[np.ndarray, " sources"]
) -> Float64[np.ndarray, " vertices"]:
    """Return each vertex's distance to the nearest source along edges, infinite beyond three fades."""
    sides = triangle_sides(template.triangles)
    length = np.linalg.norm(template.vertices[sides[:, 0]] - template.vertices[sides[:, 1]], axis=1)
    # Sides shared by two triangles appear once in each direction, so that no entry is added up.
    graph = coo_matrix((length, (sides[:, 0], sides[:, 1])), shape=(len(template.vertices),) * 2).tocsr()
    distance = dijkstra(graph, directed=False, indices=sources, limit=3 * FADE, min_only=True)
    return np.asarray(distance)
