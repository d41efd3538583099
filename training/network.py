"""AlexNet with 350 outputs (Kim et al. 2018, Section 6.1), in its one-tower form (Krizhevsky 2014).

`build` makes the network that a run's options name: this one, ResNet-101 or the fast one.

Layers keep torchvision's names (features.0, 3, 6, 8, 10; classifier.1, 4, 6), so that ImageNet weights
load where there are any. Batch normalisation, where it is used, sits beside its convolution under a name
of its own and is folded away at export.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from inversefacenet.errors import InputError
from training.encoder import Encoder, check_weights, last_layer
from training.fast_network import FastNetwork
from training.resnet import ResNet

ARCHITECTURES: Final = ("alexnet", "resnet101", "fast")
FEATURE_COUNT: Final = 256 * 6 * 6
HIDDEN_COUNT: Final = 4096

# Standard name of the layer, channels in and out, kernel, stride, padding, pooled afterwards.
_CONVOLUTIONS: Final = (
    (0, 3, 64, 11, 4, 2, True),
    (3, 64, 192, 5, 1, 2, True),
    (6, 192, 384, 3, 1, 1, False),
    (8, 384, 256, 3, 1, 1, False),
    (10, 256, 256, 3, 1, 1, True),
)


class AlexNet(Encoder):
    """The paper's encoder: 240x240 crops in, 350 parameters out.

    A 240x240 input gives 59, 29, 14 and 6 pixels after the strided layers: the 6x6x256 features that the
    fully connected layers take, without any change of padding.
    """

    def __init__(self, batch_norm: bool = True, rank: int = 0, dropout: float = 0.0) -> None:
        """Build the network with the paper's initialisation of its last layer.

        Args:
            batch_norm: Normalise after each convolution.
            rank: Rank of the two large fully connected layers, each then being two smaller ones; 0 keeps
                them whole.
            dropout: Probability of dropping an input of the two large fully connected layers.
        """
        super().__init__()
        self.batch_norm, self.rank = batch_norm, rank
        features: OrderedDict[str, nn.Module] = OrderedDict()
        for name, inputs, outputs, kernel, stride, padding, pooled in _CONVOLUTIONS:
            features[f"{name}"] = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=not batch_norm)
            if batch_norm:
                features[f"{name}_norm"] = nn.BatchNorm2d(outputs)
            features[f"{name + 1}"] = nn.ReLU(inplace=True)
            if pooled:
                features[f"{name + 2}"] = nn.MaxPool2d(3, 2)
        self.features = nn.Sequential(features)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            _linear(FEATURE_COUNT, HIDDEN_COUNT, rank),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            _linear(HIDDEN_COUNT, HIDDEN_COUNT, rank),
            nn.ReLU(inplace=True),
            last_layer(HIDDEN_COUNT),
        )

    @property
    def last(self) -> nn.Linear:
        """The last layer."""
        layer = self.classifier[6]
        assert isinstance(layer, nn.Linear)
        return layer

    def hidden(self, images: Float[Tensor, "faces 3 240 240"]) -> Float[Tensor, "faces hidden"]:
        """Return the second fully connected layer's answer: what the last layer takes."""
        features: Tensor = self.classifier[:6](self.features(images).flatten(1))
        return features

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Start from torchvision's ImageNet weights; the last layer keeps its own initialisation.

        Layers of reduced rank take the best approximation of the whole matrix. Biases before a batch
        normalisation, which takes them out again, are left out.

        Raises:
            InputError: If weights are missing or of other shapes.
        """
        with torch.device("meta"):
            whole = AlexNet(batch_norm=False).state_dict()
        check_weights("AlexNet", {n: w for n, w in whole.items() if not n.startswith("classifier.6")}, state)
        own = self.state_dict()
        for name, weight in state.items():
            if name.startswith("classifier.6"):
                continue
            if name in own:
                own[name] = weight
            elif name.endswith("weight") and self.rank:
                u, s, vt = torch.linalg.svd(weight, full_matrices=False)
                root = s[: self.rank].sqrt()
                prefix = name.removesuffix("weight")
                own[f"{prefix}down.weight"] = root[:, None] * vt[: self.rank]
                own[f"{prefix}up.weight"] = u[:, : self.rank] * root
            elif name.endswith("bias") and self.rank and name.startswith("classifier"):
                own[f"{name.removesuffix('bias')}up.bias"] = weight
        self.load_state_dict(own)


def _linear(inputs: int, outputs: int, rank: int) -> nn.Module:
    if not rank:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(OrderedDict(down=nn.Linear(inputs, rank, bias=False), up=nn.Linear(rank, outputs)))


def normalise(crops: UInt8[Tensor, "faces side side 3"]) -> Float[Tensor, "faces 3 side side"]:
    """Scale uint8 crops to [-0.5, 0.5] and put the channels first (Section 6.1)."""
    return crops.permute(0, 3, 1, 2).float().div(255).sub(0.5)


def build(options: Mapping[str, Any]) -> Encoder:
    """Build a network from the options that a checkpoint keeps.

    Raises:
        InputError: If the architecture is unknown.
    """
    architecture = options.get("architecture", ARCHITECTURES[0])
    if architecture == "resnet101":
        return ResNet()
    if architecture == "fast":
        return FastNetwork()
    if architecture != "alexnet":
        raise InputError(f"Unknown architecture {architecture!r}: there are {', '.join(ARCHITECTURES)}.")
    return AlexNet(
        batch_norm=bool(options["batch_norm"]),
        rank=int(options["rank"]),
        dropout=float(options["dropout"]),
    )
