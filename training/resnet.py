"""ResNet-101 with 350 outputs (Kim et al. 2018, Section 6.1; He et al. 2016).

Layers keep torchvision's names (conv1, bn1, layer1.0.conv1, ..., downsample.0, fc), so that ImageNet weights
load where there are any; as there, it is the 3x3 convolution of a block that halves the resolution. Batch
normalisation belongs to the architecture: the options `batch_norm`, `rank` and `dropout` are AlexNet's. The
paper trains it twice as long as AlexNet: 150,000 iterations (Table 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jaxtyping import Float
from torch import Tensor, nn

from training.encoder import Encoder, check_weights, last_layer

BLOCKS: Final = (3, 4, 23, 3)
"""Blocks of the four stages: 1 + 3 * 33 convolutions and the last layer make 101."""

WIDTHS: Final = (64, 128, 256, 512)
EXPANSION: Final = 4
PAPER_ITERATIONS: Final = 150_000


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut: 1x1 to a narrow width, 3x3, 1x1 to four times the width."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        """Build a block.

        Args:
            inputs: Channels that come in.
            width: Channels of the 3x3 convolution.
            stride: 2 to halve the resolution.
        """
        super().__init__()
        outputs = EXPANSION * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(
        self, images: Float[Tensor, "faces inputs height width"]
    ) -> Float[Tensor, "faces outputs rows columns"]:
        """Return the block's output; rows and columns are half of height and width if the stride is 2."""
        shortcut = images if self.downsample is None else self.downsample(images)
        images = self.relu(self.bn1(self.conv1(images)))
        images = self.relu(self.bn2(self.conv2(images)))
        result: Tensor = self.relu(self.bn3(self.conv3(images)) + shortcut)
        return result


class ResNet(Encoder):
    """ResNet-101, or with other numbers of blocks: 240x240 crops in, 350 parameters out."""

    def __init__(self, blocks: tuple[int, int, int, int] = BLOCKS) -> None:
        """Build the network with He et al.'s initialisation and the paper's of its last layer.

        Args:
            blocks: Blocks of each stage.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = WIDTHS[0]
        for stage, (width, count) in enumerate(zip(WIDTHS, blocks, strict=True), start=1):
            layers = []
            for block in range(count):
                layers.append(Bottleneck(inputs, width, 2 if stage > 1 and block == 0 else 1))
                inputs = EXPANSION * width
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.fc = last_layer(inputs)

    @property
    def last(self) -> nn.Linear:
        """The last layer."""
        return self.fc

    @property
    def blocks(self) -> list[Bottleneck]:
        """All blocks in the order of computation."""
        return [layer for layer in self.modules() if isinstance(layer, Bottleneck)]

    def hidden(self, images: Float[Tensor, "faces 3 240 240"]) -> Float[Tensor, "faces 2048"]:
        """Return the mean of the last stage's features: what the last layer takes."""
        images = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in range(1, 5):
            images = self.get_submodule(f"layer{stage}")(images)
        features: Tensor = self.avgpool(images).flatten(1)
        return features

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Start from torchvision's ImageNet weights; the last layer keeps its own initialisation.

        Raises:
            InputError: If weights are missing or of other shapes.
        """
        own = self.state_dict()
        wanted = {name: weight for name, weight in own.items() if not name.startswith("fc.")}
        # Files from before PyTorch 0.4.1 have no counters of batches.
        state = {name: own[name] for name in wanted if name.endswith("num_batches_tracked")} | dict(state)
        check_weights("ResNet-101", wanted, state)
        self.load_state_dict(own | {name: state[name] for name in wanted})
