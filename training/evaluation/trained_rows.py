"""The networks that Table 1 compares, as `training.rows` leaves them: a folder each."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from inversefacenet.crop import FaceCrop
from inversefacenet.errors import InputError
from training.evaluation.methods import Method

ROW_FILE: Final = "row.json"
NETWORK_FILE: Final = "model.onnx"
ORDER: Final = ("plain", "model-space", "bootstrapped", "resnet101", "mofa", "monofit")
"""The paper's order of rows; others follow by name."""

_REPEATS: Final = 30


@dataclass(frozen=True)
class TrainedRow:
    """One trained network and what it cost.

    Attributes:
        name: Its folder's name.
        title: What the tables call it.
        network: Its ONNX file.
        iterations: Iterations that it was trained for.
        planned: Iterations that the paper (or the plan) has for it.
        seconds: Training time.
        photos: Photographs that it learnt from.
    """

    name: str
    title: str
    network: Path
    iterations: int
    planned: int
    seconds: float
    photos: int

    def effort(self) -> str:
        """Return the iterations as a share of the planned ones."""
        share = f" ({100 * self.iterations / self.planned:.3g}% of {self.planned:,})" if self.planned else ""
        return f"{self.iterations:,}{share}"


def read_rows(folder: Path, names: Sequence[str] = ()) -> list[TrainedRow]:
    """Read the rows that exist, in the paper's order.

    Args:
        folder: Holds a folder per row; one without a finished network is passed over.
        names: These alone; none is all.

    Raises:
        InputError: If there is no row, or a row's file is damaged.
    """
    rows = []
    for file in sorted(folder.glob(f"*/{ROW_FILE}")):
        name, network = file.parent.name, file.with_name(NETWORK_FILE)
        if network.is_file() and (not names or name in names):
            rows.append(_read(name, file, network))
    if not rows:
        raise InputError(f"There is no trained row in {folder}: train one with `python -m training.rows`.")
    rank = {name: number for number, name in enumerate(ORDER)}
    return sorted(rows, key=lambda row: (rank.get(row.name, len(ORDER)), row.name))


def _read(name: str, file: Path, network: Path) -> TrainedRow:
    try:
        told = json.loads(file.read_text())
        return TrainedRow(
            name=name,
            title=str(told["title"]),
            network=network,
            iterations=int(told["iterations"]),
            planned=int(told["planned_iterations"]),
            seconds=float(told["seconds"]),
            photos=int(told["photos"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} doesn't say what was trained ({error}): train the row again.") from error


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it; nothing if it isn't known."""
    if not np.isfinite(seconds):
        return ""
    if seconds < 60:
        return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 3600 else f"{seconds / 3600:.3g} h"


def time_of(method: Method, crops: Sequence[FaceCrop], repeats: int = _REPEATS) -> float:
    """Return the median processor time in seconds that a method takes for one crop, after a first call.

    It is this thread's time, so that other work on the machine doesn't count; the method must use no other.
    """
    method(crops[0])
    times = []
    for number in range(repeats):
        began = time.thread_time()
        method(crops[number % len(crops)])
        times.append(time.thread_time() - began)
    return float(np.median(times))
