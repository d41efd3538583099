"""Take out of dense layers what no crop uses: hidden units that never answer, and directions never taken.

Both are read off many crops. A rectified unit that is 0 for all of them is left out. The answers of a dense
layer without rectification, between two others, that lie in fewer directions than it has outputs are kept in
those directions alone. The directions are then turned at random, so that each output carries alike much and
8 bits suit all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from training.layer_chain import Convolution, Dense, Layer, run

LOST: Final = 1e-4
"""Largest share of the answers' variance that left-out directions may hold together."""

MULTIPLE: Final = 16
"""Layers keep a multiple of this many outputs: whole registers of the processor."""

_SEED: Final = 6


def pruned(chain: Sequence[Layer], crops: UInt8[np.ndarray, "faces 240 240 3"]) -> list[Layer]:
    """Return the chain without what none of the crops uses.

    Args:
        chain: A network.
        crops: Crops of all kinds that the network may meet, some thousands.
    """
    result = list(chain)
    inner = [i for i in range(len(chain) - 1) if isinstance(chain[i], Dense)]
    largest = {i: np.full(len(chain[i].bias), -np.inf, np.float32) for i in inner}
    total = {i: np.zeros(len(chain[i].bias)) for i in inner}
    square = {i: np.zeros((len(chain[i].bias),) * 2) for i in inner if not chain[i].rectified}
    for values in run(chain, crops):
        for i in inner:
            part = values[i].value.numpy()
            largest[i] = np.maximum(largest[i], part.max(axis=0))
            if i in square:
                total[i] += part.sum(axis=0, dtype=np.float64)
                square[i] += part.T.astype(np.float64) @ part
    for i in inner:
        if i in square:
            mean = total[i] / len(crops)
            covariance = square[i] / len(crops) - np.outer(mean, mean)
            _keep_directions(result, i, mean, covariance)
        else:
            _keep_units(result, i, largest[i])
    return result


def _keep_units(chain: list[Layer], index: int, largest: Float32[np.ndarray, "units"]) -> None:
    """Leave units out that never answered, as far as a round number is left."""
    layer, following = _pair(chain, index)
    count = _round(int((largest > 0).sum()), len(largest))
    kept = np.sort(np.argsort(-largest, kind="stable")[:count])
    chain[index] = replace(layer, weight=layer.weight[kept], bias=layer.bias[kept])
    chain[index + 1] = replace(following, weight=np.ascontiguousarray(following.weight[:, kept]))


def _keep_directions(
    chain: list[Layer],
    index: int,
    mean: Float64[np.ndarray, "units"],
    covariance: Float64[np.ndarray, "units units"],
) -> None:
    """Keep the answers' main directions around their mean; the following layer's bias takes the rest."""
    layer, following = _pair(chain, index)
    variance, directions = np.linalg.eigh(covariance)
    share = np.cumsum(np.maximum(variance, 0)) / max(variance.clip(0).sum(), 1e-30)
    count = _round(int((share > LOST).sum()), len(mean))
    basis = directions[:, len(mean) - count :]
    turn, _ = np.linalg.qr(np.random.default_rng(_SEED).normal(size=(count, count)))
    basis = basis @ turn
    onto = following.weight.astype(np.float64)
    rest = mean - basis @ (basis.T @ mean)
    chain[index] = replace(
        layer,
        weight=(basis.T @ layer.weight).astype(np.float32),
        bias=(basis.T @ layer.bias).astype(np.float32),
    )
    chain[index + 1] = replace(
        following,
        weight=(onto @ basis).astype(np.float32),
        bias=(following.bias + onto @ rest).astype(np.float32),
    )


def _pair(chain: list[Layer], index: int) -> tuple[Dense, Dense]:
    layer, following = chain[index], chain[index + 1]
    assert not isinstance(layer, Convolution)
    assert not isinstance(following, Convolution)
    return layer, following


def _round(count: int, most: int) -> int:
    return min(most, max(MULTIPLE, -(-count // MULTIPLE) * MULTIPLE))
