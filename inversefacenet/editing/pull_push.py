"""A grid of which few cells are known, filled smoothly (Gortler et al. 1996)."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float32

from inversefacenet.compilation import compiled


def pull_push(
    values: Float32[np.ndarray, "height width channels"], weights: Float32[np.ndarray, "height width"]
) -> Float32[np.ndarray, "height width channels"]:
    """Fill a grid smoothly from its known cells (Gortler et al. 1996).

    Args:
        values: Sums of the known values; they are overwritten.
        weights: Their number in each cell; they are overwritten.
    """
    _normalise(values, weights)
    if min(weights.shape) > 2:
        height, width = (side + 1 for side in weights.shape)
        coarse = np.zeros((height // 2, width // 2, values.shape[2]), np.float32)
        coarse_weights = np.zeros(coarse.shape[:2], np.float32)
        _pull(values, weights, coarse, coarse_weights)
        _push(values, weights, pull_push(coarse, coarse_weights))
    elif weights.any():
        mean = (values * weights[..., None]).sum(axis=(0, 1)) / weights.sum()
        values[weights <= 0] = mean
    return values


@compiled
@no_type_check
def _normalise(values: Any, weights: Any) -> None:
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            w = weights[i, j]
            if w > 0:
                for k in range(values.shape[2]):
                    values[i, j, k] /= w
                weights[i, j] = min(w, np.float32(1))


@compiled
@no_type_check
def _pull(values: Any, weights: Any, coarse: Any, coarse_weights: Any) -> None:
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            w = weights[i, j]
            if w > 0:
                for k in range(values.shape[2]):
                    coarse[i // 2, j // 2, k] += w * values[i, j, k]
                coarse_weights[i // 2, j // 2] += w


@compiled
@no_type_check
def _push(values: Any, weights: Any, coarse: Any) -> None:
    rows, columns = coarse.shape[0], coarse.shape[1]
    near, far = np.float32(0.75), np.float32(0.25)
    for i in range(values.shape[0]):
        ci = i // 2
        oi = min(max(ci + (1 if i % 2 else -1), 0), rows - 1)
        for j in range(values.shape[1]):
            w = weights[i, j]
            if w >= 1:
                continue
            cj = j // 2
            oj = min(max(cj + (1 if j % 2 else -1), 0), columns - 1)
            for k in range(values.shape[2]):
                up = near * (near * coarse[ci, cj, k] + far * coarse[ci, oj, k]) + far * (
                    near * coarse[oi, cj, k] + far * coarse[oi, oj, k]
                )
                values[i, j, k] = w * values[i, j, k] + (np.float32(1) - w) * up
