"""An ONNX graph, written node by node; weights may be kept in 8 or 16 bits and widened in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float32

from inversefacenet.errors import MissingDependencyError

OPSET: Final = 17


class Graph:
    """Collects nodes and constants of an ONNX graph in the order of computation.

    Attributes:
        taken: What the network's first layer takes: 8-bit crops, [n, 240, 240, 3].
    """

    taken: str

    def __init__(self) -> None:
        """Begin an empty graph.

        Raises:
            MissingDependencyError: If `onnx` isn't installed.
        """
        try:
            import onnx
        except ImportError as error:
            raise MissingDependencyError(
                "Export needs onnx, which is not installed", extra="training"
            ) from error
        self._onnx: Any = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self.taken = "crops"

    def crops(self) -> str:
        """Begin with what is taken: 8-bit crops are cast, scaled to [-0.5, 0.5] and put channels first."""
        value = self.node("Cast", [self.taken], to=self._onnx.TensorProto.FLOAT)
        value = self.node("Mul", [value, self.constant(np.float32(1 / 255))])
        value = self.node("Sub", [value, self.constant(np.float32(0.5))])
        return self.node("Transpose", [value], perm=[0, 3, 1, 2])

    def answer(self, value: str) -> None:
        """End with what the network's last layer answers."""
        self.node("Identity", [value], output="parameters")

    def node(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node; returns its output's name."""
        name = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, array: Any) -> str:
        """Add a constant; returns its name."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def half(self, weight: Float32[np.ndarray, "..."]) -> str:
        """Keep a weight in 16-bit floats."""
        kept = self.constant(weight.astype(np.float16))
        return self.node("Cast", [kept], to=self._onnx.TensorProto.FLOAT)

    def eighth(self, weight: Float32[np.ndarray, "in out"]) -> str:
        """Keep a weight in 8 bits with a scale per output."""
        scale = np.maximum(np.abs(weight).max(axis=0), 1e-12).astype(np.float32) / 127
        kept = self.constant(np.round(weight / scale).astype(np.int8))
        wide = self.node("Cast", [kept], to=self._onnx.TensorProto.FLOAT)
        return self.node("Mul", [wide, self.constant(scale)])

    def serialise(self, metadata: dict[str, str]) -> bytes:
        """Return the file's content: the graph from `crops` to `parameters`, checked, with its properties."""
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        graph = helper.make_graph(
            self._nodes,
            "inversefacenet",
            [helper.make_tensor_value_info("crops", kinds.UINT8, ["faces", 240, 240, 3])],
            [helper.make_tensor_value_info("parameters", kinds.FLOAT, ["faces", 350])],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="inversefacenet"
        )
        model.ir_version = 8
        helper.set_model_props(model, metadata)
        self._onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())
