"""AlexNet's convolutions alone: the floor of the forward pass, by each engine that is installed.

The part of the exported graph from the first convolution's input to the last pooling's output becomes a
graph of its own, with the same weights, rectifications and poolings. A network of 8-bit integers takes the
crops themselves there, one of floats takes them normalised. An engine is one entry of `ENGINES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.errors import BackendError, MissingDependencyError
from inversefacenet.onnx_session import OnnxSession

INPUT: Final = "images"
OUTPUT: Final = "features"

Crops = UInt8[np.ndarray, "faces 240 240 3"]


class ConvolutionEngine(Protocol):
    """Runs the convolutions' graph."""

    def prepare(self, crops: Crops) -> np.ndarray:
        """Return what the graph takes for crops."""
        ...

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the features of prepared crops, [faces, 256, 6, 6]."""
        ...


class OnnxRuntimeConvolutions:
    """The convolutions by ONNX Runtime, with the settings of `inversefacenet.backends.onnx`."""

    def __init__(self, graph: bytes, threads: int) -> None:
        """Load the graph that `convolution_graph` returns; 0 threads lets ONNX Runtime choose."""
        self._session = OnnxSession(graph, threads, name="convolutions", spinning=True)

    def prepare(self, crops: Crops) -> np.ndarray:
        """Return what the graph takes for crops."""
        return crops if self._session.input_type == "tensor(uint8)" else normalise(crops)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the features of prepared crops."""
        (features,) = self._session.run(images)
        return features


class OpenVinoConvolutions:
    """The convolutions by OpenVINO."""

    def __init__(self, graph: bytes, threads: int) -> None:
        """Load the graph that `convolution_graph` returns; 0 threads lets OpenVINO choose."""
        self._network = OpenVinoNetwork(graph, threads)

    def prepare(self, crops: Crops) -> np.ndarray:
        """Return what the graph takes for crops."""
        return crops if self._network.takes_integers else normalise(crops)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the features of prepared crops."""
        return self._network.run(images)


class OpenVinoNetwork:
    """Any network of one input and one output, run by OpenVINO on the CPU."""

    def __init__(self, content: bytes, threads: int, precision: str = "f32") -> None:
        """Load an ONNX file's content.

        Args:
            content: The file.
            threads: Threads of one run; 0 lets OpenVINO choose.
            precision: What floats are computed in: "f32" or "bf16".

        Raises:
            ImportError: If OpenVINO isn't installed.
        """
        openvino: Any = importlib.import_module("openvino")
        settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": precision}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        core = openvino.Core()
        network = core.compile_model(core.read_model(content), "CPU", settings)
        self._request: Any = network.create_infer_request()
        self.takes_integers: bool = network.input(0).get_element_type() == openvino.Type.u8

    def run(self, values: np.ndarray) -> np.ndarray:
        """Return the network's answer."""
        return np.asarray(self._request.infer({0: values}, share_inputs=True)[0])


ENGINES: Final[Mapping[str, Callable[[bytes, int], ConvolutionEngine]]] = {
    "onnxruntime": OnnxRuntimeConvolutions,
    "openvino": OpenVinoConvolutions,
}


def load_engines(graph: bytes, threads: int) -> dict[str, ConvolutionEngine]:
    """Load the graph into every engine that is installed."""
    loaded: dict[str, ConvolutionEngine] = {}
    for name, load in ENGINES.items():
        try:
            loaded[name] = load(graph, threads)
        except (ImportError, MissingDependencyError):
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
        An ONNX file that takes what the first convolution takes, or the crops where those are integers, and
        returns what the last pooling returns.

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
    helper = onnx.helper
    integers = any(source in node.output and node.op_type == "DequantizeLinear" for node in nodes)
    if integers:
        taken_in, kind, begin = model.graph.input[0], onnx.TensorProto.UINT8, []
        kept = _between(nodes, taken_in.name, target)
    else:
        kind = onnx.TensorProto.FLOAT
        height, width = (side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim[1:3])
        taken_in = helper.make_tensor_value_info(INPUT, kind, ["faces", 3, height, width])
        begin = [helper.make_node("Identity", [INPUT], [source], name="take")]
        kept = _between(nodes, source, target)
    taken = {name for node in kept for name in node.input}
    graph = helper.make_graph(
        [*begin, *kept, helper.make_node("Identity", [target], [OUTPUT], name="give")],
        "convolutions",
        [taken_in],
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
