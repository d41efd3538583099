"""Export a trained network to one ONNX file: ``python -m training.export --checkpoint FILE``.

The graph takes the uint8 crop in HWC and itself casts, scales to [-0.5, 0.5] and transposes, so that no
client can normalise it wrongly. Batch normalisation is folded into the convolutions. The large fully
connected layers are kept in 8 bits with a scale per output, the convolutions in 16-bit floats; both are
widened when the file is loaded, so that every engine computes in its own precision. The file is refused
if compression costs more than 1% of the loss on rendered faces.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import nn

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.errors import InputError, InverseFaceNetError, MissingDependencyError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.sampling import DISTRIBUTIONS
from training import checkpoint as checkpoints
from training.loss import WEIGHTS, model_space_scale
from training.network import FEATURE_COUNT, AlexNet, normalise
from training.rendered import rendered_images

OPSET: Final = 17
LIMIT_BYTES: Final = 20_000_000
LIMIT_LOSS_GROWTH: Final = 0.01
DEFAULT_OUTPUT: Final = Path("model_repository", "inversefacenet", "1", "model.onnx")
CHECK_FACES: Final = 256
CHECK_SEED: Final = 2**31 + 1

_POOLED_AFTER: Final = (0, 3, 10)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.export", description="Export a trained network to ONNX."
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    parser.add_argument(
        "--rank", type=int, default=512, help="rank given to fully connected layers left whole"
    )
    values = parser.parse_args(arguments)
    try:
        figures = export(values.checkpoint, values.output, values.rank)
    except InverseFaceNetError as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    print(" ".join(f"{name}={value}" for name, value in figures.items()))
    return 0


def export(checkpoint: Path, output: Path, rank: int) -> dict[str, Any]:
    """Write the network, compressed, and check it against the trained one.

    Args:
        checkpoint: What `training.train` wrote.
        output: The ONNX file to write.
        rank: Rank that fully connected layers are given if they were trained whole.

    Returns:
        Figures of the export: bytes, digest, and by how much the loss grew.

    Raises:
        InputError: If the compressed network is too large or too far off.
    """
    network, saved = checkpoints.load_network(checkpoint)
    model = MorphableModel.load_default()
    if saved.face_model != model.digest:
        raise InputError("The checkpoint was trained with another face model than the one installed.")
    scale = model_space_scale(model, WEIGHTS[saved.options.weights])
    distribution = DISTRIBUTIONS[saved.options.distribution]
    theta = distribution.sample(np.random.default_rng(CHECK_SEED), CHECK_FACES, model)
    crops = rendered_images(model, theta)
    with torch.no_grad():
        reference = np.concatenate(
            [network(normalise(part)).numpy() for part in torch.split(torch.from_numpy(crops), 32)]
        )
    metadata = {
        "iterations": str(saved.iteration),
        "options": json.dumps(saved.options.to_dict()),
        "face_model": saved.face_model,
        "adapted": saved.adapted,
    }
    content = to_onnx(network, metadata, rank)
    if len(content) > LIMIT_BYTES:
        raise InputError(f"The network takes {len(content)} bytes: choose a lower --rank.")
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".partial")
    partial.write_bytes(content)
    answers = OnnxBackend(partial).infer(crops)

    def loss(predicted: Float[np.ndarray, "faces 350"]) -> float:
        return float((((predicted - theta) * scale) ** 2).sum(axis=1).mean())

    growth = loss(answers) / loss(reference) - 1
    if growth > LIMIT_LOSS_GROWTH:
        partial.unlink()
        raise InputError(f"Compression costs {growth:.1%} of the loss: choose a higher --rank.")
    partial.replace(output)
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "loss_growth": round(growth, 5),
        "largest_difference": round(float(np.abs(answers - reference).max()), 5),
    }


def to_onnx(network: AlexNet, metadata: dict[str, str], rank: int) -> bytes:
    """Write the graph.

    Args:
        network: A trained network.
        metadata: Written into the file's properties.
        rank: Rank of the two large layers, if they were trained whole; 0 leaves them so.

    Returns:
        The ONNX file's content.

    Raises:
        MissingDependencyError: If `onnx` isn't installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("Export needs onnx: pip install 'inversefacenet[training]'.") from error
    graph = _Graph(onnx)
    value = graph.node("Cast", ["crops"], to=onnx.TensorProto.FLOAT)
    value = graph.node("Mul", [value, graph.constant(np.float32(1 / 255))])
    value = graph.node("Sub", [value, graph.constant(np.float32(0.5))])
    value = graph.node("Transpose", [value], perm=[0, 3, 1, 2])
    for name, convolution, norm in _convolutions(network):
        weight, bias = fold_batch_norm(convolution, norm)
        value = graph.node(
            "Conv",
            [value, graph.half(weight), graph.constant(bias)],
            strides=list(convolution.stride),
            pads=[*convolution.padding, *convolution.padding],
            kernel_shape=list(convolution.kernel_size),
        )
        value = graph.node("Relu", [value])
        if name in _POOLED_AFTER:
            value = graph.node("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2])
    value = graph.node("Reshape", [value, graph.constant(np.array([-1, FEATURE_COUNT], np.int64))])
    for index in (1, 4, 6):
        for matrix, shift in _factors(network.classifier[index], rank if index != 6 else 0):
            value = graph.node("MatMul", [value, graph.eighth(matrix.T)])
            if shift is not None:
                value = graph.node("Add", [value, graph.constant(shift)])
        if index != 6:
            value = graph.node("Relu", [value])
    graph.node("Identity", [value], output="parameters")
    return graph.serialise(metadata)


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


def _convolutions(network: AlexNet) -> list[tuple[int, nn.Conv2d, nn.BatchNorm2d | None]]:
    layers = dict(network.features.named_children())
    found = []
    for name, layer in layers.items():
        if isinstance(layer, nn.Conv2d):
            norm = layers.get(f"{name}_norm")
            assert norm is None or isinstance(norm, nn.BatchNorm2d)
            found.append((int(name), layer, norm))
    return found


def _factors(
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


class _Graph:
    """Collects nodes and constants of an ONNX graph in the order of computation."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def node(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        name = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, array: Any) -> str:
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


if __name__ == "__main__":
    raise SystemExit(main())
