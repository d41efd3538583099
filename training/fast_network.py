"""A small network with the same input and output as AlexNet, for CPUs: a ninth of its arithmetic.

Plain 3x3 convolutions with shortcuts, on crops of half the size: on a CPU they run near its peak, which
separable ones don't. It is trained on the answers of the reference network (`training.teacher_answers`),
beside rendered faces and photographs, and held to the reference's evaluation.

Convention:
    Layers: stem 3x3 at stride 2; per stage a 3x3 at stride 2 and a shortcut block of two 3x3; a 1x1 to few
    channels; one hidden fully connected layer. 240 pixels become 120, 60, 30, 15 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor, nn

from inversefacenet.camera import CROP_SIZE
from inversefacenet.errors import InputError
from training.encoder import Encoder, last_layer

STEM: Final = 24
WIDTHS: Final = (48, 96, 160)
NECK: Final = 32
HIDDEN: Final = 512
_LAST_SIDE: Final = 8


class Shortcut(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        """Build a block of so many channels."""
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        nn.init.zeros_(self.bn2.weight)  # a block starts as its shortcut alone

    def forward(self, images: Float[Tensor, "faces width height width2"]) -> Tensor:
        """Return the block's output."""
        inner = functional.relu(self.bn1(self.conv1(images)))
        return functional.relu(self.bn2(self.conv2(inner)) + images)


class FastNetwork(Encoder):
    """A small encoder: 240x240 crops in, or the same at half the size; 350 parameters out."""

    def __init__(self) -> None:
        """Build the network; the last layer starts as the paper's does."""
        super().__init__()
        self.stem = nn.Conv2d(3, STEM, 3, 2, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(STEM)
        inputs = STEM
        for stage, width in enumerate(WIDTHS, start=1):
            self.add_module(f"down{stage}", nn.Conv2d(inputs, width, 3, 2, 1, bias=False))
            self.add_module(f"down{stage}_norm", nn.BatchNorm2d(width))
            self.add_module(f"block{stage}", Shortcut(width))
            inputs = width
        self.neck = nn.Conv2d(inputs, NECK, 1, bias=False)
        self.neck_norm = nn.BatchNorm2d(NECK)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.fc = nn.Linear(NECK * _LAST_SIDE**2, HIDDEN)
        self.out = last_layer(HIDDEN)

    @property
    def last(self) -> nn.Linear:
        """The last layer."""
        return self.out

    def layers(self) -> list[Shortcut | tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Return shortcut blocks and normalised convolutions, each of which a ReLU follows, in order."""
        found: list[Shortcut | tuple[nn.Conv2d, nn.BatchNorm2d]] = [(self.stem, self.stem_norm)]
        for stage in range(1, len(WIDTHS) + 1):
            down, norm = self.get_submodule(f"down{stage}"), self.get_submodule(f"down{stage}_norm")
            block = self.get_submodule(f"block{stage}")
            assert isinstance(down, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            assert isinstance(block, Shortcut)
            found += [(down, norm), block]
        return [*found, (self.neck, self.neck_norm)]

    def hidden(self, images: Float[Tensor, "faces 3 side side"]) -> Float[Tensor, "faces hidden"]:
        """Return the hidden layer's answer: what the last layer takes."""
        images = at_half(images)
        for layer in self.layers():
            if isinstance(layer, Shortcut):
                images = layer(images)
            else:
                convolution, norm = layer
                images = functional.relu(norm(convolution(images)))
        return functional.relu(self.fc(images.flatten(1)))

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Refuse: there are no ImageNet weights of this architecture.

        Raises:
            InputError: Always.
        """
        raise InputError("The fast network has no ImageNet weights: leave --imagenet out.")


def at_half(images: Float[Tensor, "faces 3 side side"]) -> Float[Tensor, "faces 3 half half"]:
    """Average whole crops to half their size; crops that are halved already stay."""
    return functional.avg_pool2d(images, 2) if images.shape[-1] == CROP_SIZE else images


def halved(images: list[Tensor]) -> Tensor:
    """Join normalised crops of both sizes into one batch: of half the size if any is."""
    if len({one.shape[-1] for one in images}) > 1:
        images = [at_half(one) for one in images]
    return torch.cat(images)
