"""Values known here and there, continued smoothly to everywhere (Gortler et al. 1996, Section 3.5.2)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

_SMALLEST = 2
_PRIOR_WEIGHT = np.float32(1e-4)


def pull_push(
    values: Float32[np.ndarray, "height width channels"],
    weights: Float32[np.ndarray, "height width"],
    prior: Float32[np.ndarray, " channels"],
) -> Float32[np.ndarray, "height width channels"]:
    """Continue values into where their weights are low.

    Args:
        values: What is known; anything finite where the weight is 0.
        weights: How well, in [0, 1]; at 1 a value stays as it is.
        prior: What is assumed where nothing at all is known.
    """
    height, width = weights.shape
    if min(height, width) <= _SMALLEST:
        total = weights.sum() + _PRIOR_WEIGHT
        mean = (np.einsum("yxc,yx->c", values, weights) + prior * _PRIOR_WEIGHT) / total
        coarse = np.broadcast_to(mean, values.shape)
    else:
        sums, parts = _halved(values * weights[..., None]), _halved(weights[..., None])
        known = sums / np.maximum(parts, np.float32(1e-9))
        coarse = pull_push(known, np.minimum(parts[..., 0], 1), prior)
        coarse = _doubled(coarse, height, width)
    return np.asarray(coarse + (values - coarse) * weights[..., None], np.float32)


def _halved(
    values: Float32[np.ndarray, "height width channels"],
) -> Float32[np.ndarray, "rows columns channels"]:
    """Return the sums of blocks of 2 x 2; what lies beyond the edge is 0."""
    height, width, channels = values.shape
    even = np.zeros((height + height % 2, width + width % 2, channels), np.float32)
    even[:height, :width] = values
    return even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]


def _doubled(
    values: Float32[np.ndarray, "rows columns channels"], height: int, width: int
) -> Float32[np.ndarray, "height width channels"]:
    """Return twice as many values in each direction, interpolated linearly between the blocks' middles."""
    for axis, count in ((0, height), (1, width)):
        moved = np.moveaxis(values, axis, 0)
        padded = np.concatenate([moved[:1], moved, moved[-1:]])
        finer = np.empty((2 * len(moved), *moved.shape[1:]), np.float32)
        finer[::2] = np.float32(0.75) * moved + np.float32(0.25) * padded[:-2]
        finer[1::2] = np.float32(0.75) * moved + np.float32(0.25) * padded[2:]
        values = np.moveaxis(finer[:count], 0, axis)
    return values
