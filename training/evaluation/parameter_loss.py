"""The model-space loss (Kim et al. 2018, Eq. 6 to 8) without PyTorch: what Figure 4 shows."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Float64

from inversefacenet.morphable_model import MorphableModel

_ROTATION, _SHAPE, _EXPRESSION, _REFLECTANCE, _LIGHT = 400.0, 50.0, 50.0, 100.0, 20.0
_REFLECTANCE_UNIT: Final = 0.1


def model_space_losses(
    model: MorphableModel,
    answers: Float[np.ndarray, "faces 350"],
    truths: Float[np.ndarray, "faces 350"],
) -> Float64[np.ndarray, " faces"]:
    """Return each face's loss with the paper's weights; units are those of `training.loss`."""
    return (((answers - truths).astype(np.float64) * paper_scale(model)) ** 2).sum(axis=1)


def paper_scale(model: MorphableModel) -> Float32[np.ndarray, "350"]:
    """Return the diagonal of Sigma with the paper's weights (Eq. 8)."""
    return np.concatenate(
        [
            np.full(3, _ROTATION),
            _SHAPE * model.shape_rms,
            _EXPRESSION * model.expression_rms,
            _REFLECTANCE * model.reflectance_rms / _REFLECTANCE_UNIT,
            np.full(27, _LIGHT),
        ]
    ).astype(np.float32)
