"""A chain of layers in integers as an ONNX graph that every engine reads: QuantizeLinear, DequantizeLinear.

Each layer takes dequantised answers and weights and its own answer is quantised: engines that know integers
(ONNX Runtime, OpenVINO) fuse the four into one integer layer, and others compute the same in floats.

Integer convolutions want input channels in multiples of four, which crops don't have. Where the first
convolution steps over as many pixels across as divide a row, that many pixels lie together in memory and
are taken as one with three times as many channels: the kernel is spread over them, filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from inversefacenet.camera import CROP_SIZE
from training.layer_chain import Convolution
from training.onnx_graph import Graph
from training.quantisation import SUM_ZERO, Quantised

_CHANNELS: Final = 3


def add_integer_chain(graph: Graph, layers: Sequence[Quantised]) -> None:
    """Add a network, from the crops to the parameters.

    Args:
        graph: An empty graph.
        layers: The network's layers.
    """
    first, value, right = _taken(graph, layers[0])
    flat = False
    taken: list[str] = []
    for place, quantised in enumerate([first, *layers[1:]]):
        if not isinstance(quantised.layer, Convolution) and not flat:
            value, flat = graph.node("Flatten", [value], axis=1), True
        value = _dequantise(graph, value, quantised.input_scale, quantised.input_zero)
        taken.append(value)
        value = _answer(graph, value, quantised, right if place == 0 else 0)
        if quantised.sum_scale is not None:
            value = _quantise(graph, value, quantised.sum_scale, SUM_ZERO)
            value = _dequantise(graph, value, quantised.sum_scale, SUM_ZERO)
            value = graph.node("Add", [value, taken[-1 - quantised.layer.shortcut]])
        if quantised.layer.rectified:
            value = graph.node("Relu", [value])
        if quantised.output_scale is None:
            break
        value = _quantise(graph, value, quantised.output_scale, quantised.output_zero)
        if isinstance(quantised.layer, Convolution) and quantised.layer.pooling:
            side, step = quantised.layer.pooling
            value = graph.node("MaxPool", [value], kernel_shape=[side, side], strides=[step, step])
    graph.answer(value)


def _quantise(graph: Graph, value: str, scale: np.float32, zero: int) -> str:
    return graph.node("QuantizeLinear", [value, graph.constant(scale), graph.constant(np.uint8(zero))])


def _dequantise(graph: Graph, value: str, scale: np.float32, zero: int) -> str:
    return graph.node("DequantizeLinear", [value, graph.constant(scale), graph.constant(np.uint8(zero))])


def _answer(graph: Graph, value: str, quantised: Quantised, right: int) -> str:
    """Add a layer; `right` is how much less or more is padded on the right than on the left."""
    layer = quantised.layer
    zeros = graph.constant(np.zeros(len(quantised.weight_scale), np.int8))
    scale = graph.constant(quantised.weight_scale)
    weight = graph.node("DequantizeLinear", [graph.constant(quantised.weight), scale, zeros], axis=0)
    bias_scale = graph.constant((quantised.input_scale * quantised.weight_scale).astype(np.float32))
    bias = graph.node("DequantizeLinear", [graph.constant(quantised.bias), bias_scale], axis=0)
    if not isinstance(layer, Convolution):
        return graph.node("Gemm", [value, weight, bias], transB=1)
    down, across = layer.padding
    return graph.node(
        "Conv",
        [value, weight, bias],
        strides=list(layer.stride),
        pads=[down, across, down, across + right],
        kernel_shape=list(quantised.weight.shape[2:]),
        group=layer.groups,
    )


def _taken(graph: Graph, first: Quantised) -> tuple[Quantised, str, int]:
    """Return the first layer as it takes crops, the crops with channels first, and more padding right."""
    value, right = graph.taken, 0
    layer = first.layer
    if isinstance(layer, Convolution) and layer.stride[1] > 1 and CROP_SIZE % layer.stride[1] == 0:
        first, right = _spread(first, layer)
        step = layer.stride[1]
        shape = np.array([0, CROP_SIZE, CROP_SIZE // step, _CHANNELS * step], np.int64)
        value = graph.node("Reshape", [value, graph.constant(shape)])
    return first, graph.node("Transpose", [value], perm=[0, 3, 1, 2]), right


def _spread(first: Quantised, layer: Convolution) -> tuple[Quantised, int]:
    """Spread the kernel over blocks of as many pixels as it steps across."""
    down, step = layer.stride
    outputs, channels, height, width = first.weight.shape
    left = -(-layer.padding[1] // step)
    before = left * step - layer.padding[1]
    blocks = -(-(before + width) // step)
    weight = np.zeros((outputs, channels, height, blocks * step), np.int8)
    weight[..., before : before + width] = first.weight
    weight = weight.reshape(outputs, channels, height, blocks, step).transpose(0, 4, 1, 2, 3)
    weight = np.ascontiguousarray(weight.reshape(outputs, step * channels, height, blocks))
    answers = (CROP_SIZE + 2 * layer.padding[1] - width) // step + 1
    right = answers - 1 + blocks - left - CROP_SIZE // step
    spread = replace(layer, stride=(down, 1), padding=(layer.padding[0], left))
    return replace(first, layer=spread, weight=weight), right - left
