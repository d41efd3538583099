"""JPEG's losses in plain torch: colour conversion, chroma subsampling, quantised 8x8 cosine transform.

Convention:
    ITU-T T.81 with the tables of its Annex K and libjpeg's scale of quality (1 to 100). Entropy coding
    loses nothing and is left out. Pictures are sRGB planes in [0, 1].
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from training.jpeg_tables import CHROMINANCE_TABLE, LUMINANCE_TABLE

BLOCK: Final = 8

_TO_YCBCR: Final = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
_TO_RGB: Final = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def jpeg(
    pictures: Float[Tensor, "batch 3 height width"], quality: Float[Tensor, "batch"], subsample: bool = True
) -> Float[Tensor, "batch 3 height width"]:
    """Return what a JPEG decoder would give back for each picture.

    Args:
        pictures: sRGB in [0, 1].
        quality: libjpeg's quality of each picture, 1 to 100.
        subsample: Halve the colour planes in both directions (4:2:0), as most files have them.
    """
    height, width = pictures.shape[2:]
    unit = BLOCK * (2 if subsample else 1)
    padding = (0, -width % unit, 0, -height % unit)
    levels = functional.pad(pictures * 255, padding, mode="replicate").round_()
    # Coders keep every intermediate picture in 8 bits; so does this, or it would lose less than they do.
    planes = _mix(levels, _TO_YCBCR).round_()
    luminance, chrominance = planes[:, :1], planes[:, 1:]
    if subsample:
        chrominance = functional.avg_pool2d(chrominance, 2).round_()
    luminance = _quantise(luminance - 128, _scaled_table(LUMINANCE_TABLE, quality)) + 128
    chrominance = _quantise(chrominance, _scaled_table(CHROMINANCE_TABLE, quality))
    luminance = luminance.round_().clamp_(0, 255)
    chrominance = chrominance.round_().clamp_(-128, 127)
    if subsample:
        chrominance = functional.interpolate(chrominance, scale_factor=2, mode="bilinear")
    decoded = _mix(torch.cat([luminance, chrominance], dim=1), _TO_RGB)
    return decoded[:, :, :height, :width].round_().clamp_(0, 255) / 255


def _mix(planes: Tensor, matrix: tuple[tuple[float, float, float], ...]) -> Tensor:
    first, second, third = planes.unbind(dim=1)
    return torch.stack([a * first + b * second + c * third for a, b, c in matrix], dim=1)


def _scaled_table(
    table: tuple[tuple[int, ...], ...], quality: Float[Tensor, "batch"]
) -> Float[Tensor, "batch 8 8"]:
    """Scale a quantisation table to each quality as libjpeg does."""
    exact = quality.round().clamp(1, 100)
    scale = torch.where(exact < 50, (5000 / exact).floor(), 200 - 2 * exact)
    base = _on_device(table, quality.dtype, quality.device)
    return ((base * scale[:, None, None] + 50) / 100).floor().clamp(1, 255)


@lru_cache(maxsize=8)
def _on_device(
    table: tuple[tuple[int, ...], ...], dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "8 8"]:
    """Return a table as a tensor; it travels to a GPU once, which would have to be waited for each time."""
    return torch.tensor(table, dtype=dtype, device=device)


def _quantise(
    planes: Float[Tensor, "batch channels height width"], tables: Float[Tensor, "batch 8 8"]
) -> Float[Tensor, "batch channels height width"]:
    """Round the cosine coefficients of every 8x8 block to multiples of the table's entries."""
    batch, channels, height, width = planes.shape
    transform = _cosine_transform(planes)
    blocks = planes.reshape(batch, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    blocks = blocks.transpose(3, 4)
    steps = tables[:, None, None, None]
    coefficients = transform @ blocks @ transform.T
    restored = transform.T @ ((coefficients / steps).round_() * steps) @ transform
    return restored.transpose(3, 4).reshape(batch, channels, height, width)


def _cosine_transform(like: Tensor) -> Float[Tensor, "8 8"]:
    """Return the orthonormal 8-point DCT-II: row k holds the k-th cosine."""
    position = torch.arange(BLOCK, dtype=like.dtype, device=like.device)
    waves = torch.cos(math.pi / BLOCK * (position + 0.5) * position[:, None]) / 2
    waves[0] /= math.sqrt(2)
    return waves
