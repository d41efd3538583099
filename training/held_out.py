"""One fixed set of rendered faces that every stage of a run is measured on (Figure 4)."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import nn

from inversefacenet.morphable_model import MorphableModel
from inversefacenet.sampling import DISTRIBUTIONS
from training.loss import WEIGHTS, group_losses, model_space_scale
from training.network import normalise
from training.rendered import rendered_images

SEED: Final = 2**31 + 7
"""No training batch and no other set has this seed."""

_CHUNK: Final = 64


class HeldOut:
    """The model-space loss (Eq. 7) on rendered faces of higher variation, which no stage trains on."""

    def __init__(
        self,
        model: MorphableModel,
        device: torch.device,
        faces: int = 512,
        weights: str = "paper",
        distribution: str = "higher-variation",
    ) -> None:
        """Render the set.

        Args:
            model: The face model.
            device: Where networks will be.
            faces: Size of the set.
            weights: The omegas of Eq. 8: "paper" or "balanced".
            distribution: Where the faces are drawn from.
        """
        theta = DISTRIBUTIONS[distribution].sample(np.random.default_rng(SEED), faces, model)
        self._crops = torch.from_numpy(rendered_images(model, theta))
        self._theta = torch.from_numpy(theta).to(device)
        self._scale = torch.from_numpy(model_space_scale(model, WEIGHTS[weights])).to(device)
        self._device = device

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Return the loss and each group's share of it."""
        network.eval()
        predicted = torch.cat(
            [network(normalise(part.to(self._device))) for part in torch.split(self._crops, _CHUNK)]
        )
        groups = group_losses(predicted, self._theta, self._scale)
        return {"loss": sum(groups.values()), **groups}
