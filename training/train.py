"""Train the network on rendered faces: ``python -m training.train --output out/run`` (Section 6).

One command on a CPU or a GPU. Batches are rendered as they are needed, by worker processes on a CPU and
on the device itself on a GPU. It needs numpy, numba, Pillow, jaxtyping and torch. A run that is stopped
or killed resumes from its last checkpoint when the same command is given again. Several processes share the
work if torchrun starts them (`training.distributed`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from torch import Tensor, nn

from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.morphable_model import MorphableModel
from training import checkpoint as checkpoints
from training import run_record
from training.batches import batches, corpus_of
from training.distributed import Processes, joined
from training.encoder import Encoder
from training.network import build
from training.options import Options, Run, parse
from training.step import Step
from training.validation import Validation

LOG_EVERY: Final = 50


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options, run = parse(arguments)
    try:
        train(options, run, command=[sys.executable, "-m", "training.train", *(arguments or sys.argv[1:])])
    except InverseFaceNetError as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    return 0


def train(
    options: Options,
    run: Run,
    command: Sequence[str] = (),
    progress: run_record.Progress | None = None,
    processes: Processes | None = None,
) -> Path:
    """Train until the options' last iteration, or until the time limit.

    Args:
        options: What to train.
        run: Where and how.
        command: The command that this is, written into `run.json`; none to write no record.
        progress: The schedule that this is the current stage of.
        processes: Those that train together, if they have joined already.

    Returns:
        The last checkpoint's path.

    Raises:
        InputError: If the folder holds a run with other options or of another face model.
        MissingDependencyError: If TensorBoard is asked for and not installed.
    """
    device = choose_device(run.device)
    if processes is not None:
        return _train(options, run, command, progress, processes.device(device), processes)
    with joined(device) as processes:
        return _train(options, run, command, progress, processes.device(device), processes)


def _train(
    options: Options,
    run: Run,
    command: Sequence[str],
    progress: run_record.Progress | None,
    device: torch.device,
    processes: Processes,
) -> Path:
    if run.threads:
        torch.set_num_threads(run.threads)
    torch.manual_seed(options.seed)
    run.output.mkdir(parents=True, exist_ok=True)
    path = run.output / checkpoints.FILE_NAME
    model = load_model(options)
    corpus = corpus_of(model, options, device, processes)
    network = build(options.to_dict()).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in the stub
    if run.imagenet is not None:
        _load_imagenet(network, run.imagenet)
    history: tuple[str, ...] = ()
    if options.initial:
        history = _start_from(network, Path(options.initial), model)
    optimizer, schedule = make_optimizer(network, options)
    start, spent = 0, 0.0
    if path.is_file():
        start, spent = _resume(path, options, model, network, optimizer, schedule)
        if processes.first:
            print(f"resuming at iteration {start}", flush=True)
    processes.check_same("the first iteration", start)
    wrapped = processes.wrap(network, device)
    step = Step(wrapped, optimizer, schedule, options, model, device, run.precision == "bf16")
    validation = Validation(model, options, device) if processes.first else None
    log = _Log(run, options, progress) if processes.first else None
    if command and processes.first:
        config = {"options": options.to_dict(), "run": asdict(run), "processes": processes.count}
        run_record.write(run.output, config, command, model.digest, options.seed)
    began = time.monotonic()

    def save(iteration: int) -> None:
        checkpoints.Checkpoint(
            options=options,
            iteration=iteration,
            network=network.state_dict(),
            optimizer=optimizer.state_dict(),
            schedule=schedule.state_dict() if schedule else None,
            seconds=spent + time.monotonic() - began,
            face_model=model.digest,
            history=history,
        ).save(path)

    iteration = start
    for batch in batches(corpus, run, device, start):
        # Dropout's draws then belong to the iteration, and a resumed run repeats none.
        torch.manual_seed(options.seed + (iteration << 20) + (processes.rank << 50))
        terms = step(batch.to(device))
        iteration += 1
        done = iteration == options.iterations
        late = bool(run.stop_after) and processes.any(time.monotonic() - began > run.stop_after)
        if iteration % LOG_EVERY == 0 or done:
            terms = processes.mean(terms)
            if log is not None:
                log.progress(iteration, start, time.monotonic() - began, terms)
        if log is not None and validation is not None and (iteration % run.validate_every == 0 or done):
            log.validation(iteration, validation(network))
        if processes.first and (iteration % run.checkpoint_every == 0 or done or late):
            save(iteration)
        if late and not done:
            if processes.first:
                print(
                    f"stopped at iteration {iteration} by the time limit; the same command resumes",
                    flush=True,
                )
            break
    if log is not None:
        log.close()
    processes.wait()
    return path


def load_model(options: Options) -> MorphableModel:
    """Return the face model that the options name; the one that ships by default."""
    return (
        MorphableModel.load(Path(options.face_model)) if options.face_model else MorphableModel.load_default()
    )


def choose_device(name: str) -> torch.device:
    """Return the device; "auto" takes a GPU where there is one.

    Raises:
        InputError: If a GPU is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("No GPU is usable here: leave --device out, or give --device cpu.")
    return torch.device(name)


