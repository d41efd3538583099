"""Colours that a model keeps as a picture does, turned into linear reflectance.

The Basel models' colours come from photographs under diffuse light: 8-bit values in 2009, the same divided
by 255 in 2017 and 2019. Their files don't say which curve they follow; programs that render them show the
numbers as they are, so they are taken for sRGB. A linear model of encoded colours isn't linear in
reflectance, so its directions are linearised about the mean: each is multiplied by the decoding curve's
slope there. `linearisation_error` says what that costs.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from jaxtyping import Float32, Float64

from inversefacenet.colour import srgb_decode
from inversefacenet.errors import FaceModelError

Encoding = Literal["srgb", "linear"]
_STEP: Final = 1e-4
_DRAWS: Final = 16


def linearise(
    mean: Float64[np.ndarray, "coordinates"],
    columns: Float32[np.ndarray, "coordinates count"],
    encoding: Encoding = "srgb",
) -> tuple[Float64[np.ndarray, "coordinates"], Float32[np.ndarray, "coordinates count"], float]:
    """Turn a linear model of encoded colours into one of linear reflectance, to first order.

    Args:
        mean: Encoded mean colours, 0 to 1.
        columns: What one standard deviation of each direction adds to them.
        encoding: "linear" leaves everything as it is.

    Returns:
        Linear mean, linearised columns, and the error by `linearisation_error`.
    """
    if encoding == "linear":
        return mean, columns, 0.0
    clipped = np.clip(mean, _STEP, 1 - _STEP)
    slope = (srgb_decode(clipped + _STEP) - srgb_decode(clipped - _STEP)) / (2 * _STEP)
    linear = (columns * slope[:, None]).astype(np.float32)
    decoded = srgb_decode(mean)
    return decoded, linear, linearisation_error(mean, columns, decoded, linear)


def linearisation_error(
    mean: Float64[np.ndarray, "coordinates"],
    columns: Float32[np.ndarray, "coordinates count"],
    linear_mean: Float64[np.ndarray, "coordinates"],
    linear_columns: Float32[np.ndarray, "coordinates count"],
) -> float:
    """Return the RMS difference, over random faces, of the exact and the linearised reflectance."""
    draws = np.random.default_rng(0).normal(size=(columns.shape[1], _DRAWS)).astype(np.float32)
    exact = srgb_decode(mean[:, None] + columns @ draws)
    return float(np.sqrt(np.mean((exact - linear_mean[:, None] - linear_columns @ draws) ** 2)))


def check_colours(name: str, mean: Float64[np.ndarray, "coordinates"], full: float) -> None:
    """Check that mean colours are between 0 and what the model calls full.

    Raises:
        FaceModelError: If they aren't.
    """
    low, high = float(np.min(mean)), float(np.max(mean))
    if not (-0.05 * full <= low and 0.2 * full <= high <= 1.05 * full):
        raise FaceModelError(
            f"{name} goes from {low:.3g} to {high:.3g}, but colours of this model go from 0 to {full:g}: is "
            "it a file of another kind?"
        )
