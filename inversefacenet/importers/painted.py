"""The painted region of an imported model: the triangles that match the landmark crop (Kim et al. 2018, 4.2).

As the open face model's builder has it: a triangle is painted if, over random faces in Section 5's poses,
most of the pixels that see it lie inside the landmarks' hull of the same rendering.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Bool

from inversefacenet.crop import face_mask
from inversefacenet.errors import FaceModelError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import PAPER

PAINTED_SHARE: Final = 0.49
SPREADS: Final = 6
"""Rings of triangles over which a triangle that was never seen takes its neighbours' share."""


def painted_region(model: MorphableModel, views: int, seed: int = 0) -> Bool[np.ndarray, "triangles"]:
    """Choose the painted triangles.

    Args:
        model: The face model; its own `painted` is not looked at.
        views: Number of random faces.
        seed: Their seed.

    Raises:
        FaceModelError: If nothing of the face is seen.
    """
    count = len(model.triangles)
    seen, inside = np.zeros(count), np.zeros(count)
    for theta in PAPER.sample(np.random.default_rng(seed), views, model):
        picture = render(model, Parameters.from_vector(theta))
        mask = face_mask(picture.landmarks)
        seen += np.bincount(picture.fragments.triangle[picture.mask], minlength=count)
        inside += np.bincount(picture.fragments.triangle[picture.mask & mask], minlength=count)
    if not inside.any():
        raise FaceModelError(
            f"{model.name}: nothing is seen inside the landmarks: check the landmark vertices."
        )
    corners = model.triangles.ravel()
    for ring in range(SPREADS):
        # Once for all, against the pixels' noise; then only for what hasn't been seen.
        around = [np.bincount(corners, np.repeat(x, 3), model.vertex_count) for x in (seen, inside)]
        wide_seen, wide_inside = (x[model.triangles].sum(axis=1) for x in around)
        chosen = np.full(count, True) if ring == 0 else seen == 0
        seen, inside = np.where(chosen, wide_seen, seen), np.where(chosen, wide_inside, inside)
    return (inside >= PAINTED_SHARE * seen) & (seen > 0) & ~model.mouth_triangles