def make_optimizer(
    network: nn.Module, options: Options
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler | None]:
    """Return the optimizer and its schedule: AdaDelta as the paper has it, or AdamW with one cycle."""
    if options.optimizer == "adadelta":
        # Zeiler 2012's own constants; the paper names only the rate and the weight decay.
        return torch.optim.Adadelta(
            network.parameters(),
            lr=options.learning_rate,
            rho=0.95,
            eps=1e-6,
            weight_decay=options.weight_decay,
        ), None
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
    )
    # A tenth of the run warms up; of very short runs more, as a warm-up of one step divides by zero.
    warm_up = max(0.1, min(1.5 / options.iterations, 0.9))
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=options.iterations, pct_start=warm_up
    )


def _load_imagenet(network: Encoder, path: Path) -> None:
    try:
        network.load_imagenet(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, UnpicklingError, AttributeError) as error:
        raise InputError(f"{path} holds no weights with torchvision's names: {error}.") from error


def _start_from(network: Encoder, path: Path, model: MorphableModel) -> tuple[str, ...]:
    """Take over another run's weights; returns what they went through."""
    saved = checkpoints.load(path)
    if saved.face_model != model.digest:
        raise InputError(f"{path} is of another face model: its parameters mean other things.")
    try:
        network.load_state_dict(saved.network)
    except RuntimeError as error:
        raise InputError(
            f"{path} is of a network with other layers: give the same --architecture, --rank and "
            "--batch-norm."
        ) from error
    return saved.lineage()


def _resume(
    path: Path,
    options: Options,
    model: MorphableModel,
    network: Encoder,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler | None,
) -> tuple[int, float]:
    saved = checkpoints.load(path)
    if saved.options != options:
        changed = sorted(
            name for name, value in options.to_dict().items() if saved.options.to_dict()[name] != value
        )
        raise InputError(
            f"{path.parent} holds a run with other options ({', '.join(changed)}): give the same options "
            "to resume it, or another --output."
        )
    if saved.face_model != model.digest:
        raise InputError(f"{path.parent} holds a run of another face model: give another --output.")
    if not saved.resumable:
        raise InputError(f"{path} holds weights alone: give it as --initial, and another --output.")
    network.load_state_dict(saved.network)
    optimizer.load_state_dict(saved.optimizer)
    if schedule is not None and saved.schedule is not None:
        schedule.load_state_dict(saved.schedule)
    return saved.iteration, saved.seconds


class _Log:
    """Progress on the terminal, `log.jsonl`, and TensorBoard where it is wanted."""

    def __init__(self, run: Run, options: Options, progress: run_record.Progress | None) -> None:
        self._iterations = options.iterations
        self._path = run.output / "log.jsonl"
        self._progress = progress
        self._board = run_record.Board(run.output / "tensorboard" if run.tensorboard else None)
        self._write({"options": options.to_dict()})

    def progress(self, iteration: int, start: int, seconds: float, terms: dict[str, Tensor]) -> None:
        pace = seconds / (iteration - start)
        left = f"{run_record.duration(pace * (self._iterations - iteration))} left"
        if self._progress is not None:
            self._progress.update(iteration)
            left += f" (all: {self._progress.line()})"
        values = {name: float(value) for name, value in terms.items()}
        shown = " ".join(f"{name} {value:.0f}" for name, value in values.items())
        print(f"{iteration}/{self._iterations} {pace:.3f} s/it, {left}: {shown}", flush=True)
        self._write({"iteration": iteration, "seconds": seconds, **values}, "train")

    def validation(self, iteration: int, figures: dict[str, float]) -> None:
        print(
            "  validation: " + " ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True
        )
        self._write({"iteration": iteration, **figures}, "validation")

    def _write(self, entry: dict[str, Any], prefix: str = "") -> None:
        with self._path.open("a") as stream:
            stream.write(json.dumps({"kind": prefix or "options", **entry}) + "\n")
        if prefix:
            values = {name: value for name, value in entry.items() if name != "iteration"}
            self._board.scalars(prefix, entry["iteration"], values)

    def close(self) -> None:
        self._board.close()


if __name__ == "__main__":
    raise SystemExit(main())
