"""AlexNet's convolutions alone: the floor of the forward pass, by each engine that is tried.

The part of the exported graph from the first convolution's input to the last pooling's output becomes a
graph of its own, with the same weights, rectifications and poolings. An engine is one entry of `ENGINES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.errors import BackendError, MissingDependencyError

INPUT: Final = "images"
OUTPUT: Final = "features"


class ConvolutionEngine(Protocol):
    """Runs the convolutions' graph."""

    def run(self, images: Float32[np.ndarray, "faces 3 240 240"]) -> Float32[np.ndarray, "faces 256 6 6"]:
        """Return the features of normalised crops."""
        ...


class OnnxRuntimeConvolutions:
    """The convolutions by ONNX Runtime, with the settings of `inversefacenet.backends.onnx`."""

    def __init__(self, graph: bytes, threads: int) -> None:
        """Load the graph that `convolution_graph` returns; 0 threads lets ONNX Runtime choose."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(self, images: Float32[np.ndarray, "faces 3 240 240"]) -> Float32[np.ndarray, "faces 256 6 6"]:
        """Return the features of normalised crops."""
        (features,) = self._session.run(None, {INPUT: images})
        return np.asarray(features)


ENGINES: Final[Mapping[str, Callable[[bytes, int], ConvolutionEngine]]] = {
    "onnxruntime": OnnxRuntimeConvolutions,
}


def load_engines(graph: bytes, threads: int) -> dict[str, ConvolutionEngine]:
    """Load the graph into every engine that is installed."""
    loaded: dict[str, ConvolutionEngine] = {}
    for name, load in ENGINES.items():
        try:
            loaded[name] = load(graph, threads)
        except ImportError:
            continue
    return loaded


def normalise(
    crops: UInt8[np.ndarray, "faces height width 3"],
) -> Float32[np.ndarray, "faces 3 height width"]:
    """Scale crops to [-0.5, 0.5] and put the channels first, as the exported graph does."""
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2).astype(np.float32) / 255 - np.float32(0.5))


def convolution_graph(content: bytes) -> bytes:
    """Cut the convolutions out of an exported network.

    Args:
        content: The ONNX file that `training.export` writes.

    Returns:
        An ONNX file that takes what the first convolution takes and returns what the last pooling returns.

    Raises:
        MissingDependencyError: If `onnx` isn't installed.
        BackendError: If the file isn't such a network.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            "The floor of the forward pass is cut out of the network with onnx: pip install onnx."
        ) from error
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors share no base class but this one.
        raise BackendError(f"The network's file is damaged: {error}") from error
    nodes = list(model.graph.node)
    first = next((node for node in nodes if node.op_type == "Conv"), None)
    last = next((node for node in reversed(nodes) if node.op_type == "MaxPool"), None)
    if first is None or last is None:
        raise BackendError("The network must have convolutions that end in a pooling.")
    source, target = first.input[0], last.output[0]
    height, width = (side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim[1:3])
    kept = _between(nodes, source, target)
    taken = {name for node in kept for name in node.input}
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Identity", [INPUT], [source], name="take"),
            *kept,
            helper.make_node("Identity", [target], [OUTPUT], name="give"),
        ],
        "convolutions",
        [helper.make_tensor_value_info(INPUT, kind, ["faces", 3, height, width])],
        [helper.make_tensor_value_info(OUTPUT, kind, ["faces", "channels", "rows", "columns"])],
        [tensor for tensor in model.graph.initializer if tensor.name in taken],
    )
    part = helper.make_model(graph, opset_imports=list(model.opset_import), producer_name="inversefacenet")
    part.ir_version = model.ir_version
    onnx.checker.check_model(part)
    return bytes(part.SerializeToString())


def _between(nodes: list[Any], source: str, target: str) -> list[Any]:
    """Return, in order, the nodes that `target` needs when `source` is given."""
    needed, kept = {target}, []
    for node in reversed(nodes):
        if source not in node.output and needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]
