"""Trained networks as plain chains of layers (`training.layer_chain`): AlexNet and the fast network."""

from __future__ import annotations

import numpy as np
from torch import nn

from inversefacenet.errors import InputError
from training.encoder import Encoder
from training.fast_network import FastNetwork, Shortcut
from training.layer_chain import Convolution, Dense, Layer
from training.network import AlexNet
from training.onnx_layers import POOLED_AFTER, factors, fold_batch_norm, named_convolutions

_POOLING = (3, 2)
_HALF = 2


def encoder_chain(network: Encoder, rank: int) -> list[Layer]:
    """Return a network's layers, from the normalised crops to the parameters.

    Args:
        network: A trained network.
        rank: Rank of AlexNet's two large layers, if they were trained whole; 0 leaves them so.

    Raises:
        InputError: If the architecture is no plain chain.
    """
    if isinstance(network, AlexNet):
        return _alexnet(network, rank)
    if isinstance(network, FastNetwork):
        return _fast(network)
    raise InputError(f"{type(network).__name__} can't be put into 8 bits: AlexNet and FastNetwork can.")


def _alexnet(network: AlexNet, rank: int) -> list[Layer]:
    chain: list[Layer] = [
        _convolution(convolution, norm, pooling=_POOLING if name in POOLED_AFTER else None)
        for name, convolution, norm in named_convolutions(network)
    ]
    for index in (1, 4, 6):
        parts = factors(network.classifier[index], rank if index != 6 else 0)
        for place, (matrix, shift) in enumerate(parts):
            bias = np.zeros(len(matrix), np.float32) if shift is None else shift
            rectified = index != 6 and place == len(parts) - 1
            chain.append(Dense(np.ascontiguousarray(matrix), bias, rectified))
    return chain


def _fast(network: FastNetwork) -> list[Layer]:
    chain: list[Layer] = []
    for layer in network.layers():
        if isinstance(layer, Shortcut):
            chain.append(_convolution(layer.conv1, layer.bn1))
            chain.append(_convolution(layer.conv2, layer.bn2, shortcut=1))
        else:
            chain.append(_convolution(*layer))
    chain[0] = _whole(chain[0])
    for linear, rectified in ((network.fc, True), (network.out, False)):
        ((matrix, shift),) = factors(linear, 0)
        assert shift is not None
        chain.append(Dense(matrix, shift, rectified))
    return chain


def _whole(first: Layer) -> Convolution:
    """Return the convolution of whole crops that does what this one does to halved ones."""
    assert isinstance(first, Convolution)
    weight = first.weight.repeat(_HALF, axis=2).repeat(_HALF, axis=3) / _HALF**2
    down, across = first.stride
    above, beside = first.padding
    return Convolution(
        weight.astype(np.float32), first.bias, (_HALF * down, _HALF * across), (_HALF * above, _HALF * beside)
    )


def _convolution(
    convolution: nn.Conv2d,
    norm: nn.BatchNorm2d | None,
    pooling: tuple[int, int] | None = None,
    shortcut: int = 0,
) -> Convolution:
    weight, bias = fold_batch_norm(convolution, norm)
    padding = convolution.padding
    assert not isinstance(padding, str)
    down, across = convolution.stride
    above, beside = padding
    return Convolution(weight, bias, (down, across), (above, beside), pooling, convolution.groups, shortcut)
