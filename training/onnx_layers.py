"""A network's layers as nodes of an ONNX graph; batch normalisation is folded into the convolutions."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from inversefacenet.errors import InputError
from training.encoder import Encoder
from training.fast_network import FastNetwork, Shortcut
from training.network import FEATURE_COUNT, AlexNet
from training.onnx_graph import Graph
from training.resnet import Bottleneck, ResNet

POOLED_AFTER: Final = (0, 3, 10)


def add_encoder(graph: Graph, network: Encoder, rank: int) -> None:
    """Add a network, from the crops to the parameters.

    Args:
        graph: An empty graph.
        network: A trained network.
        rank: Rank of AlexNet's two large layers, if they were trained whole; 0 leaves them so.

    Raises:
        InputError: If the architecture can't be exported.
    """
    value = graph.crops()
    if isinstance(network, AlexNet):
        value = _alexnet(graph, value, network, rank)
    elif isinstance(network, ResNet):
        value = _resnet(graph, value, network)
    elif isinstance(network, FastNetwork):
        value = _fast(graph, value, network)
    else:
        raise InputError(f"{type(network).__name__} can't be exported: AlexNet, ResNet and FastNetwork can.")
    graph.answer(value)


def _alexnet(graph: Graph, value: str, network: AlexNet, rank: int) -> str:
    for name, convolution, norm in named_convolutions(network):
        value = _convolve(graph, value, convolution, norm)
        value = graph.node("Relu", [value])
        if name in POOLED_AFTER:
            value = graph.node("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2])
    value = graph.node("Reshape", [value, graph.constant(np.array([-1, FEATURE_COUNT], np.int64))])
    for index in (1, 4, 6):
        for matrix, shift in factors(network.classifier[index], rank if index != 6 else 0):
            value = graph.node("MatMul", [value, graph.eighth(matrix.T)])
            if shift is not None:
                value = graph.node("Add", [value, graph.constant(shift)])
        if index != 6:
            value = graph.node("Relu", [value])
    return value


def _resnet(graph: Graph, value: str, network: ResNet) -> str:
    value = graph.node("Relu", [_convolve(graph, value, network.conv1, network.bn1)])
    value = graph.node("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for block in network.blocks:
        value = _bottleneck(graph, value, block)
    value = graph.node("Flatten", [graph.node("GlobalAveragePool", [value])], axis=1)
    ((matrix, shift),) = factors(network.fc, 0)
    value = graph.node("MatMul", [value, graph.half(matrix.T)])
    return graph.node("Add", [value, graph.constant(shift)])


def _bottleneck(graph: Graph, value: str, block: Bottleneck) -> str:
    shortcut = value
    if block.downsample is not None:
        convolution, norm = block.downsample
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        shortcut = _convolve(graph, value, convolution, norm)
    value = graph.node("Relu", [_convolve(graph, value, block.conv1, block.bn1)])
    value = graph.node("Relu", [_convolve(graph, value, block.conv2, block.bn2)])
    value = _convolve(graph, value, block.conv3, block.bn3)
    return graph.node("Relu", [graph.node("Add", [value, shortcut])])


def _fast(graph: Graph, value: str, network: FastNetwork) -> str:
    value = graph.node("AveragePool", [value], kernel_shape=[2, 2], strides=[2, 2])
    for layer in network.layers():
        if isinstance(layer, Shortcut):
            inner = graph.node("Relu", [_convolve(graph, value, layer.conv1, layer.bn1)])
            inner = _convolve(graph, inner, layer.conv2, layer.bn2)
            value = graph.node("Relu", [graph.node("Add", [inner, value])])
        else:
            value = graph.node("Relu", [_convolve(graph, value, *layer)])
    value = graph.node("Flatten", [value], axis=1)
    ((matrix, shift),) = factors(network.fc, 0)
    value = graph.node("MatMul", [value, graph.eighth(matrix.T)])
    value = graph.node("Relu", [graph.node("Add", [value, graph.constant(shift)])])
    ((matrix, shift),) = factors(network.out, 0)
    value = graph.node("MatMul", [value, graph.half(matrix.T)])
    return graph.node("Add", [value, graph.constant(shift)])


def _convolve(graph: Graph, value: str, convolution: nn.Conv2d, norm: nn.BatchNorm2d | None) -> str:
    weight, bias = fold_batch_norm(convolution, norm)
    padding = convolution.padding
    assert not isinstance(padding, str)
    return graph.node(
        "Conv",
        [value, graph.half(weight), graph.constant(bias)],
        strides=list(convolution.stride),
        pads=[*padding, *padding],
        kernel_shape=list(convolution.kernel_size),
    )


def fold_batch_norm(
    convolution: nn.Conv2d, norm: nn.BatchNorm2d | None
) -> tuple[Float32[np.ndarray, "out in height width"], Float32[np.ndarray, "out"]]:
    """Return weights and bias of the one convolution that does what both do at inference."""
    weight = convolution.weight.detach().double()
    bias = torch.zeros(weight.shape[0], dtype=torch.float64)
    if convolution.bias is not None:
        bias = convolution.bias.detach().double()
    if norm is not None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = weight * gain[:, None, None, None]
        bias = norm.bias.detach().double() + (bias - norm.running_mean.double()) * gain
    return weight.float().numpy(), bias.float().numpy()


def named_convolutions(network: AlexNet) -> list[tuple[int, nn.Conv2d, nn.BatchNorm2d | None]]:
    """Return AlexNet's convolutions in order, each with its name and its normalisation."""
    layers = dict(network.features.named_children())
    found = []
    for name, layer in layers.items():
        if isinstance(layer, nn.Conv2d):
            norm = layers.get(f"{name}_norm")
            assert norm is None or isinstance(norm, nn.BatchNorm2d)
            found.append((int(name), layer, norm))
    return found


def factors(
    layer: nn.Module, rank: int
) -> list[tuple[Float32[np.ndarray, "out in"], Float32[np.ndarray, "out"] | None]]:
    """Return a fully connected layer as a chain of matrices, of reduced rank where that is asked for."""
    if isinstance(layer, nn.Sequential):
        down, up = layer
        assert isinstance(down, nn.Linear)
        assert isinstance(up, nn.Linear)
        return [
            (down.weight.detach().numpy(), None),
            (up.weight.detach().numpy(), up.bias.detach().numpy()),
        ]
    assert isinstance(layer, nn.Linear)
    weight, bias = layer.weight.detach(), layer.bias.detach().numpy()
    if not rank:
        return [(weight.numpy(), bias)]
    u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    root = s[:rank].sqrt()
    return [((root[:, None] * vt[:rank]).numpy(), None), ((u[:, :rank] * root).numpy(), bias)]
