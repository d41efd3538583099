"""The painted region: the triangles that match the landmark crop (Kim et al. 2018, Section 4.2).

A triangle is painted if, over random poses, shapes and expressions, most of the pixels that see it lie
inside the landmark hull of the same rendering. For a share p of its pixels inside the hull, a
triangle adds to the intersection p and to the union 1 - p, so that the best overlap is had by painting
all those with p of at least IoU / (1 + IoU), which is just below one half.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.spatial import cKDTree

from inversefacenet.crop import face_mask
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import EXPRESSION, ILLUMINATION, ROTATION, SHAPE, Parameters
from inversefacenet.rasterizer import Fragments
from inversefacenet.rendering import render
from inversefacenet.rig import sample_units

VIEWS: Final = 600
YAW: Final = 40.0
PITCH: Final = 40.0
ROLL: Final = 15.0
PAINTED_SHARE: Final = 0.49


def random_views(
    model: MorphableModel, seed: int, count: int
) -> Iterator[tuple[Fragments, Bool[np.ndarray, "240 240"]]]:
    """Render random faces in Section 5's poses; give the pixels' triangles and the landmarks' mask."""
    rng = np.random.default_rng(seed)
    units = sample_units(rng, count, model.unit_names)
    limits = np.radians([YAW, PITCH, ROLL])
    for weights in units:
        vector = np.zeros(350, np.float32)
        vector[ROTATION] = rng.uniform(-limits, limits)
        vector[SHAPE] = rng.normal(0, 1, 128)
        vector[EXPRESSION] = weights @ model.unit_coefficients
        vector[ILLUMINATION][:3] = 1
        picture = render(model, Parameters.from_vector(vector))
        yield picture.fragments, face_mask(picture.landmarks)


def paint(model: MorphableModel, seed: int, views: int = VIEWS) -> Bool[np.ndarray, " triangles"]:
    """Choose the painted triangles.

    Args:
        model: The face model; its own `painted` is not looked at.
        seed: Seed of the random faces.
        views: Number of random faces.
    """
    count = len(model.triangles)
    seen, inside = np.zeros(count), np.zeros(count)
    for fragments, mask in random_views(model, seed, views):
        seen += np.bincount(fragments.triangle[fragments.mask], minlength=count)
        inside += np.bincount(fragments.triangle[fragments.mask & mask], minlength=count)
    centres = model.mean_geometry[model.triangles].mean(axis=1)
    # Both sides together, so that the region is symmetric.
    _, opposite = cKDTree(centres).query(centres * (-1, 1, 1))
    seen, inside = seen + seen[opposite], inside + inside[opposite]
    share = _spread(seen, inside, centres)
    return (share >= PAINTED_SHARE) & ~model.mouth_triangles


def _spread(
    seen: Float64[np.ndarray, " triangles"],
    inside: Float64[np.ndarray, " triangles"],
    centres: Float[np.ndarray, "triangles 3"],
) -> Float64[np.ndarray, " triangles"]:
    """Return each triangle's share inside; what is hardly ever seen takes its nearest neighbour's."""
    enough = np.flatnonzero(seen > 0.05 * np.median(seen[seen > 0]))
    nearest: Int64[np.ndarray, " triangles"] = enough[cKDTree(centres[enough]).query(centres)[1]]
    return np.asarray(inside[nearest] / seen[nearest])


def mean_overlap(model: MorphableModel, seed: int, views: int) -> tuple[float, float]:
    """Return the mean IoU of model mask and landmark mask, and the mask's share that no mesh covers."""
    counted = np.append(model.painted & ~model.mouth_triangles, False)
    overlaps, bare = [], []
    for fragments, mask in random_views(model, seed, views):
        painted = counted[fragments.triangle]
        overlaps.append((painted & mask).sum() / (painted | mask).sum())
        bare.append((mask & ~fragments.mask).sum() / mask.sum())
    return float(np.mean(overlaps)), float(np.mean(bare))
