"""Figures of several methods on the same faces, and their tables."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64

from training.evaluation.intervals import Bootstrap, Interval
from training.evaluation.people import Rule, clusters

Row = dict[str, float]

HIGHER_IS_BETTER: Final = frozenset(("iou", "iou_hull"))
FIT: Final = "our fit"
"""The method under whose name the reference fits are measured."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of several methods on the same faces.

    Attributes:
        rows: A row of figures per face and method; what isn't known is NaN.
        failed: Photos that gave no face: unreadable, or none detected.
        names: Where each face comes from.
        numbers: Which face of its photo each is.
        answers: Each method's parameters per face, [faces, 350]; NaN where there are none.
        observed: More figures of each face, by what they are about.
        rule: How persons are told apart.
    """

    rows: dict[str, list[Row]]
    failed: list[str]
    names: list[str]
    numbers: list[int] = field(default_factory=list)
    answers: Mapping[str, Float32[np.ndarray, "faces 350"]] = field(default_factory=dict)
    observed: Mapping[str, list[Row]] = field(default_factory=dict)
    rule: Rule = "auto"

    def values(self, method: str, figure: str) -> Float64[np.ndarray, " faces"]:
        """Return a figure of all faces; NaN where it isn't known."""
        return np.array([row.get(figure, np.nan) for row in self.rows[method]], np.float64)

    def mean(self, method: str, figure: str) -> float:
        """Return the mean of a figure over all faces for which it is known."""
        values = self.values(method, figure)
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def figures(self) -> list[str]:
        """Return the names of all figures."""
        return list(dict.fromkeys(name for rows in self.rows.values() for row in rows for name in row))

    def people(self) -> tuple[list[str], str]:
        """Return each face's person, and the rule that told them apart."""
        return clusters(self.names, self.rule)

    def bootstrap(self) -> Bootstrap:
        """Return draws of these faces' persons."""
        return Bootstrap(self.people()[0])

    def table(self) -> str:
        """Return the figures as a Markdown table: mean ± standard deviation."""
        figures = self.figures()
        lines = []
        for method in self.rows:
            cells = []
            for figure in figures:
                values = self.values(method, figure)
                known = values[np.isfinite(values)]
                cells.append(f"{known.mean():.4g} ± {known.std():.3g}" if known.size else "")
            lines.append([method, *cells])
        return markdown(["method", *figures], lines)

    def interval_table(self, figures: Sequence[str], bootstrap: Bootstrap) -> str:
        """Return the means with their confidence intervals as a Markdown table."""
        lines = [
            [method, *(show(bootstrap.interval(self.values(method, figure))) for figure in figures)]
            for method in self.rows
        ]
        return markdown(["mean [95% interval]", *figures], lines)

    def difference_table(
        self, reference: str, others: Sequence[str], figures: Sequence[str], bootstrap: Bootstrap
    ) -> str:
        """Return how other methods differ from one, face by face, as a Markdown table.

        "better" and "worse" stand where the whole interval lies on one side of zero.
        """
        lines = []
        for other in others:
            cells = [other]
            for figure in figures:
                apart = bootstrap.difference(self.values(other, figure), self.values(reference, figure))
                cells.append(" ".join([show(apart, sign=True), verdict(figure, apart)]).strip())
            lines.append(cells)
        return markdown([f"less {reference} [95% interval]", *figures], lines)

    def only(self, names: Mapping[str, str]) -> Evaluation:
        """Return the figures of some methods alone, by new names (old: new)."""
        rows = {new: self.rows[old] for old, new in names.items()}
        answers = {new: self.answers[old] for old, new in names.items() if old in self.answers}
        return replace(self, rows=rows, answers=answers)

    def worst(self, method: str, figure: str, count: int) -> list[int]:
        """Return the faces on which a method does worst, the worst first."""
        values = self.values(method, figure)
        badness = -values if figure in HIGHER_IS_BETTER else values
        order = np.argsort(-np.where(np.isfinite(badness), badness, -np.inf), kind="stable")
        return [int(index) for index in order[:count] if np.isfinite(badness[index])]

    def write_csv(self, path: Path) -> None:
        """Write a line per face and method: photo, face, person, method, figures."""
        people, _ = self.people()
        figures = self.figures()
        numbers = self.numbers or [0] * len(self.names)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["photo", "face", "person", "method", *figures])
            for method, rows in self.rows.items():
                for name, number, person, row in zip(self.names, numbers, people, rows, strict=True):
                    known = (row.get(figure, float("nan")) for figure in figures)
                    cells = [f"{value:.6g}" if np.isfinite(value) else "" for value in known]
                    writer.writerow([name, number, person, method, *cells])


def verdict(figure: str, apart: Interval) -> str:
    """Return "better" or "worse" if a difference is certain enough to say so, else nothing."""
    if not apart.excludes_zero():
        return ""
    return "better" if (apart.mean > 0) == (figure in HIGHER_IS_BETTER) else "worse"


def show(interval: Interval, *, sign: bool = False) -> str:
    """Return a mean with its interval, with as many decimals as its size asks for."""
    if not interval.count:
        return ""
    size = float(np.nanmax(np.abs([interval.mean, interval.low, interval.high])))
    decimals = 4 if size < 0.995 else 2 if size < 1000 else 0
    plus = "+" if sign else ""
    texts = [f"{v:{plus}.{decimals}f}" for v in (interval.mean, interval.low, interval.high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]" if np.isfinite(interval.low) else texts[0]


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rows = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*rows, *("| " + " | ".join(line) + " |" for line in lines)])
