"""What a camera and a file do to a picture: blur, lower resolution, noise, JPEG.

Convention:
    Pictures are sRGB planes `[batch, 3, height, width]` in [0, 1], on any device. Samples are taken in
    small groups that share a resolution, so that each group is processed at its own, smaller size;
    everything else is drawn for each sample.
"""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional

from training.augmentation_options import DegradationOptions as DegradationOptions
from training.draws import happens, normal, uniform
from training.jpeg import jpeg

GROUP_SIZE: Final = 4
"""Samples that share a resolution and a chroma subsampling, at least."""

MOST_GROUPS: Final = 16
"""Groups in a batch at most: where many faces are rendered at once, more of them share."""

_TAPS: Final = 11


def degrade(
    pictures: Float[Tensor, "batch 3 size size"], options: DegradationOptions, generator: Generator
) -> Float[Tensor, "batch 3 size size"]:
    """Degrade pictures as a camera, an upload and a detector's crop would, in that order.

    Args:
        pictures: sRGB in [0, 1].
        options: How strongly and how often.
        generator: Source of all randomness, on the pictures' device.
    """
    batch, _, size, _ = pictures.shape
    order = torch.randperm(batch, generator=generator, device=generator.device)
    groups = list(torch.split(order, max(GROUP_SIZE, -(-batch // MOST_GROUPS))))
    # One transfer for everything that the host has to know.
    host = torch.rand((len(groups), 3), generator=generator, device=generator.device).tolist()
    result = torch.empty_like(pictures)
    low, high = (bound * size / 240 for bound in options.resolution)
    for group, (loses, where, subsamples) in zip(groups, host, strict=True):
        small = round(low + (high - low) * where) if loses < options.resolution_probability else size
        result[group] = _degrade_group(pictures[group], small, subsamples < 0.8, options, generator)
    return result


def _degrade_group(
    pictures: Tensor, small: int, subsample: bool, options: DegradationOptions, generator: Generator
) -> Tensor:
    size = pictures.shape[-1]
    shrink = small / size
    if small < size:
        pictures = functional.interpolate(pictures, size=(small, small), mode="bilinear", antialias=True)
    pictures = blur(pictures, _draw_kernels(len(pictures), shrink, size / 240, options, generator))
    pictures = add_noise(pictures, options, generator).clamp_(0, 1)
    quality = uniform(generator, (len(pictures),), *options.jpeg_quality)
    coded = happens(generator, len(pictures), options.jpeg_probability)
    pictures = torch.where(coded[:, None, None, None], jpeg(pictures, quality, subsample), pictures)
    if small < size:
        pictures = functional.interpolate(pictures, size=(size, size), mode="bilinear")
    return pictures


def _draw_kernels(
    count: int, shrink: float, unit: float, options: DegradationOptions, generator: Generator
) -> Float[Tensor, "batch taps taps"]:
    """Draw blur kernels: a Gaussian of focus, drawn out along a direction by motion."""
    device = generator.device
    sigma = uniform(generator, (count,), *options.blur_sigma) * shrink * unit
    sigma = sigma * happens(generator, count, options.blur_probability)
    length = uniform(generator, (count,), *options.motion_length) * shrink * unit
    length = length * happens(generator, count, options.motion_probability)
    angle = uniform(generator, (count,), 0.0, torch.pi)
    offsets = torch.arange(_TAPS, device=device) - _TAPS // 2
    c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along = c * offsets + s * offsets[:, None]
    across = c * offsets[:, None] - s * offsets
    # 0.1 px in place of 0 leaves the centre tap alone. Uniform motion of length l has variance l^2 / 12.
    focus = sigma.square().clamp(min=0.01)[:, None, None]
    motion = focus + (length.square() / 12)[:, None, None]
    kernels = torch.exp(-along.square() / (2 * motion) - across.square() / (2 * focus))
    return kernels / kernels.sum(dim=(1, 2), keepdim=True)


def blur(
    pictures: Float[Tensor, "batch 3 height width"], kernels: Float[Tensor, "batch taps taps"]
) -> Float[Tensor, "batch 3 height width"]:
    """Blur each picture with its own kernel; beyond the border the border's pixels repeat."""
    batch, channels, height, width = pictures.shape
    reach = kernels.shape[-1] // 2
    padded = functional.pad(pictures, (reach,) * 4, mode="replicate")
    weights = kernels.repeat_interleave(channels, dim=0)[:, None]
    # Every plane is a channel of one picture, convolved with its own kernel.
    planes = padded.reshape(1, batch * channels, *padded.shape[2:])
    blurred = functional.conv2d(planes, weights, groups=len(weights))
    return blurred.view(batch, channels, height, width)


def add_noise(
    pictures: Float[Tensor, "batch 3 height width"], options: DegradationOptions, generator: Generator
) -> Float[Tensor, "batch 3 height width"]:
    """Add read noise and noise that grows with the root of brightness; the result is not clipped."""
    count = len(pictures)
    noisy = happens(generator, count, options.noise_probability)
    read, shot = (
        (uniform(generator, (count,), 0.0, limit) * noisy).square()[:, None, None, None]
        for limit in (options.read_noise, options.shot_noise)
    )
    return pictures + (read + shot * pictures).sqrt() * normal(generator, tuple(pictures.shape))
