"""Adapt skin and light to real photographs: ``python -m training.adapt --checkpoint FILE --photos FOLDER``.

A network trained on rendered faces alone sees pose and expression in photographs, but its light and
reflectance are biased by what rendered faces lack: hair, shadows, beards, cameras' own tone. Here the rows of
its last layer that give reflectance and light are adjusted so that the colours it answers agree with the
pixels of unlabelled photographs, and everything else stays as it is: one term of what MoFA (Tewari et al.
2017) minimises, on frozen features. The answers are held near the network's own, so that skin and light don't
trade places.

The photos' crops are kept in memory only; the output is a checkpoint like the one that came in.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

from inversefacenet.crop import crop_face
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.image import load_photo
from inversefacenet.landmarks import FaceDetector
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import ILLUMINATION, REFLECTANCE, Parameters
from inversefacenet.rasterizer import vertex_normals
from inversefacenet.rendering import render
from training import checkpoint as checkpoints
from training.encoder import Encoder
from training.evaluate import find_photos
from training.image_space import shaded_levels
from training.network import normalise

PIXELS: Final = 400
"""Pixels of each photo that are compared."""

REFLECTANCE_HOLD: Final = 0.5
"""Cost of a squared standard deviation away from the network's own answer, in squared 8-bit levels."""

LIGHT_HOLD: Final = 20.0
"""The same for a squared unit of a light coefficient."""

_ROWS: Final = slice(REFLECTANCE.start, ILLUMINATION.stop)
_BATCH: Final = 64
_CHUNK: Final = 32


@dataclass(frozen=True)
class Evidence:
    """What the photographs say of colours, at pixels that the reconstruction covers.

    Attributes:
        features: The last layer's input for each photo.
        vertices: The vertex nearest to each pixel.
        normals: Its normal in camera axes.
        colours: The photo's colour there, in 8-bit levels.
    """

    features: Float32[Tensor, "photos hidden"]
    vertices: Int64[Tensor, "photos pixels"]
    normals: Float32[Tensor, "photos pixels 3"]
    colours: Float32[Tensor, "photos pixels 3"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.adapt",
        description="Adapt a network's skin and light to unlabelled photographs.",
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="the adapted checkpoint")
    parser.add_argument("--limit", type=int, default=1500, help="photos to use, spread over the folder")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    values = parser.parse_args(arguments)
    try:
        network, saved = checkpoints.load_network(values.checkpoint)
        model = MorphableModel.load_default()
        if saved.face_model != model.digest:
            raise InputError(f"{values.checkpoint} is of another face model than the one installed.")
        crops, masks = collect_crops(values.photos, values.limit)
        evidence = gather(network, model, crops, masks, values.seed)
        before, after = adapt(network, model, evidence, values.epochs, values.learning_rate, values.seed)
        values.output.parent.mkdir(parents=True, exist_ok=True)
        with_what = f"{len(crops)} photographs, {values.epochs} epochs, rate {values.learning_rate}"
        with_what = f"{saved.adapted}; then to {with_what}" if saved.adapted else with_what
        replace(saved, network=network.state_dict(), adapted=with_what).save(values.output)
    except InverseFaceNetError as error:
        print(f"adapt: {error}", file=sys.stderr)
        return 1
    print(f"photos={len(crops)} levels_before={before:.2f} levels_after={after:.2f} file={values.output}")
    return 0


def collect_crops(
    folder: Path, limit: int
) -> tuple[UInt8[np.ndarray, "photos 240 240 3"], Bool[np.ndarray, "photos 240 240"]]:
    """Cut the largest face out of each photo, `limit` photos at most, spread evenly over the folder.

    Raises:
        InputError: If no photo shows a face.
    """
    paths = find_photos(folder)
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, limit).astype(int))]
    detector = FaceDetector(hard_faces=False)

    def cut(path: Path) -> tuple[UInt8[np.ndarray, "240 240 3"], Bool[np.ndarray, "240 240"]] | None:
        try:
            photo = load_photo(path)
            (face,) = detector.detect(photo, faces="largest")
            crop = crop_face(photo, face.landmarks)
        except InverseFaceNetError:
            return None
        return crop.image, crop.mask

    with ThreadPoolExecutor() as pool:
        found = [one for one in pool.map(cut, chosen) if one is not None]
    if not found:
        raise InputError(f"No photograph in {folder} shows a face that the detector finds.")
    return np.stack([image for image, _ in found]), np.stack([mask for _, mask in found])


