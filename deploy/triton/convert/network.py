"""The ONNX file, rewritten so that its types say the precision of the plan.

The shipped file keeps its weights in 8 and 16 bits and widens them in the graph. TensorRT has no such
casts of stored 8-bit numbers, and since version 11 it takes the precision from the graph's types alone.
So the job folds the stored weights into plain ones and states the precision in the graph: what TensorRT
builds is then exactly the network that was written, whichever version builds it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np
import onnx
from jaxtyping import Float32, UInt8
from onnx import TensorProto, helper, numpy_helper

from deploy.triton.convert.errors import ConversionError
from deploy.triton.convert.plans import CROP_SIZE, INPUT_NAME, OUTPUT_NAME, Precision
from inversefacenet.parameters import PARAMETER_COUNT

_HEAVY: Final = frozenset({"Conv", "MatMul", "Gemm"})


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def rewrite(content: bytes, precision: Precision) -> bytes:
    """Fold the stored weights and state the precision in the graph's types.

    Crops are normalised in 32 bits for either precision; the network behind that computes in the
    precision asked for, and its answer is 32 bits again.

    Args:
        content: The ONNX file that ships.
        precision: Precision of the plan.

    Returns:
        An ONNX file with the same inputs and outputs.

    Raises:
        ConversionError: If the file isn't the network's, or a weight doesn't fit into 16 bits.
    """
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors share no base class but this one.
        raise ConversionError(f"The ONNX file can't be read: {error}") from error
    _check_interface(model.graph)
    nodes, constants = _fold(model.graph)
    if precision is Precision.FP16:
        nodes, constants = _halve(nodes, constants)
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        f"inversefacenet-{precision}",
        model.graph.input,
        model.graph.output,
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    rewritten = helper.make_model(graph, opset_imports=model.opset_import, producer_name="inversefacenet")
    rewritten.ir_version = model.ir_version
    onnx.checker.check_model(rewritten, full_check=True)
    return bytes(rewritten.SerializeToString())


def _check_interface(graph: Any) -> None:
    sides = [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [axis.dim_value for axis in value.type.tensor_type.shape.dim][1:],
        )
        for value in [*graph.input, *graph.output]
    ]
    expected = [
        (INPUT_NAME, TensorProto.UINT8, [CROP_SIZE, CROP_SIZE, 3]),
        (OUTPUT_NAME, TensorProto.FLOAT, [PARAMETER_COUNT]),
    ]
    if sides != expected:
        raise ConversionError(
            f"The ONNX file must take uint8 '{INPUT_NAME}' of [n, {CROP_SIZE}, {CROP_SIZE}, 3] and return "
            f"float32 '{OUTPUT_NAME}' of [n, {PARAMETER_COUNT}]: it is no network of this project."
        )


def _fold(graph: Any) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Compute the nodes that depend on constants alone: casts, and products with a scale."""
    constants = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    left = []
    for node in graph.node:
        values = [constants[name] for name in node.input if name in constants]
        if len(values) < len(node.input) or node.op_type not in ("Cast", "Mul"):
            left.append(node)
        elif node.op_type == "Cast":
            kind = helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
            constants[node.output[0]] = values[0].astype(kind)
        else:
            constants[node.output[0]] = values[0] * values[1]
    return left, constants


def _halve(nodes: list[Any], constants: dict[str, np.ndarray]) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Put everything from the first heavy node on into 16 bits, and widen the answer."""
    first = next((index for index, node in enumerate(nodes) if node.op_type in _HEAVY), None)
    if first is None:
        raise ConversionError("The ONNX file holds no layer with weights.")
    result = list(nodes[:first])
    source = nodes[first].input[0]
    result.append(helper.make_node("Cast", [source], [f"{source}_half"], to=TensorProto.FLOAT16))
    renamed = {source: f"{source}_half", OUTPUT_NAME: f"{OUTPUT_NAME}_half"}
    halved = dict(constants)
    for node in nodes[first:]:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(node.input):
            value = constants.get(name)
            if value is not None and value.dtype == np.float32:
                renamed[name] = f"{name}_half"
                halved[f"{name}_half"] = _half(value)
            copy.input[index] = renamed.get(name, name)
        copy.output[0] = renamed.get(node.output[0], node.output[0])
        result.append(copy)
    result.append(helper.make_node("Cast", [f"{OUTPUT_NAME}_half"], [OUTPUT_NAME], to=TensorProto.FLOAT))
    return result, halved


def _half(value: Float32[np.ndarray, "..."]) -> np.ndarray:
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    if not np.isfinite(half).all():
        raise ConversionError("A weight of the network is too large for 16 bits: convert with fp32 alone.")
    return half


class OnnxEngine:
    """ONNX Runtime on the CPU: the answers that a plan is compared with."""

    def __init__(self, content: bytes) -> None:
        """Load an ONNX file's content.

        Raises:
            ConversionError: If ONNX Runtime refuses it.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base class but this one.
            raise ConversionError(f"ONNX Runtime can't load the network: {error}") from error

    def infer(self, crops: UInt8[np.ndarray, "faces 240 240 3"]) -> Float32[np.ndarray, "faces 350"]:
        """Run the network on masked sRGB crops."""
        (theta,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: np.ascontiguousarray(crops)})
        return np.asarray(theta)
