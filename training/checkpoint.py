"""Checkpoints: written so that a run killed at any moment leaves a whole one behind."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from inversefacenet.errors import InputError
from training.network import AlexNet, build
from training.options import Options

FILE_NAME: Final = "checkpoint.pt"


@dataclass(frozen=True)
class Checkpoint:
    """A run at one moment.

    Attributes:
        options: What is trained.
        iteration: Batches done.
        network: The network's weights.
        optimizer: The optimizer's state.
        schedule: The learning-rate schedule's state, if there is one.
        seconds: Time spent training so far.
        face_model: Digest of the face model that the parameters belong to.
        adapted: What `training.adapt` changed the network with; empty if it did not.
    """

    options: Options
    iteration: int
    network: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any] | None
    seconds: float
    face_model: str
    adapted: str = ""

    def save(self, path: Path) -> None:
        """Write the checkpoint beside its place and move it there in one step."""
        partial = path.with_suffix(".partial")
        torch.save({**self.__dict__, "options": self.options.to_dict()}, partial)
        partial.replace(path)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        InputError: If the file is missing or no checkpoint of this project.
    """
    if not path.is_file():
        raise InputError(f"There is no checkpoint at {path}: train first with `python -m training.train`.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**{**content, "options": Options(**content["options"])})
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is no checkpoint that this version can read: {error}.") from error


def load_network(path: Path) -> tuple[AlexNet, Checkpoint]:
    """Read a checkpoint and build its network, ready for inference."""
    checkpoint = load(path)
    network = build(checkpoint.options.to_dict())
    network.load_state_dict(checkpoint.network)
    return network.eval(), checkpoint
