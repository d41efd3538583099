"""The paper's tables and its curve: ``python -m training.tables table1 --rows out/rows --photos FOLDER``.

``table1`` compares the trained rows on photographs and on rendered faces of higher variation, beside our
optimiser and the mean face; ``table2`` compares networks, optimiser and mean face on rendered identities and
expressions whose vertices are known; ``curve`` follows a run's bootstrapping rounds (Figure 4). All print
Markdown; the last line sums up as ``name=value``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.landmarks import FaceDetector
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.sampling import DISTRIBUTIONS
from training.evaluation.curve import Point, curve_table, draw_curve, find_rounds
from training.evaluation.entrants import Entrant, cell, find_entrants
from training.evaluation.fits import Fits, read_fits
from training.evaluation.intervals import Bootstrap
from training.evaluation.measuring import (
    TEST_SEED,
    against,
    evaluate_photos,
    evaluate_rendered,
    evaluate_truths,
)
from training.evaluation.methods import (
    MEAN_FACE,
    POSED_MEAN_FACE,
    Method,
    choose_methods,
    network_files,
    network_method,
)
from training.evaluation.optimiser import OPTIMISER, optimiser_method
from training.evaluation.parameter_loss import model_space_losses
from training.evaluation.result import FIT, Evaluation, markdown
from training.evaluation.trained_rows import duration, time_of
from training.evaluation.true_faces import true_faces
from training.rendered import rendered_crop

BASELINES: Final = (MEAN_FACE, POSED_MEAN_FACE)
TIMED_CROPS: Final = 4


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    values = _parser().parse_args(arguments)
    try:
        last = {"table1": table1, "table2": table2, "curve": curve}[values.command](values)
    except InverseFaceNetError as error:
        print(f"tables: {error}", file=sys.stderr)
        return 1
    print(last)
    return 0


def table1(values: argparse.Namespace) -> str:
    """Print Table 1; returns the last line."""
    model, entrants = (
        MorphableModel.load_default(),
        find_entrants(values.rows, values.only or (), values.network),
    )
    methods = choose_methods(model, {one.name: one.backend for one in entrants}, baselines=True)
    fits = read_fits(values.fits) if values.fits else None
    print(_timing_note())
    photos = None
    if values.photos is not None:
        photos = evaluate_photos(values.photos, model, methods, FaceDetector(), fits=fits, limit=values.count)
    rendered = evaluate_rendered("higher-variation", values.rendered_count, model, methods)
    print(_table1(values, model, entrants, methods, fits, photos, rendered))
    names = [one.name for one in entrants]
    for title, evaluation in (("photographs", photos), ("higher variation", rendered)):
        if evaluation is not None:
            _print_intervals(title, evaluation, names)
    faces = len(photos.names) if photos else 0
    return f"rows={len(entrants)} photos_n={faces} rendered_n={len(rendered.names)}"


def _table1(
    values: argparse.Namespace,
    model: MorphableModel,
    entrants: Sequence[Entrant],
    methods: Mapping[str, Method],
    fits: Fits | None,
    photos: Evaluation | None,
    rendered: Evaluation,
) -> str:
    crops = [rendered_crop(model, Parameters.neutral())]
    lines = []
    for one in entrants:
        effort = [one.row.effort(), duration(one.row.seconds)] if one.row else ["", ""]
        lines.append([one.name, *effort, duration(time_of(methods[one.name], crops))])
    if fits is not None:
        lines.append([FIT, "", "", duration(fits.seconds)])
    lines += [[name, "", "", ""] for name in BASELINES]
    for line in lines:
        if photos is not None:
            line += [cell(photos, line[0], "photometric"), cell(photos, line[0], "geometric")]
            line += [cell(photos, line[0], "iou", 100)]
        line += [cell(rendered, line[0], figure) for figure in ("photometric", "geometric")]
        line += [cell(rendered, line[0], "iou", 100)]
    head = ["approach", "iterations", "training time", "time per image"]
    if photos is not None:
        head += ["photometric", "geometric (mm), against our fits", "IoU (%)"]
    head += [f"higher variation: {figure}" for figure in ("photometric", "geometric (mm)", "IoU (%)")]
    return markdown(head, lines)


def _print_intervals(title: str, evaluation: Evaluation, names: Sequence[str]) -> None:
    """Print what is certain: the means' intervals, and each row less the one before it."""
    figures = [f for f in ("photometric", "geometric", "iou", "landmark") if f in evaluation.figures()]
    bootstrap = evaluation.bootstrap()
    print(f"\n{title}: {len(evaluation.names)} faces, {len(evaluation.failed)} photos without a face\n")
    print(evaluation.interval_table(figures, bootstrap))
    for before, name in pairwise(names):
        print("\n" + evaluation.difference_table(before, [name], figures, bootstrap))


