"""The paper's figures: ``python -m training.figures figure9 --photos FOLDER``.

``figure3`` shows the training corpus before and after bootstrapping, rendered from parameters alone;
``figure5`` compares networks on a few photographs (input, model, geometry, contours, photometric error, and
geometric error against our fits); ``figure9`` shows one network on more of them. Photographs are spread
evenly over the folder, so that nobody chooses them. Pictures of people go under ``out/``, which is ignored.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.image import encode_png
from inversefacenet.landmarks import FaceDetector
from inversefacenet.metrics import measure
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import PARAMETER_COUNT, Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import DISTRIBUTIONS
from inversefacenet.visualisation import (
    contact_sheet,
    contour_picture,
    crop_overlay_picture,
    face_picture,
    geometry_picture,
)
from training.evaluation.fits import Fits, read_fits
from training.evaluation.heat_map import caption, colour_bar
from training.evaluation.layout import labelled_grid
from training.evaluation.methods import Method, network_files, network_method
from training.evaluation.photos import Sample, find_photos, read_samples
from training.evaluation.pictures import (
    LEVELS,
    MILLIMETRES,
    SIZE,
    geometric_map,
    photometric_map,
    reconstruction_of,
)
from training.evaluation.result import FIT

SEED: Final = 3
TILE: Final = 120

Picture = UInt8[np.ndarray, "_ _ 3"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    values = _parser().parse_args(arguments)
    output = values.output or Path("out", f"{values.command}.png")
    try:
        picture, count = {"figure3": figure3, "figure5": figure5, "figure9": figure9}[values.command](values)
    except InverseFaceNetError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 1
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(encode_png(picture))
    print(f"faces={count} file={output}")
    return 0


def figure3(values: argparse.Namespace) -> tuple[Picture, int]:
    """Draw the corpus before bootstrapping, after it, and photographs, if they are given, beside it."""
    model = MorphableModel.load_default()
    count = values.columns * values.rows
    rng = np.random.default_rng(SEED)
    before = DISTRIBUTIONS[values.distribution].sample(rng, count, model)
    panels = [_corpus(model, before, values.columns)]
    labels = ["before"]
    for path in values.parameters:
        theta = read_parameters(path)
        chosen = theta[np.sort(rng.choice(len(theta), min(count, len(theta)), replace=False))]
        panels.append(_corpus(model, chosen, values.columns))
        labels.append("after" if len(values.parameters) == 1 else path.parent.name)
    if values.photos is not None:
        samples = _samples(values.photos, count)
        crops = [Image.fromarray(sample.crop.image) for sample in samples]
        tiles = [np.asarray(crop.resize((TILE, TILE), Image.Resampling.LANCZOS)) for crop in crops]
        if not tiles:
            raise InputError(f"No photograph of {values.photos} that was tried shows a face.")
        panels.append(_padded(contact_sheet(tiles, values.columns), *panels[0].shape[:2]))
        labels.append("photographs")
    return labelled_grid([panels], labels), count


def figure5(values: argparse.Namespace) -> tuple[Picture, int]:
    """Draw for each photograph a block of networks: model, geometry, contours and errors."""
    model = MorphableModel.load_default()
    methods = {n: network_method(OnnxBackend(f)) for n, f in network_files(values.network).items()}
    fits = read_fits(values.fits) if values.fits else None
    samples = _samples(values.photos, values.count)
    blocks = [_comparison(model, sample, methods, fits) for sample in samples]
    if not blocks:
        raise InputError(f"No photograph of {values.photos} that was tried shows a face.")
    width = max(block.shape[1] for block in blocks)
    return np.concatenate([_padded(block, block.shape[0], width) for block in blocks]), len(samples)


def figure9(values: argparse.Namespace) -> tuple[Picture, int]:
    """Draw a column per photograph: input, model, geometry, contours, photometric error."""
    model = MorphableModel.load_default()
    (method,) = (network_method(OnnxBackend(f)) for f in network_files(values.network[:1]).values())
    columns: list[list[Picture]] = []
    samples = _samples(values.photos, values.count)
    for sample in samples:
        answer = reconstruction_of(model, sample.crop, method(sample.crop))
        columns.append(
            [
                sample.crop.unmasked,
                crop_overlay_picture(answer, SIZE),
                geometry_picture(answer, SIZE),
                contour_picture(answer, SIZE),
                photometric_map(answer),
            ]
        )
    bar = colour_bar(SIZE, LEVELS, "levels")
    blank = np.full_like(bar, 255)
    columns.append([blank] * 4 + [bar])
    rows = [list(row) for row in zip(*columns, strict=True)]
    return labelled_grid(rows, row_labels=["input", "model", "geometry", "contours", "error"]), len(samples)


def read_parameters(path: Path) -> Float32[np.ndarray, "faces 350"]:
    """Read the parameters of a corpus (`parameters.npy` of a bootstrapping round).

    Raises:
        InputError: If the file holds none.
    """
    try:
        theta = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no parameters of faces ({error}).") from error
    if theta.ndim != 2 or theta.shape[1] != PARAMETER_COUNT or not len(theta):
        raise InputError(f"{path} must hold parameters of shape [n, 350], but holds {list(theta.shape)}.")
    return np.asarray(theta, np.float32)


def _comparison(
    model: MorphableModel, sample: Sample, methods: dict[str, Method], fits: Fits | None
) -> Picture:
    """Draw one photograph: a row per network, and one for our fit."""
    answers = {name: method(sample.crop) for name, method in methods.items()}
    fit = fits.parameters.get((sample.name, sample.number)) if fits is not None else None
    if fit is not None:
        answers[FIT] = fit
    rows = []
    for answer in answers.values():
        drawn = reconstruction_of(model, sample.crop, answer)
        row = [
            sample.crop.unmasked,
            crop_overlay_picture(drawn, SIZE),
            geometry_picture(drawn, SIZE),
            contour_picture(drawn, SIZE),
            photometric_map(drawn),
            colour_bar(SIZE, LEVELS, "levels"),
        ]
        if fit is not None:
            row += [geometric_map(drawn, fit), colour_bar(SIZE, MILLIMETRES, "mm")]
        rows.append(row)
    labels = ["input", "model", "geometry", "contours", "photometric error", ""]
    labels += ["geometric error", ""] if fit is not None else []
    qualities = {name: measure(sample.crop, render(model, answer)) for name, answer in answers.items()}
    text = "; ".join(f"{n}: {q.photometric:.1f}, IoU {100 * q.iou:.1f}%" for n, q in qualities.items())
    return caption(labelled_grid(rows, labels, list(answers)), f"{sample.name}  {text}")


def _samples(folder: Path, count: int) -> list[Sample]:
    """Return the largest face of photographs spread evenly over a folder."""
    detector = FaceDetector()
    found: list[Sample] = []
    for path in find_photos(folder, count):
        samples, reason = read_samples(folder, path, detector, "largest")
        if reason:
            print(f"failed: {path.relative_to(folder).as_posix()} ({reason})")
        found += samples
    return found


def _corpus(model: MorphableModel, theta: Float32[np.ndarray, "faces 350"], columns: int) -> Picture:
    tiles = [face_picture(model, Parameters.from_vector(vector), TILE) for vector in theta]
    return contact_sheet(tiles, columns)


def _padded(picture: Picture, height: int, width: int) -> Picture:
    """Add black below and to the right until a picture has a size."""
    missing = [(0, max(wanted - has, 0)) for wanted, has in zip((height, width), picture.shape, strict=False)]
    return np.pad(picture, (*missing, (0, 0)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.figures", description="The paper's figures.")
    commands = parser.add_subparsers(dest="command", required=True)
    third = commands.add_parser("figure3", help="the corpus before and after bootstrapping")
    third.add_argument("--distribution", choices=DISTRIBUTIONS, default="paper", help="the corpus before")
    third.add_argument(
        "--parameters", type=Path, action="append", default=[], metavar="NPY", help="a round's parameters.npy"
    )
    third.add_argument("--photos", type=Path, help="photographs to stand beside them")
    third.add_argument("--columns", type=int, default=5)
    third.add_argument("--rows", type=int, default=5)
    fifth = commands.add_parser("figure5", help="networks compared on a few photographs")
    ninth = commands.add_parser("figure9", help="one network on more photographs")
    for command, count in ((fifth, 4), (ninth, 8)):
        command.add_argument("--photos", type=Path, required=True)
        command.add_argument("--count", type=int, default=count)
        command.add_argument(
            "--network", action="append", default=[], metavar="[NAME=]FILE", help="default: the reference"
        )
    fifth.add_argument("--fits", type=Path, metavar="NPZ", help="our fits, for the geometric error")
    for command in (third, fifth, ninth):
        command.add_argument("--output", type=Path, help="default: out/FIGURE.png")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
