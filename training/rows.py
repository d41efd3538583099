"""Each row of Table 1 and 2, and each choice that the paper leaves open, by one command.

``python -m training.rows model-space --output out/rows`` trains one row; it resumes when it is repeated.
``--base`` says where the options start: "paper" is Section 6.1, "default" what trains best here; all rows
that are compared must have the same. ``--fraction`` shortens every schedule alike, for machines on which
the whole is too dear: `row.json` keeps both numbers, and the tables print them. `run.json` beside it says how
to repeat the row.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from inversefacenet.errors import InputError, InverseFaceNetError
from training import checkpoint as checkpoints
from training.options import PRESETS, Options, Run
from training.perturbation import Perturbation
from training.photo_store import PhotoStore, write_atomically
from training.pipeline import run_pipeline
from training.pipeline_config import PipelineConfig
from training.train import train

FILE_NAME: Final = "row.json"
BASELINE_ITERATIONS: Final = 75_000
FIRST_ITERATIONS: Final = 15_000
ROUNDS: Final = 8
ROUND_ITERATIONS: Final = 7_500


@dataclass(frozen=True)
class Row:
    """One network that the tables compare.

    Attributes:
        title: What the tables call it.
        changes: Options that differ from the base.
        iterations: The paper's length, or ours where the paper has no such row.
        photos: "none", "labels" (fits are learnt), "pixels" (photographs teach by themselves) or "rounds"
            (bootstrapping).
        perturbation: For bootstrapping: how far new faces lie from the answers.
    """

    title: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    iterations: int = BASELINE_ITERATIONS
    photos: str = "none"
    perturbation: Perturbation = Perturbation()


_EIGEN: Final = {"loss": "model-space", "image_space": False}
ROWS: Final[Mapping[str, Row]] = {
    "plain": Row("AlexNet", {"loss": "plain", "image_space": False}),
    "model-space": Row("+ model-space loss", _EIGEN),
    "bootstrapped": Row(
        "+ bootstrap (= InverseFaceNet)", _EIGEN, FIRST_ITERATIONS + ROUNDS * ROUND_ITERATIONS, "rounds"
    ),
    "resnet101": Row(
        "ResNet-101 + model-space loss",
        {**_EIGEN, "architecture": "resnet101"},
        2 * BASELINE_ITERATIONS,
    ),
    "mofa": Row(
        "MoFA (Tewari et al.)",
        {"loss": "none", "image_space": False, "photo_batch": 32},
        photos="pixels",
    ),
    "monofit": Row("MonoFit", _EIGEN, photos="labels"),
}
"""The rows of Table 1, with MonoFit for Table 2."""

ABLATIONS: Final[Mapping[str, Row]] = {
    "variance": Row("perturbations N(0, x) as variances", _EIGEN, ROWS["bootstrapped"].iterations, "rounds"),
    "standard-deviation": Row(
        "as standard deviations",
        _EIGEN,
        ROWS["bootstrapped"].iterations,
        "rounds",
        Perturbation(meaning="standard-deviation"),
    ),
    "spread-by-error": Row(
        "variances scaled by photometric error (Section 7.2)",
        _EIGEN,
        ROWS["bootstrapped"].iterations,
        "rounds",
        Perturbation(by_error=True),
    ),
    "rig": Row("expressions from rig units", {**_EIGEN, "distribution": "paper"}),
    "box": Row("expressions from the paper's box", {**_EIGEN, "distribution": "paper-box"}),
    "adamw": Row(
        "AdamW, one cycle", {**_EIGEN, "optimizer": "adamw", "learning_rate": 5e-4, "weight_decay": 1e-3}
    ),
    "adadelta": Row(
        "AdaDelta, as the paper has it",
        {**_EIGEN, "optimizer": "adadelta", "learning_rate": 0.01, "weight_decay": 1e-3},
    ),
    "batch-norm": Row("with batch normalisation", {**_EIGEN, "batch_norm": True}),
    "no-batch-norm": Row("without batch normalisation", {**_EIGEN, "batch_norm": False}),
    "augmentation": Row("with augmentation", {**_EIGEN, "augmentation": "photographic"}),
    "camera": Row("with augmentation, few occluders", {**_EIGEN, "augmentation": "camera"}),
    "no-augmentation": Row("without augmentation", {**_EIGEN, "augmentation": "none"}),
    "image-space": Row("with image-space terms", {"loss": "model-space", "image_space": True}),
    "paper-weights": Row("the paper's weights", {**_EIGEN, "weights": "paper"}),
    "balanced-weights": Row("balanced weights", {**_EIGEN, "weights": "balanced"}),
}
"""The choices that the paper leaves open, in pairs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.rows",
        description="Train one row of Table 1 or 2, or one ablation; resumes when repeated.",
    )
    parser.add_argument("row", choices=[*ROWS, *ABLATIONS])
    parser.add_argument("--output", type=Path, default=Path("out", "rows"), help="folder of all rows")
    parser.add_argument("--base", choices=PRESETS, default="paper", help="where the options start")
    parser.add_argument("--fraction", type=float, default=1.0, help="share of the planned iterations")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="bootstrapping rounds")
    parser.add_argument("--store", type=Path, help="photographs, made by `python -m training.prepare`")
    parser.add_argument("--fits", type=Path, help="for monofit: what `training.fit_photos` wrote")
    parser.add_argument("--batch-size", type=int, help="faces in a batch, if not the base's")
    parser.add_argument("--initial", type=Path, help="checkpoint that the row starts from, the same for all")
    parser.add_argument("--rank", type=int, help="rank of the fully connected layers, if not the base's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--stop-after", type=float, default=0.0)
    parser.add_argument("--imagenet", type=Path)
    values = parser.parse_args(arguments)
    folder = values.output / values.row
    run = Run(
        output=folder,
        device=values.device,
        precision=values.precision,
        workers=values.workers,
        threads=values.threads,
        checkpoint_every=250,
        validate_every=1_000_000,
        stop_after=values.stop_after,
        imagenet=values.imagenet,
    )
    changed = {
        name: value
        for name, value in (("batch_size", values.batch_size), ("rank", values.rank))
        if value is not None
    }
    try:
        base = replace(PRESETS[values.base], seed=values.seed, initial=str(values.initial or ""), **changed)
        told = [sys.executable, "-m", "training.rows", *(sys.argv[1:] if arguments is None else arguments)]
        row = train_row(
            values.row, base, run, values.fraction, values.rounds, values.store, values.fits, told
        )
    except InverseFaceNetError as error:
        print(f"rows: {error}", file=sys.stderr)
        return 1
    print(" ".join(f"{name}={row[name]}" for name in ("row", "iterations", "planned_iterations", "seconds")))
    return 0