def table2(values: argparse.Namespace) -> str:
    """Print Table 2's kind; returns the last line."""
    model, entrants = (
        MorphableModel.load_default(),
        find_entrants(values.rows, values.only or (), values.network),
    )
    methods = choose_methods(model, {one.name: one.backend for one in entrants}, baselines=True)
    if values.optimiser:
        methods[OPTIMISER] = optimiser_method(model, methods[entrants[0].name])
    faces = true_faces(model, values.identities, values.expressions, values.views)
    evaluation = evaluate_truths(faces.theta, faces.names, model, methods, rule="folder")
    for name, answers in evaluation.answers.items():
        for row, answer, truth in zip(evaluation.rows[name], answers, faces.theta, strict=True):
            row |= against(model, Parameters.from_vector(answer), Parameters.from_vector(truth))
    bootstrap = evaluation.bootstrap()
    chosen = np.linspace(0, len(faces.theta) - 1, TIMED_CROPS).astype(int)
    crops = [rendered_crop(model, Parameters.from_vector(faces.theta[i])) for i in chosen]
    lines = []
    for name, method in methods.items():
        repeats = TIMED_CROPS if name == OPTIMISER else 30
        cells = [cell(evaluation, name, figure) for figure in ("geometric", "geometric_aligned")]
        apart = bootstrap.interval(evaluation.values(name, "geometric"))
        interval = f"[{apart.low:.2f}, {apart.high:.2f}]"
        lines.append([name, *cells, interval, duration(time_of(method, crops, repeats))])
    print(
        f"{values.identities} identities x {values.expressions} expressions x {values.views} views, "
        f"rendered; intervals: 95%, bootstrap over identities. {_timing_note()}\n"
    )
    head = [
        "approach",
        "error (mm), mean ± SD",
        "rigidly aligned",
        "95% interval of the mean",
        "time per image",
    ]
    print(markdown(head, lines))
    first = evaluation.mean(entrants[0].name, "geometric")
    mean_face = evaluation.mean(MEAN_FACE, "geometric")
    return f"meshes={len(faces.names)} geometric={first:.4f} mean_face={mean_face:.4f}"


def curve(values: argparse.Namespace) -> str:
    """Print and draw Figure 4; returns the last line."""
    model, rounds = MorphableModel.load_default(), find_rounds(values.run)
    files = dict(rounds)
    for name, file in network_files(values.network).items() if values.network else ():
        if name in files or file is None:
            raise InputError(f"A network beside the curve can't be called '{name}'.")
        files[name] = file
    methods = {name: network_method(OnnxBackend(file, threads=1)) for name, file in files.items()}
    theta = DISTRIBUTIONS["higher-variation"].sample(
        np.random.default_rng(TEST_SEED), values.rendered_count, model
    )
    rendered = evaluate_rendered("higher-variation", values.rendered_count, model, methods)
    photos = None
    if values.photos is not None:
        photos = evaluate_photos(values.photos, model, methods, FaceDetector(), limit=values.count)
    points = []
    for name in files:
        losses = model_space_losses(model, rendered.answers[name], theta)
        bootstrap = rendered.bootstrap()
        figures = {
            "loss": bootstrap.interval(losses),
            "geometric": bootstrap.interval(rendered.values(name, "geometric")),
        }
        if photos is not None:
            drawn = Bootstrap(photos.people()[0])
            figures |= {f: drawn.interval(photos.values(name, f)) for f in ("photometric", "iou")}
        points.append(Point(name, figures))
    print(curve_table(points))
    path = draw_curve(points[: len(rounds)], points[len(rounds) :], values.output)
    ends = points[0].figures["loss"].mean, points[len(rounds) - 1].figures["loss"].mean
    return f"rounds={len(rounds) - 1} loss_first={ends[0]:.0f} loss_last={ends[1]:.0f} file={path}"


def _timing_note() -> str:
    return "Time per image: processor time of one thread for one crop, network (or optimiser) alone."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.tables", description="Print the paper's tables."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("table1", help="architectures and losses, on photographs and rendered faces")
    second = commands.add_parser("table2", help="geometry, on rendered identities and expressions")
    third = commands.add_parser("curve", help="Figure 4: the bootstrapping rounds")
    for command in (first, second):
        command.add_argument("--rows", type=Path, help="folder of rows that training.rows trained")
        command.add_argument("--only", action="append", metavar="ROW", help="this row; may be repeated")
    for command in (first, second, third):
        command.add_argument(
            "--network", action="append", default=[], metavar="NAME=FILE", help="another network; repeated"
        )
    for command in (first, third):
        command.add_argument("--photos", type=Path, help="a folder of photographs, of any depth")
        command.add_argument("--count", type=int, help="so many photographs, spread over the folder")
        command.add_argument(
            "--rendered-count", type=int, default=2000 if command is first else 500, metavar="N"
        )
    first.add_argument("--fits", type=Path, metavar="NPZ", help="our fits of these photos")
    second.add_argument("--identities", type=int, default=9)
    second.add_argument("--expressions", type=int, default=20)
    second.add_argument("--views", type=int, default=1, help="poses and lights of each")
    second.add_argument("--optimiser", action="store_true", help="fit each picture too (seconds each)")
    third.add_argument(
        "--run", type=Path, default=Path("out", "run"), help="folder with round-0, round-1, ..."
    )
    third.add_argument("--output", type=Path, default=Path("out", "figure4.png"))
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
