"""Figure 4: how the loss on faces of higher variation, and the error on photographs, fall over the rounds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from inversefacenet.errors import InputError, MissingDependencyError
from training.evaluation.intervals import Interval
from training.evaluation.result import markdown, show
from training.evaluation.trained_rows import NETWORK_FILE

_ROUND: Final = re.compile(r"round-(\d+)")
_NAMES: Final[Mapping[str, str]] = {
    "loss": "model-space loss, higher variation",
    "geometric": "geometric error (mm), higher variation",
    "photometric": "photometric error, photographs",
    "iou": "intersection over union, photographs",
}


@dataclass(frozen=True)
class Point:
    """One network on the curve.

    Attributes:
        label: The round, or the name of a network beside the curve.
        figures: Means with their intervals.
    """

    label: str
    figures: Mapping[str, Interval]


def find_rounds(folder: Path) -> dict[str, Path]:
    """Return the networks of a run's rounds, in order, by their round's number.

    Raises:
        InputError: If there are none.
    """
    found = {}
    for file in folder.glob(f"*/{NETWORK_FILE}"):
        match = _ROUND.fullmatch(file.parent.name)
        if match:
            found[int(match.group(1))] = file
    if not found:
        raise InputError(
            f"There is no round-0/{NETWORK_FILE} in {folder}: run `python -m training.pipeline`."
        )
    return {str(number): found[number] for number in sorted(found)}


def curve_table(points: Sequence[Point]) -> str:
    """Return the curve as a Markdown table."""
    figures = list(points[0].figures)
    lines = [[point.label, *(show(point.figures[figure]) for figure in figures)] for point in points]
    return markdown(["round", *(_NAMES.get(figure, figure) for figure in figures)], lines)


def draw_curve(rounds: Sequence[Point], beside: Sequence[Point], path: Path) -> Path:
    """Draw a panel per figure: the rounds as a line with their intervals, other networks as levels.

    Raises:
        MissingDependencyError: If matplotlib isn't installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("Plots need matplotlib: pip install matplotlib.") from error
    figures = list(rounds[0].figures)
    picture = Figure(figsize=(4.2 * len(figures), 3.4), layout="constrained")
    axes: Any = picture.subplots(1, len(figures), squeeze=False)
    for panel, figure in zip(axes[0], figures, strict=True):
        places = np.arange(len(rounds))
        shown = [point.figures[figure] for point in rounds]
        means = np.array([one.mean for one in shown])
        reach = [means - [one.low for one in shown], [one.high for one in shown] - means]
        panel.errorbar(places, means, yerr=reach, marker="o", markersize=4, capsize=2.5, color="#1f5fa8")
        for number, point in enumerate(beside):
            style = ("--", ":", "-.")[number % 3]
            panel.axhline(point.figures[figure].mean, linestyle=style, color="#555555", label=point.label)
        panel.set_title(_NAMES.get(figure, figure), fontsize=9)
        panel.set_xticks(places, [point.label for point in rounds])
        panel.set_xlabel("bootstrapping round")
        panel.grid(alpha=0.3)
        if beside:
            panel.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=110)
    return path
