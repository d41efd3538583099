"""The ONNX file, rewritten so that its types say the precision of the plan.

The shipped file keeps its weights in 8 or 16 bits and widens them in the graph, and may round answers to
8-bit integers between layers, for CPUs. TensorRT has no such casts of stored 8-bit numbers and no unsigned
integers, and since version 11 it takes the precision from the graph's types alone. So the job folds the
stored weights into plain ones, takes the rounding of answers out, and states the precision in the graph: what
TensorRT builds is then exactly the network that was written, whichever version builds it, and a plan is held
to this network's answers, which rounding between layers doesn't blur.
"""

from __future__ import annotations

import hashlib
import os
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
    """Compute the nodes that depend on constants alone: casts, products with a scale, stored integers.

    Answers that are rounded to integers pass on as they are; crops, which are integers, become numbers.
    """
    constants = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    left: list[Any] = []
    renamed: dict[str, str] = {}
    integers = {value.name for value in graph.input}
    for original in graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        node.input[:] = [renamed.get(name, name) for name in original.input]
        values = [constants[name] for name in node.input if name in constants]
        answer = node.output[0]
        if node.op_type == "QuantizeLinear":
            renamed[answer] = node.input[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] in constants:
            constants[answer] = _dequantised(node, values)
        elif node.op_type == "DequantizeLinear" and node.input[0] in integers:
            left += _numbers(node, constants)
        elif node.op_type == "DequantizeLinear":
            renamed[answer] = node.input[0]
        elif len(values) == len(node.input) and node.op_type == "Cast":
            constants[answer] = values[0].astype(helper.tensor_dtype_to_np_dtype(node.attribute[0].i))
        elif len(values) == len(node.input) and node.op_type == "Mul":
            constants[answer] = values[0] * values[1]
        else:
            left.append(node)
            if node.op_type in ("Reshape", "Transpose") and node.input[0] in integers:
                integers.add(answer)
    return left, constants


def _dequantised(node: Any, values: list[np.ndarray]) -> Float32[np.ndarray, "..."]:
    """Compute stored integers, less their zero point, times their scale."""
    stored, scale = values[0].astype(np.float32), values[1].astype(np.float32)
    zero = values[2].astype(np.float32) if len(values) > 2 else np.float32(0)
    if scale.ndim:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        sides = [-1 if place == axis % stored.ndim else 1 for place in range(stored.ndim)]
        scale, zero = scale.reshape(sides), np.broadcast_to(zero, scale.shape).reshape(sides)
    return (stored - zero) * scale


def _numbers(node: Any, constants: dict[str, np.ndarray]) -> list[Any]:
    """Return nodes that turn crops of integers into the numbers that they stand for."""
    source, scale, zero = node.input
    wide, level = f"{node.output[0]}_wide", f"{node.output[0]}_level"
    constants[f"{zero}_wide"] = constants[zero].astype(np.float32)
    return [
        helper.make_node("Cast", [source], [wide], to=TensorProto.FLOAT),
        helper.make_node("Sub", [wide, f"{zero}_wide"], [level]),
        helper.make_node("Mul", [level, scale], [node.output[0]]),
    ]


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
        # ONNX Runtime's own builds otherwise report to their maker.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
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
