"""The whole schedule by one command: ``python -m training.pipeline --config FILE --output out/run``.

First training on rendered faces (Kim et al. 2018, Section 6), then self-supervised bootstrapping on
unlabelled photographs (Algorithm 1), then, if the schedule has it, fine-tuning by the photographs' own
pixels. Each stage has a folder of its own under the run's; the command resumes wherever it was stopped.
Each round ends in an ONNX file, so that the evaluation can follow the curve; the last network is the result.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.morphable_model import MorphableModel
from training import checkpoint as checkpoints
from training import run_record
from training.bootstrap import write_corpus
from training.distributed import Processes, joined
from training.held_out import HeldOut
from training.options import Options, Run
from training.photo_store import PhotoStore, write_atomically
from training.pipeline_config import PipelineConfig, load_config
from training.torch_model import TorchFaceModel
from training.train import choose_device, load_model, train

CURVE: Final = "curve.json"


@dataclass(frozen=True)
class Stage:
    """One training within a schedule.

    Attributes:
        name: Name of its folder: round-0 is the first training, round-k a bootstrapping round.
        options: What is trained.
        corpus: Whether its parameters are drawn around the answers of the stage before.
    """

    name: str
    options: Options
    corpus: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.pipeline", description="Train by a whole schedule; resumes when repeated."
    )
    parser.add_argument("--config", type=Path, required=True, help="schedule, such as configs/paper.yaml")
    parser.add_argument("--output", type=Path, help="the run's folder")
    parser.add_argument("--store", type=Path, help="photographs, made by `python -m training.prepare`")
    parser.add_argument("--fraction", type=float, default=1.0, help="share of each stage's iterations")
    parser.add_argument("--initial", type=Path, help="start from this checkpoint instead of from nothing")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--workers", type=int, default=1, help="processes that render on the CPU")
    parser.add_argument("--threads", type=int, default=0, help="threads of the network on the CPU, 0: all")
    parser.add_argument("--checkpoint-every", type=int, default=500)
    parser.add_argument("--validate-every", type=int, default=500)
    parser.add_argument("--stop-after", type=float, default=0.0, help="seconds until checkpoint and stop")
    parser.add_argument("--imagenet", type=Path, help="ImageNet weights to start from")
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard logs")
    parser.add_argument("--no-export", action="store_true", help="write no ONNX files")
    parser.add_argument("--as-json", type=Path, metavar="FILE", help="only write the schedule as JSON")
    values = parser.parse_args(arguments)
    try:
        if values.as_json is not None:
            return _convert(values.config, values.as_json)
        if values.output is None:
            parser.error("--output is needed")
        config = load_config(values.config)
        if values.fraction != 1.0:
            config = config.scaled(values.fraction)
        run = Run(
            output=values.output,
            device=values.device,
            precision=values.precision,
            workers=values.workers,
            threads=values.threads,
            checkpoint_every=values.checkpoint_every,
            validate_every=values.validate_every,
            stop_after=values.stop_after,
            imagenet=values.imagenet,
            tensorboard=values.tensorboard,
        )
        told = [sys.executable, "-m", "training.pipeline", *(arguments or sys.argv[1:])]
        with joined(choose_device(run.device)) as processes:
            curve = run_pipeline(
                config, run, values.store, values.initial, not values.no_export, told, processes
            )
    except InverseFaceNetError as error:
        print(f"pipeline: {error}", file=sys.stderr)
        return 1
    if processes.first:
        print(summary(config, curve))
    return 0


def run_pipeline(
    config: PipelineConfig,
    run: Run,
    store: Path | None,
    initial: Path | None = None,
    export_each: bool = True,
    command: Sequence[str] = (),
    processes: Processes | None = None,
) -> list[dict[str, Any]]:
    """Run the schedule from where it is to its end, or to the time limit.

    Args:
        config: The schedule.
        run: Where and how; `run.output` is the whole run's folder.
        store: Photographs, needed for bootstrapping and fine-tuning.
        initial: Checkpoint that the first stage starts from.
        export_each: Write each stage's network as ONNX too.
        command: The command that this is, written into `run.json`; none to write no record.
        processes: Those that train together; the first does all but training.

    Returns:
        The curve so far: for each finished stage the figures on one held-out set; the first process knows it.

    Raises:
        InputError: If photographs are needed and not given, or the folder holds another run.
    """
    if config.needs_photos and store is None:
        raise InputError("The schedule learns from photographs: give --store (`python -m training.prepare`).")
    began = time.monotonic()
    stages = plan(config, run.output, store, initial)
    processes = processes or Processes()
    device = processes.device(choose_device(run.device))
    model = load_model(config.first)
    if command and processes.first:
        told = {"schedule": config.to_dict(), "run": asdict(run), "store": store, "initial": initial}
        run_record.write(run.output, told, command, model.digest, config.seed)
    progress = run_record.Progress([part for stage in stages for part in _parts(stage)])
    held_out: HeldOut | None = None
    curve = _read_curve(run.output)
    for number, stage in enumerate(stages):
        folder = run.output / stage.name
        if number < len(curve):
            continue
        if stage.corpus:
            assert store is not None
            if not Path(stage.options.parameters).is_file():
                progress.start(f"{stage.name}, corpus")
            before = run.output / stages[number - 1].name
            if processes.first:
                _draw_corpus(config, stage, before, folder, model, store, device)
            processes.wait()
        progress.start(stage.name, _done(folder))
        left = run.stop_after - (time.monotonic() - began) if run.stop_after else 0.0
        path = train(
            stage.options,
            replace(
                run,
                output=folder,
                stop_after=max(left, 1e-3) if run.stop_after else 0.0,
                imagenet=run.imagenet if number == 0 else None,
            ),
            progress=progress,
            processes=processes,
        )
        network, saved = checkpoints.load_network(path)
        if saved.iteration < stage.options.iterations:
            break
        progress.finish()
        if not processes.first:
            continue
        held_out = held_out or HeldOut(model, torch.device("cpu"))
        figures = held_out(network)
        if export_each:
            _export(path, folder)
        curve.append({"stage": stage.name, "seconds": round(saved.seconds, 1), **figures})
        write_atomically(run.output / CURVE, (json.dumps(curve, indent=1) + "\n").encode())
        print(f"{stage.name}: held-out loss {figures['loss']:.0f}", flush=True)
    return curve


def plan(config: PipelineConfig, output: Path, store: Path | None, initial: Path | None) -> list[Stage]:
    """Return the stages with their options; names and files follow from the run's folder."""

    def checkpoint(stage: str) -> str:
        return str(output / stage / checkpoints.FILE_NAME)

    def parameters(stage: str) -> str:
        return str(output / stage / "parameters.npy")

    first = replace(config.first, initial=str(initial) if initial else "")
    stages = [Stage("round-0", first, corpus=False)]
    for number in range(1, config.rounds + 1):
        name = f"round-{number}"
        options = replace(
            config.first,
            corpus_faces=0,
            initial=checkpoint(stages[-1].name),
            parameters=parameters(name),
            seed=config.seed + number,
        )
        stages.append(Stage(name, replace(options, **config.round_options), corpus=True))
    if config.finetuning is not None:
        name = "finetuning"
        options = replace(
            config.first,
            corpus_faces=0,
            initial=checkpoint(stages[-1].name),
            parameters=parameters(name),
            photos=str(store),
            seed=config.seed + config.rounds + 1,
        )
        stages.append(Stage(name, replace(options, **config.finetuning), corpus=True))
    return stages


