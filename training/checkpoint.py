"""Checkpoints: written so that a run killed at any moment leaves a whole one behind.

    python -m training.checkpoint out/run/checkpoint.pt --output weights.pt

writes the weights alone, in 16-bit floats: a sixth of the size. Such a file can be exported, evaluated and
started from (`--initial`), but not resumed. ``--whole`` keeps everything.

A checkpoint knows the runs that led to it, if each was started with ``--initial`` by a version that kept this
history. Where one wasn't, ``--before FIRST SECOND ...`` tells it from those runs' own checkpoints, and
``--adapted TEXT`` what `training.adapt` used.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import torch

from inversefacenet.errors import InputError, InverseFaceNetError
from training.encoder import Encoder
from training.network import build
from training.options import Options

FILE_NAME: Final = "checkpoint.pt"


@dataclass(frozen=True)
class Checkpoint:
    """A run at one moment.

    Attributes:
        options: What is trained.
        iteration: Batches done.
        network: The network's weights.
        optimizer: The optimizer's state; empty where the weights alone were kept.
        schedule: The learning-rate schedule's state, if there is one.
        seconds: Time spent training so far.
        face_model: Digest of the face model that the parameters belong to.
        adapted: What `training.adapt` changed the network with; empty if it did not.
        history: The runs that the network went through before this one, oldest first, a line each.
    """

    options: Options
    iteration: int
    network: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any] | None
    seconds: float
    face_model: str
    adapted: str = ""
    history: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write the checkpoint beside its place and move it there in one step."""
        partial = path.with_suffix(".partial")
        torch.save({**self.__dict__, "options": self.options.to_dict()}, partial)
        partial.replace(path)

    @property
    def resumable(self) -> bool:
        """Whether training can go on from here as if it had not stopped."""
        return bool(self.optimizer)

    def weights_alone(self) -> Checkpoint:
        """Return the weights in 16-bit floats without the optimizer's state, to be carried elsewhere."""
        network = {
            name: value.half() if value.is_floating_point() else value for name, value in self.network.items()
        }
        return replace(self, network=network, optimizer={}, schedule=None)

    def lineage(self) -> tuple[str, ...]:
        """Return the network's history with this run at its end: what a run that starts here inherits.

        What `training.adapt` changed is a stage of its own, after the run.
        """
        adapted = (f"last layer adapted to {self.adapted}",) if self.adapted else ()
        return (*self.history, summary(self), *adapted)

    def after(self, runs: Sequence[Checkpoint]) -> Checkpoint:
        """Return the same with another history: these runs, oldest first, each alone.

        Raises:
            InputError: If a run is of another face model or architecture.
        """
        for run in runs:
            if (run.face_model, run.options.architecture) != (self.face_model, self.options.architecture):
                raise InputError("Of the checkpoints before this one, some are of another kind of network.")
        own = [stage for run in runs for stage in replace(run, history=()).lineage()]
        return replace(self, history=tuple(own))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.checkpoint",
        description="Keep a checkpoint's weights alone, in 16 bits, or mend its history.",
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--whole", action="store_true", help="keep 32 bits and the optimizer's state")
    parser.add_argument(
        "--before",
        type=Path,
        nargs="+",
        metavar="CHECKPOINT",
        help="the runs that led here, oldest first, instead of what the file says",
    )
    parser.add_argument("--adapted", metavar="TEXT", help="what training.adapt used, if the file doesn't say")
    values = parser.parse_args(arguments)
    try:
        saved = load(values.checkpoint)
        if values.before is not None:
            saved = saved.after([load(path) for path in values.before])
        if values.adapted is not None:
            saved = replace(saved, adapted=values.adapted)
        if not values.whole:
            saved = saved.weights_alone()
        values.output.parent.mkdir(parents=True, exist_ok=True)
        saved.save(values.output)
    except InverseFaceNetError as error:
        print(f"checkpoint: {error}", file=sys.stderr)
        return 1
    for number, stage in enumerate(saved.lineage(), start=1):
        print(f"{number}. {stage}")
    size = values.output.stat().st_size
    print(f"iteration={saved.iteration} bytes={size} file={values.output}")
    return 0


def load(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        InputError: If the file is missing or no checkpoint of this project.
    """
    if not path.is_file():
        raise InputError(f"There is no checkpoint at {path}: train first with `python -m training.train`.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**{**content, "options": options_of(content["options"])})
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is no checkpoint that this version can read: {error}.") from error


def options_of(kept: Mapping[str, Any]) -> Options:
    """Return options that a file keeps, of whatever version of this project.

    Options that the file doesn't have yet get their defaults, under which a run does what it did before
    there were such options. Options that are gone since are left out.
    """
    known = {item.name for item in fields(Options)}
    return Options(**{name: value for name, value in kept.items() if name in known})


def load_network(path: Path) -> tuple[Encoder, Checkpoint]:
    """Read a checkpoint and build its network, ready for inference.

    Raises:
        InputError: If the file is missing, no checkpoint, or its weights don't fit its options.
    """
    checkpoint = load(path)
    network = build(checkpoint.options.to_dict())
    try:
        network.load_state_dict(checkpoint.network)
    except RuntimeError as error:
        raise InputError(f"The weights in {path} don't fit its options: {error}.") from error
    return network.eval(), checkpoint


def summary(checkpoint: Checkpoint) -> str:
    """Say in one line what a run trained on, without naming files."""
    options = checkpoint.options
    if options.fits:
        faces = f"{options.batch_size} photographs with their fits"
    elif options.loss == "none" or not options.batch_size:
        faces = "no labelled faces"
    else:
        faces = f"{options.batch_size} rendered faces ({options.distribution}, {options.augmentation})"
        if options.parameters:
            faces += f", {options.parameters_share:.0%} of them drawn around answers to photographs"
    parts = [
        f"{options.architecture}, {checkpoint.iteration} iterations of {faces}",
        f"{options.loss} loss",
        f"{options.optimizer} at {options.learning_rate:g}",
    ]
    if options.taught_batch:
        parts.append(f"{options.taught_batch} of another network's answers to photographs a batch")
    if options.photo_batch:
        parts.append(f"{options.photo_batch} photographs a batch by their own pixels")
    return "; ".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
