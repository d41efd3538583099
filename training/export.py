"""Export a trained network to one ONNX file: ``python -m training.export --checkpoint FILE``.

The graph takes the uint8 crop in HWC and itself scales and transposes it, so that no client can normalise
it wrongly. Batch normalisation is folded into the convolutions.

With photographs (``--photos STORE``) AlexNet and the fast network are put into 8-bit integers, weights and
answers alike: what no crop uses of the dense layers is taken out (`training.pruning`), and scales are read
off the photographs (`training.quantisation`). CPUs so run them several times faster than in floats. Without,
weights alone are stored small, and widened when the file is loaded: convolutions and ResNet's and the fast
network's last layer in 16-bit floats, dense layers in 8 bits with a scale per output.

With ``--mirror`` the file's answer is the mean of those to a crop and to its mirror image
(`training.onnx_mirror`): somewhat better, for twice the work.

The file is refused if compression costs more than 1% of the loss on rendered faces.

It lies beside the checkpoint; `training.publish` brings it into `model_repository/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, UInt8

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.mirroring import FaceMirror
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.sampling import DISTRIBUTIONS
from training import checkpoint as checkpoints
from training.calibration_crops import CalibrationCrops
from training.encoder import Encoder
from training.encoder_chain import encoder_chain
from training.loss import WEIGHTS, model_space_scale
from training.network import normalise
from training.onnx_graph import Graph
from training.onnx_integer import add_integer_chain
from training.onnx_layers import add_encoder
from training.onnx_mirror import MirroredGraph
from training.pruning import pruned
from training.quantisation import quantised
from training.rendered import rendered_images

FILE_NAME: Final = "model.onnx"
RANK: Final = 512
LIMIT_LOSS_GROWTH: Final = 0.01
CHECK_FACES: Final = 256
CHECK_SEED: Final = 2**31 + 1

_FILES: Final = ("initial", "face_model", "parameters", "photos", "fits", "taught")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.export", description="Export a trained network to ONNX."
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--output", type=Path, help=f"the file (default: {FILE_NAME} beside the checkpoint)")
    parser.add_argument(
        "--rank", type=int, default=RANK, help="rank given to fully connected layers left whole; 0: whole"
    )
    parser.add_argument(
        "--photos", type=Path, metavar="STORE", help="photographs that set the scales of 8-bit integers"
    )
    parser.add_argument(
        "--mirror", action="store_true", help="average each answer with the mirrored crop's: twice the work"
    )
    parser.add_argument("--limit-bytes", type=int, default=0, help="refuse larger files (default: 0, never)")
    values = parser.parse_args(arguments)
    output = values.output or values.checkpoint.with_name(FILE_NAME)
    try:
        figures = export(
            values.checkpoint, output, values.rank, values.limit_bytes, values.photos, mirror=values.mirror
        )
    except InverseFaceNetError as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    print(" ".join(f"{name}={value}" for name, value in figures.items()))
    return 0


def export(
    checkpoint: Path,
    output: Path,
    rank: int = RANK,
    limit_bytes: int = 0,
    photos: Path | None = None,
    *,
    mirror: bool = False,
) -> dict[str, Any]:
    """Write the network, compressed, and check it against the trained one.

    Args:
        checkpoint: What `training.train` wrote.
        output: The ONNX file to write.
        rank: Rank that AlexNet's fully connected layers are given if they were trained whole; 0 leaves
            them so.
        limit_bytes: Largest file that is written, 0 for any.
        photos: A store of photographs that set the scales of 8-bit integers; None for floats.
        mirror: Average each answer with the one to the mirrored crop.

    Returns:
        Figures of the export: bytes, digest, by how much the loss grew, and the largest difference of a
        parameter.

    Raises:
        InputError: If the compressed network is too large or too far off, or the store can't be used.
        FaceModelError: If the face model can't be read, or can't be mirrored.
    """
    network, saved = checkpoints.load_network(checkpoint)
    named = saved.options.face_model
    model = MorphableModel.load(Path(named)) if named else MorphableModel.load_default()
    if saved.face_model != model.digest:
        raise InputError("The checkpoint was trained with another face model than the one installed.")
    scale = model_space_scale(model, WEIGHTS[saved.options.weights])
    distribution = DISTRIBUTIONS[saved.options.distribution]
    theta = distribution.sample(np.random.default_rng(CHECK_SEED), CHECK_FACES, model)
    crops = rendered_images(model, theta)
    reflection = FaceMirror.of(model) if mirror else None
    reference = _answers(network, crops)
    if reflection is not None:
        reference = (reference + reflection.apply(_answers(network, crops[:, :, ::-1].copy()))) / 2
    calibration = CalibrationCrops.gather(photos, model) if photos else None
    content = to_onnx(network, properties(saved), rank, calibration, reflection)
    if limit_bytes and len(content) > limit_bytes:
        raise InputError(f"The network takes {len(content)} bytes: choose a lower --rank.")
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".partial")
    partial.write_bytes(content)
    backend = OnnxBackend(partial)
    answers = np.concatenate([backend.infer(part) for part in np.split(crops, range(32, len(crops), 32))])

    def loss(predicted: Float[np.ndarray, "faces 350"]) -> float:
        return float((((predicted - theta) * scale) ** 2).sum(axis=1).mean())

    growth = loss(answers) / loss(reference) - 1
    if growth > LIMIT_LOSS_GROWTH:
        partial.unlink()
        raise InputError(
            f"Compression costs {growth:.1%} of the loss: choose a higher --rank, or 0 for whole layers, or "
            "leave --photos out."
        )
    partial.replace(output)
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "loss_growth": round(growth, 5),
        "largest_difference": round(float(np.abs(answers - reference).max()), 5),
    }


def _answers(network: Encoder, crops: UInt8[np.ndarray, "faces 240 240 3"]) -> Float[np.ndarray, "faces 350"]:
    with torch.no_grad():
        return np.concatenate(
            [network(normalise(part)).numpy() for part in torch.split(torch.from_numpy(crops), 32)]
        )


def to_onnx(
    network: Encoder,
    metadata: dict[str, str],
    rank: int,
    calibration: CalibrationCrops | None = None,
    mirror: FaceMirror | None = None,
) -> bytes:
    """Write the graph.

    Args:
        network: A trained network.
        metadata: Written into the file's properties.
        rank: Rank of AlexNet's two large layers, if they were trained whole; 0 leaves them so.
        calibration: Crops that set the scales of 8-bit integers; None for floats.
        mirror: With which each answer is averaged with the one to the mirrored crop; None for one answer.

    Returns:
        The ONNX file's content.

    Raises:
        MissingDependencyError: If `onnx` isn't installed.
    """
    graph = Graph() if mirror is None else MirroredGraph(mirror)
    metadata = metadata | ({} if mirror is None else {"mirrored": "true"})
    if calibration is None:
        add_encoder(graph, network, rank)
        return graph.serialise(metadata)
    chain = pruned(encoder_chain(network, rank), calibration.all)
    add_integer_chain(graph, quantised(chain, calibration.typical))
    return graph.serialise(metadata | {"calibration": calibration.source})


def properties(saved: checkpoints.Checkpoint) -> dict[str, str]:
    """Return what the file says of itself: what was trained, on what, for which face model.

    Files that the options name are told by their last names alone: where they lay is nobody's concern.
    """
    options = saved.options.to_dict()
    options |= {name: PurePath(options[name]).name for name in _FILES if options[name]}
    return {
        "architecture": saved.options.architecture,
        "iterations": str(saved.iteration),
        "options": json.dumps(options),
        "face_model": saved.face_model,
        "adapted": saved.adapted,
        "history": json.dumps(saved.lineage()),
    }


if __name__ == "__main__":
    raise SystemExit(main())
