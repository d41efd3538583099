"""sRGB encoding and spherical-harmonics light on torch tensors (Kim et al. 2018, Eq. 4).

The same definitions as `inversefacenet.colour` and `inversefacenet.illumination`, differentiable and on
any device; the tests hold the two together.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from inversefacenet.illumination import SQRT3, SQRT5, SQRT15

_LINEAR_LIMIT = 0.0031308
_ENCODED_LIMIT = 0.04045


def srgb_encode(linear: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Clip linear light to [0, 1] and encode it as sRGB in [0, 1]."""
    clipped = linear.clamp(0, 1)
    # The power's base is kept off 0, where its slope would be infinite and spoil the gradient.
    curve = clipped.clamp(min=_LINEAR_LIMIT).pow(1 / 2.4).mul(1.055).sub(0.055)
    return torch.where(clipped <= _LINEAR_LIMIT, clipped * 12.92, curve)


def srgb_decode(encoded: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Decode sRGB in [0, 1] to linear light in [0, 1]."""
    clipped = encoded.clamp(0, 1)
    curve = clipped.add(0.055).div(1.055).pow(2.4)
    return torch.where(clipped <= _ENCODED_LIMIT, clipped / 12.92, curve)


def sh_irradiance(
    normals: Float[Tensor, "3 vertices batch"], coefficients: Float[Tensor, "batch 9 3"]
) -> Float[Tensor, "3 vertices batch"]:
    """Return the RGB irradiance at surface points, at least 0 (Kim et al. 2018, Eq. 4).

    Args:
        normals: Unit normals in camera axes, one plane per coordinate.
        coefficients: Irradiance coefficients, an RGB row per basis function.

    Returns:
        One plane per colour channel.
    """
    x, y, z = normals
    functions = (
        SQRT3 * y,
        SQRT3 * z,
        SQRT3 * x,
        SQRT15 * x * y,
        SQRT15 * y * z,
        SQRT5 / 2 * (3 * z * z - 1),
        SQRT15 * x * z,
        SQRT15 / 2 * (x * x - y * y),
    )
    channels = []
    for channel in range(3):
        light = coefficients[:, 0, channel].expand_as(x)
        for index, function in enumerate(functions, start=1):
            light = torch.addcmul(light, function, coefficients[:, index, channel])
        channels.append(light.clamp(min=0))
    return torch.stack(channels)
