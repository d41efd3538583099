"""What the command prints of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from training.evaluation.result import FIT, Evaluation, markdown

PRINCIPAL: Final = ("geometric", "rotation", "reflectance", "light", "photometric", "iou", "landmark", "nme")
"""The figures whose intervals are printed, where they are known."""


def report(evaluation: Evaluation, networks: Sequence[str], worst: int) -> Iterator[str]:
    """Yield the parts of the report, Markdown tables and lines.

    Args:
        evaluation: The figures.
        networks: Names of the compared methods; the first is what the others are held against.
        worst: How many of the first one's worst faces are named.
    """
    yield from (f"failed: {name}" for name in evaluation.failed)
    yield evaluation.table()
    bootstrap = evaluation.bootstrap()
    figures = [figure for figure in PRINCIPAL if figure in evaluation.figures()]
    _, rule = evaluation.people()
    what = {"folder": "persons (folders)", "name": "persons (file names)", "photo": "photos"}[rule]
    yield f"\nIntervals: 95%, bootstrap over {bootstrap.cluster_count} {what}.\n"
    yield evaluation.interval_table(figures, bootstrap)
    fitted = [FIT] if FIT in evaluation.rows else []
    if fitted:
        known = int(np.isfinite(evaluation.values(FIT, "photometric")).sum())
        yield f"\n{known} of {len(evaluation.names)} faces have a fit; the others' geometry isn't known."
    others = [*networks[1:], *fitted]
    if others:
        yield "\n" + evaluation.difference_table(networks[0], others, figures, bootstrap)
    if worst:
        yield "\n" + worst_table(evaluation, networks[0], worst)


def worst_table(evaluation: Evaluation, method: str, count: int) -> str:
    """Return a method's worst faces by photometric error, as a Markdown table."""
    figures = [f for f in ("photometric", "iou", "landmark", "geometric") if f in evaluation.figures()]
    lines = []
    for index in evaluation.worst(method, "photometric", count):
        number = evaluation.numbers[index] if evaluation.numbers else 0
        row = evaluation.rows[method][index]
        cells = [f"{row[f]:.4g}" if np.isfinite(row.get(f, np.nan)) else "" for f in figures]
        lines.append([evaluation.names[index], str(number + 1), *cells])
    return markdown([f"worst faces of {method}", "face", *figures], lines)


def summary(evaluation: Evaluation, networks: Sequence[str], figures: Sequence[str]) -> str:
    """Return the last line: the first network's figures, and the others' with their names before them."""
    texts = [f"n={len(evaluation.names)}", f"failed={len(evaluation.failed)}"]
    for number, name in enumerate(networks):
        known = [figure for figure in figures if figure in evaluation.figures()]
        before = f"{name}_" if number else ""
        texts += [f"{before}{figure}={evaluation.mean(name, figure):.4f}" for figure in known]
    return " ".join(texts)
