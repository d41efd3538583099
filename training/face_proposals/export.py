"""Write a trained proposal network as the file that `inversefacenet.face_proposals` reads.

Convention:
    Input `picture`: uint8 [1, 3, rows, columns], rows and columns multiples of 16. Outputs `small`, `medium`
    and `large`: float32 [1, 4, ..], see `training.face_proposals.network`. The batch norms are folded into
    the convolutions, whose weights are kept in 16 bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
import torch
from torch import nn

from training.face_proposals.network import STRIDES, WIDTHS, ProposalNetwork

OUTPUTS: Final = ("small", "medium", "large")
OPSET: Final = 17


def onnx_bytes(network: ProposalNetwork, metadata: dict[str, str]) -> bytes:
    """Return the file's content.

    Args:
        network: Trained, in evaluation mode.
        metadata: What the file says of itself, beside its strides and widths.
    """
    writer = _Writer()
    value = writer.node("Cast", ["picture"], to=onnx.TensorProto.FLOAT)
    value = writer.node("Sub", [value, writer.constant(np.float32(127.5))])
    quarter = writer.block(network.quarter, writer.block(network.stem, value, 1 / 127.5))
    eighth = writer.block(network.eighth_more, writer.block(network.eighth, quarter))
    sixteenth = writer.block(network.sixteenth, eighth)
    sixteenth = writer.block(network.sixteenth_last, writer.block(network.sixteenth_more, sixteenth))
    eighth = writer.block(network.eighth_last, writer.raised(network.down_to_eighth, sixteenth, eighth))
    quarter = writer.block(network.quarter_last, writer.raised(network.eighth_to_quarter, eighth, quarter))
    for head, value, name in zip(network.heads, (quarter, eighth, sixteenth), OUTPUTS, strict=True):
        assert isinstance(head, nn.Conv2d)
        writer.convolution(head, value, output=name)
    numbers = {
        "strides": ",".join(map(str, STRIDES)),
        "widths": ",".join(map(str, WIDTHS)),
    }
    return writer.serialise(metadata | numbers)


class _Writer:
    """Collects nodes and constants in the order of computation."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def node(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        name = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array: Any) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def half(self, array: Any) -> str:
        kept = self.constant(np.asarray(array).astype(np.float16))
        return self.node("Cast", [kept], to=onnx.TensorProto.FLOAT)

    def convolution(
        self,
        layer: nn.Conv2d,
        value: str,
        norm: nn.BatchNorm2d | None = None,
        scale: float = 1.0,
        output: str | None = None,
    ) -> str:
        """Add a convolution; a batch norm after it and a factor of its input are folded in."""
        weight = layer.weight.detach().double() * scale
        bias = torch.zeros(len(weight)).double() if layer.bias is None else layer.bias.detach().double()
        if norm is not None:
            assert norm.running_var is not None
            assert norm.running_mean is not None
            factor = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
            weight = weight * factor[:, None, None, None]
            bias = (bias - norm.running_mean.double()) * factor + norm.bias.detach().double()
        pad = layer.kernel_size[0] // 2
        return self.node(
            "Conv",
            [value, self.half(weight.numpy()), self.constant(bias.float().numpy())],
            output,
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            pads=[pad] * 4,
        )

    def block(self, block: nn.Sequential, value: str, scale: float = 1.0) -> str:
        layer, norm = block[0], block[1]
        assert isinstance(layer, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        return self.node("Relu", [self.convolution(layer, value, norm, scale)])

    def raised(self, layer: nn.Conv2d, coarse: str, fine: str) -> str:
        """Add the coarse map, convolved and doubled in size, to the finer one."""
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        doubled = self.node(
            "Resize",
            [self.convolution(layer, coarse), "", scales],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        return self.node("Relu", [self.node("Add", [fine, doubled])])

    def serialise(self, metadata: dict[str, str]) -> bytes:
        helper, kinds = onnx.helper, onnx.TensorProto
        picture = helper.make_tensor_value_info("picture", kinds.UINT8, [1, 3, "rows", "columns"])
        maps = [
            helper.make_tensor_value_info(n, kinds.FLOAT, [1, 4, f"{n}_rows", f"{n}_columns"])
            for n in OUTPUTS
        ]
        graph = helper.make_graph(self._nodes, "face_proposals", [picture], maps, self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="inversefacenet"
        )
        model.ir_version = 8
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())
