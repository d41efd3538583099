"""Evaluate networks as Section 8 does: ``python -m training.evaluate photos --photos FOLDER``.

``photos`` measures a folder of photographs (photometric error, IoU, landmarks, and geometry against our
optimiser's fits), ``rendered`` measures rendered faces whose truth is known (geometry, rotation, reflectance,
light besides). Several networks are compared face by face, beside two baselines, with confidence intervals;
no PyTorch is needed. Nothing is fitted to a photo but the baselines' light (and pose); every detected face
counts. The last line sums up as ``name=value``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.landmarks import FaceDetector
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.networks import network_path
from inversefacenet.sampling import DISTRIBUTIONS
from training.evaluation.fits import read_fits
from training.evaluation.groups import (
    FIT_ANGLE,
    PHOTO_ANGLE,
    SkinTone,
    group_table,
    read_tags,
    skin_groups,
    tag_groups,
)
from training.evaluation.measuring import Observer, evaluate_photos, evaluate_rendered
from training.evaluation.methods import (
    MEAN_FACE,
    MIRRORED,
    NETWORK,
    POSED_MEAN_FACE,
    Method,
    choose_methods,
    network_files,
)
from training.evaluation.people import RULES
from training.evaluation.photos import find_photos
from training.evaluation.pictures import write_worst
from training.evaluation.record import record
from training.evaluation.report import report, summary
from training.evaluation.result import Evaluation
from training.evaluation.sources import ErrorSources, source_table

__all__ = ["find_photos", "main"]

PHOTO_FIGURES: Final = ("photometric", "iou", "landmark", "geometric")
RENDERED_FIGURES: Final = (
    "geometric", "rotation", "reflectance", "light", "photometric", "iou", "landmark"
)  # fmt: skip
GROUP_FIGURES: Final = ("photometric", "iou", "landmark", "nme", "geometric")
SKIN: Final = "skin tone"
SOURCES: Final = "sources: "


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    values = _parser().parse_args(arguments)
    on_photos = values.command == "photos"
    try:
        model, files = MorphableModel.load_default(), network_files(values.network)
        backends = {name: OnnxBackend(file) for name, file in files.items()}
        methods = choose_methods(model, backends, baselines=not values.no_baselines, mirror=values.mirror)
        compared = [name for name in methods if name.removesuffix(MIRRORED) in files]
        if on_photos:
            evaluation = _evaluate_photos(values, model, methods, compared)
        else:
            evaluation = evaluate_rendered(values.distribution, values.count, model, methods)
        for part in report(evaluation, compared, values.worst):
            print(part)
        if on_photos:
            for part in _more_of_photos(values, model, evaluation, compared):
                print(part)
        if values.csv is not None:
            evaluation.write_csv(values.csv)
        for name, file in files.items() if values.record else ():
            kept = {name: NETWORK} | {other: other for other in (MEAN_FACE, POSED_MEAN_FACE)}
            own = evaluation.only({old: new for old, new in kept.items() if old in evaluation.rows})
            record(own, values.record, network_path(file), backends[name].digest)
    except InverseFaceNetError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    print(summary(evaluation, list(files), PHOTO_FIGURES if on_photos else RENDERED_FIGURES))
    return 0


def _evaluate_photos(
    values: argparse.Namespace, model: MorphableModel, methods: Mapping[str, Method], compared: list[str]
) -> Evaluation:
    if (values.error_sources or values.fitted) and values.fits is None:
        raise InputError("--error-sources and --fitted need fits: name their file with --fits.")
    observers: dict[str, Observer] = {SKIN: SkinTone(model)} if values.skin_tone else {}
    if values.error_sources:
        observers |= {
            SOURCES + name: ErrorSources(model, name, methods[name], values.refit) for name in compared
        }
    return evaluate_photos(
        values.photos,
        model,
        methods,
        FaceDetector(),
        faces=values.faces,
        fits=read_fits(values.fits) if values.fits else None,
        observers=observers,
        limit=values.limit,
        rule=values.persons,
        fitted_only=values.fitted,
    )


def _more_of_photos(
    values: argparse.Namespace, model: MorphableModel, evaluation: Evaluation, compared: list[str]
) -> Iterator[str]:
    """Yield what was asked for besides: error sources, groups, pictures."""
    first = compared[0]
    figures = [figure for figure in GROUP_FIGURES if figure in evaluation.figures()]
    if values.error_sources:
        bootstrap = evaluation.bootstrap()
        for name in compared:
            yield "\n" + source_table(evaluation.observed[SOURCES + name], name, bootstrap)
    if values.tags is not None:
        for column, labels in read_tags(values.tags).items():
            groups = tag_groups(evaluation.names, labels)
            yield "\n" + group_table(evaluation, first, groups, figures, column)
            labelled = sum(map(len, groups.values()))
            yield f"{len(evaluation.names) - labelled} faces have no label '{column}'."
        yield f"Labels other than {', '.join(read_tags(values.tags))} are not known of these photos."
    if values.skin_tone:
        angles = {PHOTO_ANGLE: "skin tone in the photo", FIT_ANGLE: "skin tone of the fit"}
        for angle, title in angles.items() if values.fits else [(PHOTO_ANGLE, angles[PHOTO_ANGLE])]:
            groups = skin_groups(evaluation, SKIN, angle)
            yield "\n" + group_table(evaluation, first, groups, figures, title)
            toned = sum(map(len, groups.values()))
            untold = len(evaluation.names) - toned
            yield f"{untold} faces have no skin tone: their photos are grey, or have no fit."
    if values.pictures is not None:
        worst = evaluation.worst(first, "photometric", values.worst)
        file = write_worst(
            evaluation, first, worst, values.photos, model, FaceDetector(), values.pictures, values.faces
        )
        yield f"\nThe worst {len(worst)} are drawn in {file}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Evaluate networks as Section 8 does."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    photos = commands.add_parser("photos", help="a folder of photographs, of any depth")
    photos.add_argument("--photos", type=Path, required=True)
    photos.add_argument("--faces", choices=("all", "largest"), default="all", help="which faces count")
    photos.add_argument("--limit", type=int, help="so many photographs, spread over the folder")
    photos.add_argument(
        "--fits", type=Path, metavar="NPZ", help="our fits of these photos, from training.fit_photos"
    )
    photos.add_argument("--fitted", action="store_true", help="leave out faces that have no fit")
    photos.add_argument(
        "--error-sources", action="store_true", help="replace groups of the answer by the fit's"
    )
    photos.add_argument("--refit", action="store_true", help="with those, fit groups alone: slow")
    photos.add_argument("--tags", type=Path, metavar="CSV", help="labels of photos: figures by label")
    photos.add_argument(
        "--skin-tone", action="store_true", help="figures by skin tone, measured in the photo"
    )
    photos.add_argument(
        "--pictures",
        type=Path,
        nargs="?",
        const=Path("out", "evaluation"),
        metavar="FOLDER",
        help="draw the worst faces there (default: %(const)s)",
    )
    photos.add_argument(
        "--persons", choices=RULES, default="auto", help="what tells persons apart, for the intervals"
    )
    rendered = commands.add_parser("rendered", help="rendered faces with known truth")
    rendered.add_argument("--distribution", choices=DISTRIBUTIONS, default="higher-variation")
    rendered.add_argument("--count", type=int, default=2000)
    for command in (photos, rendered):
        command.add_argument(
            "--network",
            action="append",
            default=[],
            metavar="[NAME=]FILE",
            help="ONNX file, as often as there are networks to compare; default: the reference",
        )
        command.add_argument("--no-baselines", action="store_true", help="leave the mean face out")
        command.add_argument(
            "--mirror", action="store_true", help="measure each network averaged over mirrored crops too"
        )
        command.add_argument("--worst", type=int, default=10, help="how many of the worst faces are named")
        command.add_argument("--csv", type=Path, metavar="FILE", help="write a line per face and method")
        command.add_argument(
            "--record", metavar="NAME", default="", help="keep the figures beside the network"
        )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
