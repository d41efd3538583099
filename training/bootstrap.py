"""A new corpus around what the network sees in photographs (Kim et al. 2018, Algorithm 1, steps 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from training.network import normalise
from training.perturbation import Perturbation
from training.photo_corpus import PhotoBatch, PhotoSource
from training.photo_store import write_atomically
from training.photometric import PhotometricLoss
from training.torch_model import TorchFaceModel

FILE_NAME: Final = "parameters.npy"
_CHUNK: Final = 64


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
