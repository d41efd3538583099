"""A network's answers to photographs, for a smaller one to learn: ``python -m training.teacher_answers``.

Each pass shows the teacher every crop of a photo store once, moved and recoloured a little, together with its
mirror image. The teacher's two answers, one of them mirrored back, are averaged: that is nearer to the truth
than either, and gives two examples. What the pupil sees is kept at half the size (`training.fast_network`).

A pass is two files, written whole or not at all; a run that was stopped goes on with the next pass.
Photographs lie in the output folder as small crops: treat it as the photo store itself.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageFilter

from inversefacenet.backends import InferenceBackend
from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.camera import CROP_SIZE
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.mirroring import FaceMirror
from inversefacenet.morphable_model import MorphableModel
from training.photo_corpus import EXPOSURE, WHITE_BALANCE, PhotoSource, apply_gains
from training.photo_store import PhotoStore

HALF: Final = CROP_SIZE // 2

SHIFT: Final = 3.0
SCALE: Final = 0.02
ROLL: Final = math.radians(2.5)
"""Standard deviations of a crop's moves: crop pixels, logarithm of the scale, radians."""

_BLURRED: Final = 0.25  # share of the crops that become less sharp
_BATCH: Final = 16


def halved(crops: UInt8[np.ndarray, "crops 240 240 3"]) -> UInt8[np.ndarray, "crops 120 120 3"]:
    """Average 2x2 pixels, rounding to the nearest level."""
    blocks = crops.reshape(-1, HALF, 2, HALF, 2, 3).sum(axis=(2, 4), dtype=np.uint16)
    return ((blocks + 2) >> 2).astype(np.uint8)


def varied(
    crops: UInt8[np.ndarray, "crops 240 240 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "crops 240 240 3"]:
    """Move, turn, recolour and blur masked crops at random, each on its own."""
    gains = np.exp(rng.normal(0, EXPOSURE, (len(crops), 1)) + rng.normal(0, WHITE_BALANCE, (len(crops), 3)))
    moved = [_moved(crop, rng) for crop in crops]
    return apply_gains(np.stack(moved), gains)


def _moved(crop: UInt8[np.ndarray, "240 240 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "240 240 3"]:
    scale, roll = math.exp(rng.normal(0, SCALE)), rng.normal(0, ROLL)
    cosine, sine = scale * math.cos(roll), scale * math.sin(roll)
    middle = np.full(2, CROP_SIZE / 2)
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    offset = middle - matrix @ middle + rng.normal(0, SHIFT, 2)
    picture = Image.fromarray(crop)
    if rng.random() < _BLURRED:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3.0)))
    coefficients = (*matrix[0].tolist(), float(offset[0]), *matrix[1].tolist(), float(offset[1]))
    turned = picture.transform(
        picture.size, Image.Transform.AFFINE, coefficients, resample=Image.Resampling.BILINEAR
    )
    return np.asarray(turned)


def teach(
    backend: InferenceBackend, mirror: FaceMirror, crops: UInt8[np.ndarray, "crops 240 240 3"]
) -> tuple[UInt8[np.ndarray, "twice 120 120 3"], Float32[np.ndarray, "twice 350"]]:
    """Return crops and their mirror images, halved, with the teacher's averaged answers to both."""
    flipped = crops[:, :, ::-1]
    theta = backend.infer(np.concatenate([crops, flipped]))
    own = (theta[: len(crops)] + mirror.apply(theta[len(crops) :])) / np.float32(2)
    return halved(np.concatenate([crops, flipped])), np.concatenate([own, mirror.apply(own)])


def write_pass(
    number: int, store: PhotoSource, backend: InferenceBackend, mirror: FaceMirror, folder: Path, seed: int
) -> int:
    """Write one pass over the store, number 0 without variation; returns how many examples it has."""
    crops_path, theta_path = pass_paths(folder, number)
    count = len(store)
    partial = crops_path.with_suffix(".partial")
    small = np.lib.format.open_memmap(partial, "w+", np.uint8, (2 * count, HALF, HALF, 3))
    answers = np.empty((2 * count, 350), np.float32)

    def prepare(start: int) -> UInt8[np.ndarray, "crops 240 240 3"]:
        crops = store.crops(np.arange(start, min(start + _BATCH, count)))
        return varied(crops, np.random.default_rng([seed, number, start])) if number else crops

    starts = range(0, count, _BATCH)
    # Reading runs beside the network, a batch ahead.
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(prepare, 0)
        for start in starts:
            crops = ahead.result()
            if start + _BATCH < count:
                ahead = reader.submit(prepare, start + _BATCH)
            pictures, thetas = teach(backend, mirror, crops)
            rows = slice(2 * start, 2 * start + len(pictures))
            small[rows], answers[rows] = pictures, thetas
    small.flush()
    np.save(theta_path, answers)
    partial.replace(crops_path)
    return 2 * count


def pass_paths(folder: Path, number: int) -> tuple[Path, Path]:
    """Return where a pass's crops and answers lie."""
    return folder / f"pass-{number:02d}.crops.npy", folder / f"pass-{number:02d}.theta.npy"


def passes(folder: Path) -> list[tuple[UInt8[np.ndarray, "n 120 120 3"], Float32[np.ndarray, "n 350"]]]:
    """Open the finished passes of a folder; the crops are mapped into memory, not read.

    Raises:
        InputError: If there is none.
    """
    found = []
    for crops_path in sorted(folder.glob("pass-*.crops.npy")):
        theta_path = crops_path.with_name(crops_path.name.replace(".crops.", ".theta."))
        found.append((np.load(crops_path, mmap_mode="r"), np.load(theta_path)))
    if not found:
        raise InputError(f"{folder} holds no answers: make some with python -m training.teacher_answers.")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.teacher_answers",
        description="Write a network's answers to photographs, for a smaller one to learn.",
    )
    parser.add_argument("--photos", type=Path, required=True, help="a store that training.prepare wrote")
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    parser.add_argument("--network", type=Path, default=Path("reference"), help="the teacher")
    parser.add_argument("--passes", type=int, default=6, help="how often each photograph is shown")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    values = parser.parse_args(arguments)
    try:
        store = PhotoStore.open(values.photos)
        backend = OnnxBackend(values.network, values.threads)
        mirror = FaceMirror.of(MorphableModel.load_default())
        values.output.mkdir(parents=True, exist_ok=True)
        count = 0
        for number in range(values.passes):
            if not pass_paths(values.output, number)[0].is_file():
                count += write_pass(number, store, backend, mirror, values.output, values.seed)
                print(f"pass {number}: done", flush=True)
    except InverseFaceNetError as error:
        print(f"teacher_answers: {error}", file=sys.stderr)
        return 1
    print(f"photos={len(store)} passes={values.passes} written={count} folder={values.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