def train_row(
    name: str,
    base: Options,
    run: Run,
    fraction: float,
    rounds: int = ROUNDS,
    store: Path | None = None,
    fits: Path | None = None,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a row, export its network and write down what was done.

    Args:
        name: One of `ROWS` or `ABLATIONS`.
        base: Options that the row's changes are applied to.
        run: Where and how; `run.output` is the row's folder.
        fraction: Share of the planned iterations.
        rounds: Bootstrapping rounds, where the row has them.
        store: Photographs, where the row needs them.
        fits: Fits to them, where the row learns those.
        command: The command that this is, written into `run.json`; none to write no record.

    Returns:
        What `row.json` says.

    Raises:
        InputError: If photographs or fits are needed and not given.
    """
    row = {**ROWS, **ABLATIONS}[name]
    if row.photos != "none" and store is None:
        raise InputError(f"The row {name} needs photographs: --store (`python -m training.prepare`).")
    if row.photos == "labels" and fits is None:
        raise InputError(f"The row {name} needs fits: --fits (`python -m training.fit_photos`).")
    options = replace(base, **row.changes)
    if row.photos == "rounds":
        path, seconds, done = _bootstrapped(row, options, run, fraction, rounds, store, command)
    else:
        photos = "" if row.photos == "none" else str(store)
        iterations = max(1, round(fraction * row.iterations))
        options = replace(
            options, iterations=iterations, photos=photos, fits=str(fits) if row.photos == "labels" else ""
        )
        path = train(options, run, command)
        saved = checkpoints.load(path)
        seconds, done = saved.seconds, saved.iteration
    from training.export import export

    export(path, run.output / "model.onnx", rank=512)
    written = {
        "row": name,
        "title": row.title,
        "iterations": done,
        "planned_iterations": row.iterations,
        "seconds": round(seconds, 1),
        "photos": 0 if row.photos == "none" or store is None else len(PhotoStore.open(store)),
        "batch_size": options.batch_size,
        "parameters": sum(weight.numel() for weight in checkpoints.load(path).network.values()),
        "options": options.to_dict(),
    }
    write_atomically(run.output / FILE_NAME, (json.dumps(written, indent=1) + "\n").encode())
    return written


def _bootstrapped(
    row: Row,
    options: Options,
    run: Run,
    fraction: float,
    rounds: int,
    store: Path | None,
    command: Sequence[str],
) -> tuple[Path, float, int]:
    """Run Algorithm 1; the rounds' iterations add up to the planned ones whatever their number."""
    planned = fraction * (row.iterations - FIRST_ITERATIONS)
    config = PipelineConfig(
        seed=options.seed,
        first=replace(options, iterations=max(1, round(fraction * FIRST_ITERATIONS))),
        rounds=rounds,
        round_options={"iterations": max(1, round(planned / rounds))},
        perturbation=row.perturbation,
        finetuning=None,
    )
    initial = Path(options.initial) if options.initial else None
    curve = run_pipeline(config, run, store, initial, command=command)
    if len(curve) < rounds + 1:
        raise InputError("The row was stopped by its time limit: the same command resumes it.")
    done = config.first.iterations + rounds * int(config.round_options["iterations"])
    path = run.output / f"round-{rounds}" / checkpoints.FILE_NAME
    return path, sum(float(stage["seconds"]) for stage in curve), done


if __name__ == "__main__":
    raise SystemExit(main())
