"""The model-space parameter loss (Kim et al. 2018, Eq. 6 to 8), and what it is compared with.

Convention:
    The sigmas of Eq. 8 are RMS per vertex: millimetres for shape and expression, tenths of full linear
    reflectance for skin. Rotation counts radians. With the paper's weights the groups start at about
    5.6e4 (rotation), 2.9e4, 1.9e4, 1.7e4 and 1.6e2 (light), so the light hardly counts; `BALANCED`
    gives reflectance and light the weight that they have in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import GROUPS, PARAMETER_COUNT

REFLECTANCE_UNIT: Final = 0.1
"""One unit of the reflectance sigmas in the loss: a tenth of full linear reflectance."""


@dataclass(frozen=True)
class GroupWeights:
    """The omegas of Eq. 8."""

    rotation: float
    shape: float
    expression: float
    reflectance: float
    illumination: float


PAPER: Final = GroupWeights(400, 50, 50, 100, 20)
BALANCED: Final = GroupWeights(400, 50, 50, 150, 200)
WEIGHTS: Final = {"paper": PAPER, "balanced": BALANCED}


def model_space_scale(model: MorphableModel, weights: GroupWeights = PAPER) -> Float32[np.ndarray, "350"]:
    """Return the diagonal of Sigma (Kim et al. 2018, Eq. 8)."""
    return np.concatenate(
        [
            np.full(3, weights.rotation),
            weights.shape * model.shape_rms,
            weights.expression * model.expression_rms,
            weights.reflectance * model.reflectance_rms / REFLECTANCE_UNIT,
            np.full(27, weights.illumination),
        ]
    ).astype(np.float32)


def plain_scale() -> Float32[np.ndarray, "350"]:
    """Return the scale of the plain parameter loss: every parameter counts alike (Table 1, first row)."""
    return np.ones(PARAMETER_COUNT, np.float32)


def parameter_loss(
    predicted: Float[Tensor, "faces 350"], truth: Float[Tensor, "faces 350"], scale: Float[Tensor, "350"]
) -> Float[Tensor, ""]:
    """Mean over the faces of the weighted squared norm (Kim et al. 2018, Eq. 6 and 7)."""
    return ((predicted - truth) * scale).square().sum(dim=1).mean()


def group_losses(
    predicted: Float[Tensor, "faces 350"], truth: Float[Tensor, "faces 350"], scale: Float[Tensor, "350"]
) -> dict[str, float]:
    """Return each group's share of `parameter_loss`."""
    squares = ((predicted - truth) * scale).square().mean(dim=0)
    return {name: float(torch.sum(squares[group])) for name, group in GROUPS.items()}
