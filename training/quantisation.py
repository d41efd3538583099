"""Static 8-bit numbers for a chain of layers: scales of weights and answers, read off real crops.

Convention:
    A weight is an 8-bit integer in -127..127 times a scale of its output. What a layer answers is an unsigned
    8-bit integer less a zero point (0 for rectified answers, else 128) times one scale; the last layer's
    answer stays a float. A bias is a 32-bit integer of the input's scale times the weights'. Scales are those
    of the least squared error: rare large values are clipped so that all others are told apart more finely.
    Weights and answers so multiply as integers, which processors do four times as fast as floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, Int8, Int32, UInt8

from training.layer_chain import Layer, run

CROP_SCALE: Final = np.float32(1 / 255)
CROP_ZERO: Final = 128
CROP_SHIFT: Final = np.float32(0.5 / 255)
"""Crops are (level - 128) / 255 and this more: the first layer's bias takes it."""

SUM_ZERO: Final = 128
"""Zero point of answers that a shortcut is added to."""

_WEIGHT_TOP: Final = 127
_WEIGHT_CLIPS: Final = np.linspace(0.6, 1, 21)
_ANSWER_CLIPS: Final = np.linspace(0.15, 1, 60)
_SAMPLE: Final = 20_000
_SEED: Final = 5


@dataclass(frozen=True)
class Quantised:
    """A layer in integers.

    Attributes:
        layer: The layer in floats.
        weight: Its weights.
        weight_scale: Their scales.
        bias: Its biases; their scale is `input_scale` times `weight_scale`.
        input_scale: Scale of what it takes.
        input_zero: Zero point of what it takes.
        output_scale: Scale of what it answers; None for floats.
        output_zero: Zero point of what it answers.
        sum_scale: Scale of its answer before a shortcut is added, of zero point 128; None without one.
    """

    layer: Layer
    weight: Int8[np.ndarray, "out ..."]
    weight_scale: Float32[np.ndarray, "out"]
    bias: Int32[np.ndarray, "out"]
    input_scale: np.float32
    input_zero: int
    output_scale: np.float32 | None
    output_zero: int
    sum_scale: np.float32 | None = None


def quantised(chain: Sequence[Layer], crops: UInt8[np.ndarray, "faces 240 240 3"]) -> list[Quantised]:
    """Put a chain into integers.

    Args:
        chain: A network whose first layer takes normalised crops.
        crops: Crops as the network meets them, some hundreds; their answers set the scales.
    """
    scales, sums = _answer_scales(chain, crops)
    result: list[Quantised] = []
    scale, zero = CROP_SCALE, CROP_ZERO
    for place, (layer, answer) in enumerate(zip(chain, [*scales, None], strict=True)):
        weight, weight_scale = quantised_weight(layer.weight)
        bias = layer.bias
        if place == 0:
            axes = tuple(range(1, weight.ndim))
            bias = bias + CROP_SHIFT * weight_scale * weight.sum(axis=axes, dtype=np.float32)
        integers = np.rint(bias / (scale * weight_scale)).clip(-(2**31) + 1, 2**31 - 129).astype(np.int32)
        answer_zero = 0 if layer.rectified else 128
        result.append(
            Quantised(
                layer, weight, weight_scale, integers, scale, zero, answer, answer_zero, sums.get(place)
            )
        )
        if answer is not None:
            scale, zero = answer, answer_zero
    return result


def quantised_weight(
    weight: Float32[np.ndarray, "out ..."],
) -> tuple[Int8[np.ndarray, "out ..."], Float32[np.ndarray, "out"]]:
    """Return weights as integers, and the scale of each output."""
    rows = weight.reshape(len(weight), -1)
    top = np.maximum(np.abs(rows).max(axis=1), 1e-12) / _WEIGHT_TOP
    best, least = top, np.full(len(rows), np.inf)
    for clip in _WEIGHT_CLIPS:
        error = np.square(_rounded(rows, top * clip) * (top * clip)[:, None] - rows).sum(axis=1)
        best, least = np.where(error < least, top * clip, best), np.minimum(error, least)
    scale = best.astype(np.float32)
    return _rounded(rows, scale).astype(np.int8).reshape(weight.shape), scale


def _rounded(rows: Float32[np.ndarray, "out in"], scale: np.ndarray) -> Float32[np.ndarray, "out in"]:
    return np.rint(rows / scale[:, None].astype(np.float32)).clip(-_WEIGHT_TOP, _WEIGHT_TOP)


def _answer_scales(
    chain: Sequence[Layer], crops: UInt8[np.ndarray, "faces 240 240 3"]
) -> tuple[list[np.float32], dict[int, np.float32]]:
    """Return the scales of all answers but the last, and by layer those of answers that are added to."""
    rng = np.random.default_rng(_SEED)
    samples: list[list[np.ndarray]] = [[] for _ in chain[:-1]]
    sums: dict[int, list[np.ndarray]] = {i: [] for i, layer in enumerate(chain) if layer.shortcut}
    for found in run(chain, crops):
        for place, (kept, answer) in enumerate(zip(samples, found, strict=False)):
            kept += _sample(answer.value.numpy(), rng)
            if answer.sum is not None:
                sums[place] += _sample(answer.sum.numpy(), rng)
    scales = [
        _answer_scale(np.concatenate(kept), layer.rectified)
        for layer, kept in zip(chain[:-1], samples, strict=True)
    ]
    return scales, {place: _answer_scale(np.concatenate(kept), False) for place, kept in sums.items()}


def _sample(values: Float32[np.ndarray, "..."], rng: np.random.Generator) -> list[np.ndarray]:
    """Return some of the values, and the smallest and largest of all."""
    flat = values.ravel()
    chosen = rng.choice(flat, min(_SAMPLE, flat.size), replace=False)
    return [chosen, np.array([flat.min(), flat.max()])]


def _answer_scale(values: Float32[np.ndarray, "values"], rectified: bool) -> np.float32:
    """Return the scale of the least squared error."""
    low, high = (0, 255) if rectified else (-128, 127)
    top = max(float(np.abs(values).max()), 1e-6) / high
    errors = []
    for clip in _ANSWER_CLIPS:
        scale = np.float32(top * clip)
        errors.append(np.square(np.rint(values / scale).clip(low, high) * scale - values).mean())
    return np.float32(top * _ANSWER_CLIPS[int(np.argmin(errors))])
