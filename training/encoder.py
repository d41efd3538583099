"""What every architecture offers to training, export and adaptation: a body, and one last layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inversefacenet.errors import InputError
from inversefacenet.parameters import PARAMETER_COUNT

LAST_LAYER_DEVIATION: Final = 0.01
"""Standard deviation of the last layer's first weights (Kim et al. 2018, Section 6.1)."""


class Encoder(nn.Module):
    """A network from normalised crops to the 350 parameters (Kim et al. 2018, Section 6.1).

    An architecture says what its last layer takes (`hidden`), which layer that is (`last`), and how
    ImageNet weights come in (`load_imagenet`).
    """

    @property
    def last(self) -> nn.Linear:
        """The last layer, whose outputs are the parameters."""
        raise TypeError(f"{type(self).__name__} doesn't say which layer is its last.")

    def hidden(self, images: Float[Tensor, "faces 3 side side"]) -> Float[Tensor, "faces hidden"]:
        """Return what the last layer takes, from normalised crops."""
        raise TypeError(f"{type(self).__name__} doesn't say what its last layer takes.")

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Start from torchvision's ImageNet weights; the last layer keeps its own initialisation.

        Args:
            state: torchvision's `state_dict` of the same architecture.

        Raises:
            InputError: If weights are missing or of other shapes.
        """
        raise TypeError(f"{type(self).__name__} doesn't take ImageNet weights.")

    def forward(self, images: Float[Tensor, "faces 3 side side"]) -> Float[Tensor, "faces 350"]:
        """Infer parameters from normalised crops (see `training.network.normalise`)."""
        hidden = self.hidden(images)
        # The answer needs more than the eight significant bits of bfloat16.
        with torch.autocast(hidden.device.type, enabled=False):
            result: Tensor = self.last(hidden.float())
        return result


def last_layer(inputs: int) -> nn.Linear:
    """Return a last layer as Section 6.1 starts it: weights N(0, 0.01), biases 0."""
    layer = nn.Linear(inputs, PARAMETER_COUNT)
    nn.init.normal_(layer.weight, 0.0, LAST_LAYER_DEVIATION)
    nn.init.zeros_(layer.bias)
    return layer


def check_weights(architecture: str, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Make sure that weights from elsewhere are all there, and of the right shapes.

    Raises:
        InputError: If one is missing or of another shape; the message names the first.
    """
    for name, weight in wanted.items():
        if name not in given:
            raise InputError(f"These are no {architecture} weights with torchvision's names: no {name}.")
        if given[name].shape != weight.shape:
            raise InputError(
                f"These are no {architecture} weights: {name} has the shape {tuple(given[name].shape)}, not "
                f"{tuple(weight.shape)}."
            )
