"""Reproducible random draws from one torch generator, on the generator's device."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor


def uniform(generator: Generator, shape: tuple[int, ...], low: float, high: float) -> Float[Tensor, "..."]:
    """Draw from U(low, high)."""
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def normal(generator: Generator, shape: tuple[int, ...], deviation: float = 1.0) -> Float[Tensor, "..."]:
    """Draw from a normal distribution of mean 0."""
    return torch.randn(shape, generator=generator, device=generator.device) * deviation


def happens(generator: Generator, count: int, probability: float) -> Bool[Tensor, "count"]:
    """Draw independent events."""
    return torch.rand(count, generator=generator, device=generator.device) < probability


def smooth_field(
    generator: Generator, batch: int, channels: int, cells: int, size: int
) -> Float[Tensor, "batch channels size size"]:
    """Draw a smooth random field of values about N(0, 1): a coarse grid, enlarged."""
    grid = normal(generator, (batch, channels, cells, cells))
    return torch.nn.functional.interpolate(grid, size=(size, size), mode="bilinear", align_corners=True)


def dull_colours(generator: Generator, count: int) -> Float[Tensor, "count 3 1 1"]:
    """Draw linear colours as things have them: mostly dark, seldom saturated."""
    level = uniform(generator, (count, 1, 1, 1), 0.0, 1.0).square()
    vivid = uniform(generator, (count, 1, 1, 1), 0.0, 1.0).square()
    return level * (1 + vivid * uniform(generator, (count, 3, 1, 1), -1.0, 0.5))
