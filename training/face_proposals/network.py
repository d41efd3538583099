"""The proposal network: three maps, of small, medium and large faces.

Convention:
    A cell of a map with stride s lies at ((column + 0.5) s, (row + 0.5) s) picture pixels. Its four numbers
    are a logit, the face's centre less the cell's place in strides (x, y), and the logarithm of the box's
    width over the map's own width. Worked value: cell (0, 0) of the first map with (9, 0, 0, 0) says that a
    face 15 pixels wide very likely has its centre at (2, 2).
"""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

STRIDES: Final = (4, 8, 16)
WIDTHS: Final = (15.0, 33.0, 78.0)
"""Width of the faces that each map is made for, in picture pixels."""

CHANNELS: Final = (16, 24, 40, 64)


class ProposalNetwork(nn.Module):
    """Plain 3x3 convolutions down to a sixteenth, and back up to an eighth and a quarter by sums.

    Args:
        channels: Of a half, a quarter, an eighth and a sixteenth of the picture's resolution.
    """

    def __init__(self, channels: tuple[int, int, int, int] = CHANNELS) -> None:
        super().__init__()
        a, b, c, d = channels
        self.stem = _Convolution(3, a, 2)
        self.quarter = _Convolution(a, b, 2)
        self.eighth = _Convolution(b, c, 2)
        self.eighth_more = _Convolution(c, c)
        self.sixteenth = _Convolution(c, d, 2)
        self.sixteenth_more = _Convolution(d, d)
        self.sixteenth_last = _Convolution(d, d)
        self.down_to_eighth = nn.Conv2d(d, c, 1)
        self.eighth_last = _Convolution(c, c)
        self.eighth_to_quarter = nn.Conv2d(c, b, 1)
        self.quarter_last = _Convolution(b, b)
        self.heads = nn.ModuleList(nn.Conv2d(width, 4, 1) for width in (b, c, d))
        for head in self.heads:
            assert isinstance(head, nn.Conv2d)
            assert head.bias is not None
            nn.init.zeros_(head.bias)
            with torch.no_grad():
                head.bias[0] = -4.0

    def forward(self, pictures: UInt8[Tensor, "n 3 rows columns"]) -> list[Float[Tensor, "n 4 _ _"]]:
        """Return the maps, finest first; rows and columns must be multiples of 16."""
        values = pictures.float() / 127.5 - 1
        quarter = self.quarter(self.stem(values))
        eighth = self.eighth_more(self.eighth(quarter))
        sixteenth = self.sixteenth_last(self.sixteenth_more(self.sixteenth(eighth)))
        eighth = self.eighth_last(functional.relu(eighth + _doubled(self.down_to_eighth(sixteenth))))
        quarter = self.quarter_last(functional.relu(quarter + _doubled(self.eighth_to_quarter(eighth))))
        return [head(one) for head, one in zip(self.heads, (quarter, eighth, sixteenth), strict=True)]


class _Convolution(nn.Sequential):
    def __init__(self, taken: int, given: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(taken, given, 3, stride, 1, bias=False), nn.BatchNorm2d(given), nn.ReLU(inplace=True)
        )


def _doubled(values: Float[Tensor, "n channels rows columns"]) -> Float[Tensor, "n channels _ _"]:
    return functional.interpolate(values, scale_factor=2.0, mode="nearest")
