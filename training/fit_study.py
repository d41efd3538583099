"""What the optimiser's terms are for, and how near it comes to the truth.

``python -m training.fit_study photos --photos FOLDER`` fits the largest faces of photographs with each term
of the energy left out in turn, with fewer parameters that may change, and without priors.
``python -m training.fit_study rendered`` fits rendered faces whose truth is known, with landmarks that are
off as a detector's are, plainly and with robust colours. All fits start at a network's answer. "seconds" are
of one core. Prints Markdown; the last line sums up as ``name=value``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from inversefacenet.backends import InferenceBackend
from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.camera import Placement
from inversefacenet.crop import FaceCrop, face_mask
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.fitting import FitOptions, fit
from inversefacenet.landmarks import FaceDetector
from inversefacenet.metrics import measure
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import DISTRIBUTIONS
from training.evaluation.measuring import compare
from training.evaluation.methods import network_method
from training.evaluation.photos import find_photos, progress, read_samples
from training.evaluation.result import Evaluation, Row

COUNT: Final = 64
NOISE: Final = 2.0
"""Standard deviation of a landmark's coordinates in crop pixels: about what detectors are off."""

NETWORK: Final = "the network's answer"
ALL: Final = "all terms"
FLOOR: Final = "fitted geometry, light and reflectance without prior: the floor of this face model"

_SEED: Final = 7
_PHOTO_FIGURES: Final = ("photometric", "iou", "landmark")
_TRUE_FIGURES: Final = ("geometric", "rotation", "reflectance", "light", "photometric")
_EFFORT: Final = ("steps", "seconds")


@dataclass(frozen=True)
class Variant:
    """A way to fit.

    Attributes:
        options: Weights and effort.
        start: The variant whose result it starts at; the network's answer by default.
    """

    options: FitOptions
    start: str = NETWORK


def photo_variants() -> dict[str, Variant]:
    """Return the fits that show what each term is for, by name."""
    usual, colours = FitOptions(), ("reflectance", "illumination")
    free_of_prior = replace(usual, free=colours, reflectance=1e-3, light=0.01, tint=0.01, level=0.01)
    return {
        ALL: Variant(usual),
        "without landmarks": Variant(replace(usual, landmark=0)),
        "without the pull to bare pixels": Variant(replace(usual, coverage=0)),
        "without colours": Variant(replace(usual, photometric=0)),
        "light and reflectance alone, at the network's geometry": Variant(replace(usual, free=colours)),
        "light alone": Variant(replace(usual, free=colours[1:])),
        FLOOR: Variant(free_of_prior, ALL),
    }


def true_variants(robust: Sequence[float]) -> dict[str, Variant]:
    """Return the plain fit and one for each robust scale, by name."""
    usual = FitOptions()
    return {ALL: Variant(usual)} | {
        f"robust, {scale:g} levels": Variant(replace(usual, robust=scale)) for scale in robust
    }


def fit_all(
    model: MorphableModel,
    crop: FaceCrop,
    answer: Parameters,
    variants: Mapping[str, Variant],
    figures: Callable[[FaceCrop, Parameters], Row],
) -> dict[str, Row]:
    """Fit a face in every way and measure the results, the network's answer first.

    Args:
        model: The face model.
        crop: The face.
        answer: The network's.
        variants: The ways; each comes after the one that it starts at.
        figures: What is measured of a result.

    Returns:
        The figures by variant, with the steps taken and the thread's processor time in seconds.
    """
    results, rows = {NETWORK: answer}, {NETWORK: figures(crop, answer)}
    for name, variant in variants.items():
        began = time.thread_time()
        found = fit(model, crop, results[variant.start], variant.options)
        seconds = time.thread_time() - began
        results[name] = found.parameters
        rows[name] = figures(crop, found.parameters) | {"steps": float(found.iterations), "seconds": seconds}
    return rows


def study_photos(
    folder: Path, count: int, model: MorphableModel, network: InferenceBackend, workers: int
) -> Evaluation:
    """Fit the largest faces of photographs, spread evenly over the folder, in every way.

    Raises:
        InputError: If there are no photographs, or no faces in them.
    """
    detector, method, variants = FaceDetector(), network_method(network), photo_variants()

    def figures(crop: FaceCrop, parameters: Parameters) -> Row:
        return measure(crop, render(model, parameters)).to_dict()

    def work(path: Path) -> tuple[str, str, dict[str, Row]]:
        samples, reason = read_samples(folder, path, detector, "largest")
        name = path.relative_to(folder).as_posix()
        if not samples:
            return name, reason, {}
        crop = samples[0].crop
        return name, "", fit_all(model, crop, method(crop), variants, figures)

    paths = find_photos(folder, count)
    with ThreadPoolExecutor(workers) as pool:
        found = list(progress(pool.map(work, paths), len(paths)))
    faces = [(name, rows) for name, reason, rows in found if not reason]
    if not faces:
        raise InputError(f"No photograph in {folder} shows a face that the detector finds.")
    return Evaluation(
        rows={way: [rows[way] for _, rows in faces] for way in faces[0][1]},
        failed=[f"{name} ({reason})" for name, reason, _ in found if reason],
        names=[name for name, _ in faces],
    )


