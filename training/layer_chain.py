"""A network as a plain chain of layers, which export can prune, measure and write in 8 bits.

Convolutions come first, each with its pooling; their last answer is flattened, and dense layers follow.
Batch normalisation is folded in already (`training.onnx_layers.fold_batch_norm`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from training.network import normalise

BATCH = 16


@dataclass(frozen=True)
class Convolution:
    """A convolution, its rectification and its pooling.

    Attributes:
        weight: The weights.
        bias: The biases.
        stride: Step in pixels, down and across.
        padding: Pixels of zeros around the input, down and across.
        pooling: Side and step of the largest-of-a-window pooling that follows, if one does.
        groups: Groups of channels that see only each other.
        shortcut: If not 0, what the layer so many places before takes is added to this one's answer,
            before it is rectified.
    """

    weight: Float32[ndarray, "out in height width"]
    bias: Float32[ndarray, "out"]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    pooling: tuple[int, int] | None = None
    groups: int = 1
    shortcut: int = 0

    rectified = True
    """Always: so its answers start at 0."""


@dataclass(frozen=True)
class Dense:
    """A fully connected layer.

    Attributes:
        weight: The weights.
        bias: The biases.
        rectified: Whether negative answers become 0.
    """

    weight: Float32[ndarray, "out in"]
    bias: Float32[ndarray, "out"]
    rectified: bool = False

    shortcut = 0
    """Dense layers have none."""


Layer = Convolution | Dense


@dataclass(frozen=True)
class Answer:
    """What a layer answers to crops.

    Attributes:
        sum: Before the shortcut is added; None without one.
        value: Rectified, but not yet pooled.
    """

    sum: Float[Tensor, "faces ..."] | None
    value: Float[Tensor, "faces ..."]


def answers(chain: Sequence[Layer], images: Float[Tensor, "faces 3 height width"]) -> Iterator[Answer]:
    """Yield what each layer answers to normalised crops."""
    value, taken = images, []
    for layer in chain:
        taken.append(value)
        weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
        if isinstance(layer, Convolution):
            value = functional.conv2d(value, weight, bias, layer.stride, layer.padding, groups=layer.groups)
        else:
            value = functional.linear(value.flatten(1), weight, bias)
        plain = value if layer.shortcut else None
        if layer.shortcut:
            value = value + taken[-1 - layer.shortcut]
        if layer.rectified:
            value = value.relu()
        yield Answer(plain, value)
        if isinstance(layer, Convolution) and layer.pooling:
            value = functional.max_pool2d(value, *layer.pooling)


def run(chain: Sequence[Layer], crops: UInt8[ndarray, "faces 240 240 3"]) -> Iterator[list[Answer]]:
    """Yield every layer's answers to crops, some crops at a time."""
    with torch.no_grad():
        for start in range(0, len(crops), BATCH):
            part = torch.from_numpy(crops[start : start + BATCH])
            yield list(answers(chain, normalise(part)))
