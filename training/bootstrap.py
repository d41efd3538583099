"""A new corpus around what the network sees in photographs (Kim et al. 2018, Algorithm 1, steps 1 and 2).

    python -m training.bootstrap --network out/run/checkpoint.pt --store out/store --output out/next

draws the parameters of one round, as `training.pipeline` does for each, into ``parameters.npy``, which
`training.train` takes with ``--parameters``. The last line sums up as ``name=value``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, get_args

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from inversefacenet.errors import InputError, InverseFaceNetError
from training import checkpoint as checkpoints
from training import run_record
from training.network import normalise
from training.perturbation import Meaning, Perturbation
from training.photo_corpus import PhotoBatch, PhotoSource
from training.photo_store import PhotoStore, write_atomically
from training.photometric import PhotometricLoss
from training.torch_model import TorchFaceModel
from training.train import choose_device, load_model

FILE_NAME: Final = "parameters.npy"
_CHUNK: Final = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    usual = Perturbation()
    parser = argparse.ArgumentParser(
        prog="python -m training.bootstrap",
        description="Draw new parameters around a network's answers to photographs.",
    )
    parser.add_argument("--network", type=Path, required=True, metavar="CHECKPOINT")
    parser.add_argument("--store", type=Path, required=True, help="that `training.prepare` wrote")
    parser.add_argument("--output", type=Path, required=True, help=f"folder of {FILE_NAME}")
    parser.add_argument(
        "--meaning",
        choices=get_args(Meaning),
        default=usual.meaning,
        help="what the paper's N(0, x) names (default: %(default)s)",
    )
    parser.add_argument("--by-error", action="store_true", help="wider where the answer explains less")
    parser.add_argument(
        "--copies", type=int, default=usual.copies, help="vectors for each photograph (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=0, help="threads on the CPU, 0: all")
    values = parser.parse_args(arguments)
    told = [sys.executable, "-m", "training.bootstrap", *(sys.argv[1:] if arguments is None else arguments)]
    try:
        print(_draw(values, told))
    except InverseFaceNetError as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 1
    return 0


def _draw(values: argparse.Namespace, command: Sequence[str]) -> str:
    """Draw the round's parameters and return the command's last line."""
    if values.copies < 1:
        raise InputError(f"--copies must be at least 1, but is {values.copies}.")
    if (values.output / FILE_NAME).is_file():
        raise InputError(f"{values.output} holds {FILE_NAME} already: remove it, or give another --output.")
    device = choose_device(values.device)
    if values.threads:
        torch.set_num_threads(values.threads)
    network, saved = checkpoints.load_network(values.network)
    model = load_model(saved.options)
    if saved.face_model != model.digest:
        raise InputError(f"{values.network} is of another face model than the one installed.")
    store = PhotoStore.open(values.store)
    perturbation = Perturbation(meaning=values.meaning, copies=values.copies, by_error=values.by_error)
    config = {
        "network": values.network,
        "store": values.store,
        "perturbation": asdict(perturbation),
        "seed": values.seed,
    }
    run_record.write(values.output, config, command, model.digest)
    torch_model = TorchFaceModel(model).to(device)
    path = write_corpus(
        values.output, network.to(device), torch_model, store, perturbation, values.seed, device
    )
    return f"photos={len(store)} parameters={len(np.load(path, mmap_mode='r'))} output={path}"


@torch.no_grad()
def infer_photos(
    network: nn.Module, store: PhotoSource, device: torch.device
) -> Float32[np.ndarray, "photos 350"]:
    """Return the network's answers to a store's photographs (Algorithm 1, step 1)."""
    network.eval()
    answers = [
        network(normalise(torch.from_numpy(store.crops(index)).to(device))).float().cpu().numpy()
        for index in _chunks(len(store))
    ]
    return np.concatenate(answers)


@torch.no_grad()
def photometric_errors(
    model: TorchFaceModel, store: PhotoSource, theta: Float32[np.ndarray, "photos 350"], device: torch.device
) -> Float32[np.ndarray, "photos"]:
    """Return the photometric error of each answer, in 8-bit levels."""
    loss = PhotometricLoss(model)
    errors = []
    for index in _chunks(len(store)):
        photos = PhotoBatch(
            *(
                torch.from_numpy(one).to(device)
                for one in (store.crops(index), store.masks(index), store.landmarks[index])
            )
        )
        errors.append(loss.errors(torch.from_numpy(theta[index]).to(device), photos)[0].cpu().numpy())
    return np.concatenate(errors)


def write_corpus(
    folder: Path,
    network: nn.Module,
    model: TorchFaceModel,
    store: PhotoSource,
    perturbation: Perturbation,
    seed: int,
    device: torch.device,
) -> Path:
    """Draw the next round's parameters and keep them as `parameters.npy`; a second call changes nothing.

    Args:
        folder: The round's folder.
        network: The network of the round before.
        model: The face model.
        store: The real photographs.
        perturbation: How far the new faces lie from the answers.
        seed: The same seed draws the same noise.
        device: Where the network and the model are.

    Returns:
        The file's path.
    """
    path = folder / FILE_NAME
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    theta = infer_photos(network, store, device)
    errors = photometric_errors(model, store, theta, device) if perturbation.by_error else None
    drawn = perturbation.around(theta, np.random.default_rng(seed), errors)
    part = folder / "parameters.partial.npy"
    np.save(part, drawn)
    write_atomically(path, part.read_bytes())
    part.unlink()
    return path


def _chunks(count: int) -> Iterator[np.ndarray]:
    for start in range(0, count, _CHUNK):
        yield np.arange(start, min(start + _CHUNK, count))


if __name__ == "__main__":
    raise SystemExit(main())