@torch.no_grad()
def gather(
    network: Encoder,
    model: MorphableModel,
    crops: UInt8[np.ndarray, "photos 240 240 3"],
    masks: Bool[np.ndarray, "photos 240 240"],
    seed: int,
) -> Evidence:
    """Reconstruct the crops and note the photo's colour at pixels that the reconstruction covers."""
    features = torch.cat(
        [network.hidden(normalise(part)) for part in torch.split(torch.from_numpy(crops), _CHUNK)]
    )
    thetas = network.last(features).numpy()
    rng = np.random.default_rng(seed)
    vertices = np.zeros((len(crops), PIXELS), np.int64)
    normals = np.zeros((len(crops), PIXELS, 3), np.float32)
    colours = np.zeros((len(crops), PIXELS, 3), np.float32)
    kept = []
    for i, (crop, mask, theta) in enumerate(zip(crops, masks, thetas, strict=True)):
        rendering = render(model, Parameters.from_vector(theta))
        rows, columns = np.nonzero(mask & rendering.mask)
        if len(rows) < PIXELS:
            continue
        kept.append(i)
        chosen = rng.choice(len(rows), PIXELS, replace=False)
        pixel = (rows[chosen], columns[chosen])
        corners = model.triangles[rendering.fragments.triangle[pixel]]
        nearest = rendering.fragments.barycentric[pixel].argmax(axis=1)
        vertices[i] = corners[np.arange(PIXELS), nearest]
        normals[i] = vertex_normals(rendering.vertices, model.triangles)[vertices[i]]
        colours[i] = crop[pixel]
    if not kept:
        raise InputError("The network's answers cover none of the photographs: train it first.")
    index = torch.tensor(kept)
    return Evidence(
        features[index],
        torch.from_numpy(vertices)[index],
        torch.from_numpy(normals)[index],
        torch.from_numpy(colours)[index],
    )


def adapt(
    network: Encoder,
    model: MorphableModel,
    evidence: Evidence,
    epochs: int,
    learning_rate: float,
    seed: int,
) -> tuple[float, float]:
    """Adjust the last layer's rows for reflectance and light, in place.

    Returns:
        RMS colour difference in 8-bit levels at the compared pixels, before and after.
    """
    last = network.last
    weight = last.weight.detach()[_ROWS].clone()
    bias = last.bias.detach()[_ROWS].clone()
    own = evidence.features @ weight.T + bias
    weight.requires_grad_()
    bias.requires_grad_()
    colours = _Colours(model)
    hold = torch.cat([torch.full((128,), REFLECTANCE_HOLD), torch.full((27,), LIGHT_HOLD)])
    batches = -(-len(own) // _BATCH)
    optimizer = torch.optim.Adam([weight, bias], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs * batches))
    generator = torch.Generator().manual_seed(seed)
    before = _levels(colours, evidence, own)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(own), generator=generator), _BATCH):
            answer = evidence.features[batch] @ weight.T + bias
            difference = colours(answer, evidence, batch) - evidence.colours[batch]
            held = ((answer - own[batch]).square() * hold).sum(dim=1).mean()
            optimizer.zero_grad()
            torch.autograd.backward(difference.square().mean() + held)
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        last.weight[_ROWS] = weight
        last.bias[_ROWS] = bias
        return before, _levels(colours, evidence, evidence.features @ weight.T + bias)


class _Colours:
    """Turns reflectance and light into colours at the compared pixels."""

    def __init__(self, model: MorphableModel) -> None:
        self._mean = torch.from_numpy(model.mean_reflectance)
        directions = model.reflectance_directions.reshape(128, -1, 3).transpose(1, 2, 0)
        self._directions = torch.from_numpy(np.ascontiguousarray(directions))

    def __call__(
        self, answer: Float[Tensor, "batch 155"], evidence: Evidence, batch: Int64[Tensor, "batch"]
    ) -> Float[Tensor, "batch pixels 3"]:
        vertices = evidence.vertices[batch]
        directions = self._directions[vertices]
        offsets = torch.einsum("bpck,bk->bpc", directions, answer[:, :128])
        light = answer[:, 128:].reshape(-1, 9, 3)
        return shaded_levels(self._mean[vertices] + offsets, evidence.normals[batch], light)


@torch.no_grad()
def _levels(colours: _Colours, evidence: Evidence, answer: Float[Tensor, "photos 155"]) -> float:
    """Return the RMS colour difference over all compared pixels."""
    total = torch.zeros(())
    for batch in torch.split(torch.arange(len(answer)), _BATCH):
        difference = colours(answer[batch], evidence, batch) - evidence.colours[batch]
        total += difference.square().mean() * len(batch)
    return float((total / len(answer)).sqrt())


if __name__ == "__main__":
    raise SystemExit(main())