def summary(config: PipelineConfig, curve: list[dict[str, Any]]) -> str:
    """Return the last line: how far the run is, and the held-out loss at its ends."""
    rounds = sum(stage["stage"].startswith("round-") for stage in curve) - 1
    done = len(curve) == 1 + config.rounds + (config.finetuning is not None)
    ends = (f"{curve[i]['loss']:.0f}" if curve else "none" for i in (0, -1))
    first, last = ends
    return f"rounds={max(rounds, 0)} loss_first={first} loss_last={last} finished={'yes' if done else 'no'}"


def _parts(stage: Stage) -> list[run_record.Stage]:
    """Return what a stage is made of, to tell the time that is left."""
    training = run_record.Stage(stage.name, "training", stage.options.iterations, seconds=0.5)
    if not stage.corpus:
        return [training]
    return [run_record.Stage(f"{stage.name}, corpus", "corpus", 1, seconds=300), training]


def _done(folder: Path) -> float:
    """Return the iterations that a stage did before this process."""
    path = folder / checkpoints.FILE_NAME
    return checkpoints.load(path).iteration if path.is_file() else 0.0


def _draw_corpus(
    config: PipelineConfig,
    stage: Stage,
    before: Path,
    folder: Path,
    model: MorphableModel,
    store: Path,
    device: torch.device,
) -> None:
    network, _ = checkpoints.load_network(before / checkpoints.FILE_NAME)
    write_corpus(
        folder,
        network.to(device),
        TorchFaceModel(model).to(device),
        PhotoStore.open(store),
        config.perturbation,
        stage.options.seed,
        device,
    )


def _export(checkpoint: Path, folder: Path) -> None:
    # Imported here: a bare machine that only trains need not have onnx.
    from training.export import export

    export(checkpoint, folder / "model.onnx", rank=512)


def _read_curve(output: Path) -> list[dict[str, Any]]:
    path = output / CURVE
    return json.loads(path.read_text()) if path.is_file() else []


def _convert(source: Path, target: Path) -> int:
    try:
        import yaml
    except ImportError as error:
        raise InputError("Converting a schedule needs PyYAML: pip install pyyaml.") from error
    load_config(source)
    target.write_text(json.dumps(yaml.safe_load(source.read_text()), indent=1) + "\n")
    print(f"file={target}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
