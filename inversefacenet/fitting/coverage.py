"""A pull on the silhouette towards pixels of the face region that the mesh leaves bare.

Bare pixels count as black in the photometric term, which tells no step what to do about them: no surface is
there to move. So the nearest covered pixels are asked to come, as in iterated closest points.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int64

from inversefacenet.camera import CROP_SIZE
from inversefacenet.fitting.options import FitOptions
from inversefacenet.fitting.placing import Motion
from inversefacenet.fitting.posed import POSE, PosedFace
from inversefacenet.fitting.samples import Samples, position_rows
from inversefacenet.fitting.view import Target, View, robust_cost

_MOST: Final = 200
"""Bare pixels that are looked at."""


def coverage_rows(
    face: PosedFace, moved: Motion, seen: View, target: Target, options: FitOptions
) -> tuple[Float[np.ndarray, "rows 195"], Float[np.ndarray, "rows"]]:
    """Return derivatives and residuals of the distances between bare pixels and the silhouette.

    A bare pixel weighs what its blackness costs, over its distance: its cost grows with the distance alone,
    and so as the number of pixels between it and the mesh does.
    """
    bare = np.flatnonzero(target.mask & ~seen.fragments.mask)
    edge = np.flatnonzero(_edge(seen.fragments.mask))
    if not bare.size or not edge.size:
        return np.zeros((0, POSE.stop)), np.zeros(0)
    chosen = bare[:: -(-len(bare) // _MOST)]
    nearest, offset = _nearest(edge, chosen)
    distance = np.linalg.norm(offset, axis=1)
    darkness = robust_cost((target.photo.reshape(-1, 3)[chosen] ** 2).mean(axis=1), options.robust)
    share = options.coverage * options.photometric * len(bare) / (len(chosen) * int(target.mask.sum()))
    weights = np.sqrt(share * darkness / distance)
    along = (offset / distance[:, None] * weights[:, None]).astype(face.vertices.dtype)
    rows = position_rows(face, moved, Samples.seen(face, seen, nearest), along[:, None])[:, 0]
    return rows, -weights * distance


def _edge(mask: Bool[np.ndarray, "240 240"]) -> Bool[np.ndarray, "240 240"]:
    """Return the pixels of a mask that have a neighbour outside it."""
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1] = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return mask & ~inner


def _nearest(
    edge: Int64[np.ndarray, "edge"], pixels: Int64[np.ndarray, "pixels"]
) -> tuple[Int64[np.ndarray, "pixels"], Float[np.ndarray, "pixels 2"]]:
    """Return the nearest edge pixel of each pixel, and the way from there to it."""
    there = np.stack([edge % CROP_SIZE, edge // CROP_SIZE], axis=1).astype(np.float64)
    here = np.stack([pixels % CROP_SIZE, pixels // CROP_SIZE], axis=1).astype(np.float64)
    squared = ((here[:, None] - there[None]) ** 2).sum(axis=2)
    best = squared.argmin(axis=1)
    return edge[best], here - there[best]