def study_truths(
    distribution: str,
    count: int,
    noise: float,
    robust: Sequence[float],
    model: MorphableModel,
    network: InferenceBackend,
    workers: int,
) -> Evaluation:
    """Fit rendered faces whose landmarks are off, in every way, and compare with the truth.

    Args:
        distribution: Of the faces, one of `DISTRIBUTIONS`.
        count: How many.
        noise: Standard deviation of the landmarks' coordinates in crop pixels.
        robust: Scales of robust fits in levels.
        model: The face model.
        network: Gives the starts.
        workers: Threads.
    """
    method, variants = network_method(network), true_variants(robust)
    thetas = DISTRIBUTIONS[distribution].sample(np.random.default_rng(_SEED), count, model)
    offsets = np.random.default_rng(_SEED + 1).normal(0, noise, (count, 68, 2))

    def work(index: int) -> dict[str, Row]:
        truth = Parameters.from_vector(thetas[index])
        rendering = render(model, truth)
        points = (rendering.landmarks + offsets[index]).astype(np.float32)
        mask = face_mask(points)
        image, whole = rendering.image * mask[..., None], Placement(1.0, (0.0, 0.0))
        crop = FaceCrop(image, rendering.image, mask, whole, points)
        figures = partial(_against_truth, model, truth)
        return fit_all(model, crop, method(crop), variants, figures)

    with ThreadPoolExecutor(workers) as pool:
        rows = list(progress(pool.map(work, range(count)), count))
    return Evaluation(
        rows={way: [one[way] for one in rows] for way in rows[0]},
        failed=[],
        names=[f"{distribution} {index}" for index in range(count)],
        rule="photo",
    )


def _against_truth(model: MorphableModel, truth: Parameters, crop: FaceCrop, answer: Parameters) -> Row:
    return compare(model, crop, truth, answer)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    values = _parser().parse_args(arguments)
    began = time.monotonic()
    try:
        if min(values.count, values.workers) < 1:
            raise InputError("--count and --workers must be at least 1.")
        model, network = MorphableModel.load_default(), OnnxBackend(values.network, threads=1)
        last = (_photos if values.command == "photos" else _rendered)(values, model, network)
    except InverseFaceNetError as error:
        print(f"fit_study: {error}", file=sys.stderr)
        return 1
    print(f"\n{last} seconds={time.monotonic() - began:.1f}")
    return 0


def _photos(values: argparse.Namespace, model: MorphableModel, network: InferenceBackend) -> str:
    found = study_photos(values.photos, values.count, model, network, values.workers)
    for name in found.failed:
        print(f"failed: {name}")
    print(found.interval_table([*_PHOTO_FIGURES, *_EFFORT], found.bootstrap()))
    before, after = ([found.mean(way, figure) for figure in _PHOTO_FIGURES] for way in (NETWORK, ALL))
    told = zip(_PHOTO_FIGURES, before, after, strict=True)
    return (
        f"faces={len(found.names)} failed={len(found.failed)} "
        + " ".join(f"start_{figure}={old:.4f} {figure}={new:.4f}" for figure, old, new in told)
        + f" floor={found.mean(FLOOR, 'photometric'):.4f}"
    )


def _rendered(values: argparse.Namespace, model: MorphableModel, network: InferenceBackend) -> str:
    told = [f"faces={values.count}"]
    for name in values.distribution or ["higher-variation", "natural"]:
        found = study_truths(name, values.count, values.noise, values.robust, model, network, values.workers)
        print(f"\n{values.count} faces, {name}, landmarks {values.noise:g} px off:\n")
        print(found.interval_table([*_TRUE_FIGURES, *_EFFORT], found.bootstrap()))
        short = name.replace("-", "_")
        told += [
            f"{short}_{when}{figure}={found.mean(way, figure):.4f}"
            for figure in _TRUE_FIGURES[:-1]
            for when, way in (("start_", NETWORK), ("", ALL))
        ]
    return " ".join(told)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.fit_study", description="Study the optimiser: its terms, and the truth."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    photos = commands.add_parser("photos", help="terms left out in turn, on photographs")
    photos.add_argument("--photos", type=Path, required=True, help="a folder, of any depth")
    rendered = commands.add_parser("rendered", help="rendered faces whose truth is known")
    rendered.add_argument(
        "--distribution", action="append", choices=DISTRIBUTIONS, help="default: higher-variation and natural"
    )
    rendered.add_argument("--noise", type=float, default=NOISE, help="of landmarks, in px (%(default)s)")
    rendered.add_argument(
        "--robust", type=float, nargs="*", default=[], help="scales of robust fits, in levels"
    )
    for command in (photos, rendered):
        command.add_argument(
            "--network", type=Path, default=Path("reference"), help="ONNX file (default: %(default)s)"
        )
        command.add_argument("--count", type=int, default=COUNT, help="faces (default: %(default)s)")
        command.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
