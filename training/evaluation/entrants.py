"""The networks that a table has rows of: trained rows, and others by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inversefacenet.backends import InferenceBackend
from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.errors import InputError
from training.evaluation.methods import network_files
from training.evaluation.result import Evaluation
from training.evaluation.trained_rows import TrainedRow, read_rows


@dataclass(frozen=True)
class Entrant:
    """A network that takes part.

    Attributes:
        name: What its row is called.
        backend: The network, on one thread.
        row: What its training took; None if that isn't known.
    """

    name: str
    backend: InferenceBackend
    row: TrainedRow | None


def find_entrants(rows: Path | None, only: Sequence[str], networks: Sequence[str]) -> list[Entrant]:
    """Return the trained rows, then the networks that were named; the reference if there are none.

    Args:
        rows: Folder of trained rows.
        only: Names of those that count; none is all.
        networks: Others, as ``NAME=FILE``.

    Raises:
        InputError: If two have one name, or there is no row in the folder.
    """
    entrants: list[Entrant] = []
    if rows is not None:
        trained = read_rows(rows, only)
        entrants += [Entrant(row.title, OnnxBackend(row.network, threads=1), row) for row in trained]
    if networks or not entrants:
        files = network_files(networks)
        entrants += [Entrant(name, OnnxBackend(file, threads=1), None) for name, file in files.items()]
    names = [one.name for one in entrants]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"Two rows of the table are called '{name}'.")
    return entrants


def cell(evaluation: Evaluation, method: str, figure: str, factor: float = 1.0) -> str:
    """Return mean ± standard deviation over the faces, as the paper does; nothing if it isn't known."""
    if method not in evaluation.rows:
        return ""
    values = factor * evaluation.values(method, figure)
    known = values[np.isfinite(values)]
    return f"{known.mean():.2f} ± {known.std():.2f}" if known.size else ""
