"""Photographic augmentation: rendered faces are made to look as detectors' crops of photos do.

Convention:
    Rendered pictures come in linear RGB, not masked, so that blur and noise mix with what lies beside the
    mask, as in a photo. The order is that of a photo's life: light and exposure, what stands behind and
    in front of the face, sRGB encoding, tone curve, `training.degradations`; at last the mask, so that
    everything outside it stays exactly black. Multiplying the light's coefficients by a gain equals
    multiplying the linear picture by it, so gains change theta too, and exactly.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Generator, Tensor

from inversefacenet.parameters import ILLUMINATION
from training.augmentation_options import AugmentationOptions as AugmentationOptions
from training.degradations import degrade
from training.draws import dull_colours, normal, smooth_field, uniform
from training.occluders import occlude
from training.torch_renderer import RenderedCrops, to_uint8
from training.torch_shading import srgb_decode, srgb_encode


def augment_rendered(
    rendered: RenderedCrops,
    theta: Float[Tensor, "batch 350"],
    options: AugmentationOptions,
    generator: Generator,
) -> tuple[UInt8[Tensor, "batch size size 3"], Float[Tensor, "batch 350"]]:
    """Turn rendered faces into training crops.

    Args:
        rendered: What `render_crops` returned.
        theta: The parameters it was rendered from.
        options: What to do.
        generator: Source of all randomness, on the device of the pictures.

    Returns:
        Masked 8-bit sRGB crops, and the parameters that describe them.
    """
    gains = draw_gains(len(theta), options, generator)
    linear, theta = apply_gains(rendered.linear.detach(), theta.detach(), gains)
    covered = rendered.covered if options.background else None
    return augment_linear(
        linear, rendered.masks, rendered.landmarks.detach(), options, generator, covered
    ), theta


def augment_crops(
    crops: UInt8[np.ndarray, "batch size size 3"],
    masks: Bool[np.ndarray, "batch size size"],
    landmarks: Float[np.ndarray, "batch 68 2"],
    options: AugmentationOptions,
    generator: Generator,
) -> UInt8[np.ndarray, "batch size size 3"]:
    """Augment crops of photos, or stored renderings, whose light is not known.

    Gains are left out, as there is no theta to correct.

    Args:
        crops: 8-bit sRGB crops, masked or not.
        masks: Their face regions.
        landmarks: Their 68 landmarks in crop pixels.
        options: What to do.
        generator: Source of all randomness, on a CPU.
    """
    linear = srgb_decode(torch.from_numpy(crops).float() / 255)
    inside = torch.from_numpy(masks)
    # What was masked away takes the face's mean colour, so that blur brings no black in.
    weights = inside[..., None].float()
    mean = (linear * weights).sum(dim=(1, 2), keepdim=True) / weights.sum(dim=(1, 2), keepdim=True).clamp(
        min=1
    )
    linear = torch.where(inside[..., None], linear, mean)
    points = torch.from_numpy(landmarks).float()
    return augment_linear(linear, inside, points, options, generator).numpy()


@torch.no_grad()
def augment_linear(
    linear: Float[Tensor, "batch size size 3"],
    masks: Bool[Tensor, "batch size size"],
    landmarks: Float[Tensor, "batch 68 2"],
    options: AugmentationOptions,
    generator: Generator,
    covered: Bool[Tensor, "batch size size"] | None = None,
) -> UInt8[Tensor, "batch size size 3"]:
    """Apply every step but the gains.

    Args:
        linear: Linear RGB pictures, not masked.
        masks: The face regions: what lies outside becomes black.
        landmarks: The 68 landmarks in pixels.
        options: What to do.
        generator: Source of all randomness, on the device of the pictures.
        covered: Where there is a picture; the rest takes a random background. By default everywhere.
    """
    pictures = linear.permute(0, 3, 1, 2).contiguous()
    if covered is not None:
        pictures = torch.where(covered[:, None], pictures, draw_backgrounds(pictures, generator))
    pictures = occlude(pictures, landmarks, options.occluders, generator)
    encoded = apply_tone(srgb_encode(pictures), options, generator)
    degraded = degrade(encoded, options.degradations, generator)
    return to_uint8(degraded.clamp_(0, 1).permute(0, 2, 3, 1) * masks[..., None])


def draw_gains(count: int, options: AugmentationOptions, generator: Generator) -> Float[Tensor, "batch 3"]:
    """Draw gains of the linear channels: exposure times white balance."""
    exposure = normal(generator, (count, 1), options.exposure)
    return torch.exp(exposure + normal(generator, (count, 3), options.white_balance))


def apply_gains(
    linear: Float[Tensor, "batch size size 3"],
    theta: Float[Tensor, "batch 350"],
    gains: Float[Tensor, "batch 3"],
) -> tuple[Float[Tensor, "batch size size 3"], Float[Tensor, "batch 350"]]:
    """Multiply pictures and their light by gains: exact, as colour is reflectance times light."""
    light = theta[:, ILLUMINATION].view(-1, 9, 3) * gains[:, None]
    changed = theta.clone()
    changed[:, ILLUMINATION] = light.reshape(len(theta), -1)
    return linear * gains[:, None, None], changed


def apply_tone(
    encoded: Float[Tensor, "batch 3 height width"], options: AugmentationOptions, generator: Generator
) -> Float[Tensor, "batch 3 height width"]:
    """Apply a monotone tone curve: a power of the encoded values, which keeps black and white."""
    exponent = torch.exp(normal(generator, (len(encoded), 1, 1, 1), options.tone))
    return encoded.pow(exponent)


def draw_backgrounds(
    like: Float[Tensor, "batch 3 size size"], generator: Generator
) -> Float[Tensor, "batch 3 size size"]:
    """Draw what stands behind the faces: a colour with smooth variations, dark or bright."""
    batch, _, _, size = like.shape
    colour = dull_colours(generator, batch)
    variation = smooth_field(generator, batch, 3, 6, size)
    return colour * torch.exp(uniform(generator, (batch, 1, 1, 1), 0.0, 0.6) * variation)


def draw_landmark_noise(
    count: int, deviation: float, generator: Generator, jaw_factor: float = 2.0
) -> Float[Tensor, "batch 68 2"]:
    """Draw errors like a landmark detector's, for `render_crops`.

    The jaw, which has no features to hold on to, moves more, and neighbours on it move together; all
    points of a face share a third of their error.

    Args:
        count: Number of faces.
        deviation: Standard deviation of a point's error per coordinate, in pixels, off the jaw.
        generator: Source of all randomness.
        jaw_factor: By how much more the jaw's points move.
    """
    noise = normal(generator, (count, 68, 2), deviation)
    jaw = torch.nn.functional.pad(noise[:, :17].mT, (2, 2), mode="replicate")
    # The mean of five has a root-five smaller deviation, which is restored.
    noise[:, :17] = torch.nn.functional.avg_pool1d(jaw, 5, 1).mT * 5**0.5 * jaw_factor
    return noise + normal(generator, (count, 1, 2), deviation / 3)
