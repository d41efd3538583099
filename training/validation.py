"""Validation during training: unseen rendered faces of the same distribution, without augmentation."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import nn

from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import ROTATION
from inversefacenet.sampling import DISTRIBUTIONS
from training.image_space import ImageSpaceTerms
from training.loss import WEIGHTS, group_losses, model_space_scale
from training.network import normalise
from training.options import Options
from training.rendered import rendered_images

FACES: Final = 512
SEED: Final = 2**31
"""No training batch has this seed."""

_CHUNK: Final = 64


class Validation:
    """Measures a network on a fixed set of rendered faces."""

    def __init__(self, model: MorphableModel, options: Options, device: torch.device) -> None:
        """Render the set.

        Args:
            model: The face model.
            options: The run's options: they name the distribution and the weights.
            device: Where the network is.
        """
        distribution = DISTRIBUTIONS[options.distribution]
        theta = distribution.sample(np.random.default_rng(SEED), FACES, model)
        self._crops = torch.from_numpy(rendered_images(model, theta))
        self._theta = torch.from_numpy(theta).to(device)
        self._scale = torch.from_numpy(model_space_scale(model, WEIGHTS[options.weights])).to(device)
        self._terms = ImageSpaceTerms(model, device)
        self._device = device
        mean = self._theta.mean(dim=0, keepdim=True).expand_as(self._theta)
        self._baseline = group_losses(mean, self._theta, self._scale)

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Return the figures.

        Returns:
            The weighted loss; each group's share of what predicting the mean would lose; the mean error
            of an angle in degrees; RMS position error in crop pixels and RMS colour error in 8-bit levels.
        """
        network.eval()
        predicted = torch.cat(
            [network(normalise(part.to(self._device))) for part in torch.split(self._crops, _CHUNK)]
        )
        groups = group_losses(predicted, self._theta, self._scale)
        positions, colours = self._terms(predicted, self._theta)
        angles = (predicted - self._theta)[:, ROTATION].abs().mean()
        figures = {"loss": sum(groups.values())}
        figures |= {name: value / self._baseline[name] for name, value in groups.items()}
        return figures | {
            "degrees": float(torch.rad2deg(angles)),
            "position_px": float(positions.sqrt()),
            "colour_levels": float(colours.sqrt()),
        }
