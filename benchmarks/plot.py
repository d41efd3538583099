"""A run as a picture: stages over their floors, where a photo's time goes, and the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.peers import HOG, QUOTED
from benchmarks.report import Results
from inversefacenet.errors import MissingDependencyError

_OWN, _FLOOR, _OTHER = "#2a6f97", "#bcbcbc", "#a44a3f"
_GOAL: Final = 0.2
_DPI: Final = 130


def draw(results: Results, path: Path) -> None:
    """Write the picture as PNG.

    Raises:
        MissingDependencyError: If matplotlib isn't installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "The plot needs matplotlib, which is not installed", extra="dev"
        ) from error
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    axes = figure.subplot_mosaic([["stages", "photo"], ["stages", "peers"]], width_ratios=(1.1, 1))
    _stages(axes["stages"], results)
    _photo(axes["photo"], results)
    _peers(axes["peers"], results)
    machine = results.machine
    figure.suptitle(f"{machine['cpu']}, {machine['cores']} cores", fontsize=10)
    figure.savefig(path, dpi=_DPI)


def _stages(axes: Any, results: Results) -> None:
    rows = results.stages[::-1]
    places = range(len(rows))
    own = [row.timing.milliseconds for row in rows]
    floors = [row.floor_timing.milliseconds for row in rows]
    axes.barh([place + 0.2 for place in places], own, 0.38, color=_OWN, label="stage")
    axes.barh([place - 0.2 for place in places], floors, 0.38, color=_FLOOR, label="its floor")
    for place, row in zip(places, rows, strict=True):
        longer = max(row.timing.milliseconds, row.floor_timing.milliseconds)
        axes.text(1.05 * longer, place, f"{row.ratio:.2f}", va="center", fontsize=8)
    axes.set_yticks(list(places), [row.stage for row in rows], fontsize=9)
    axes.set_xscale("log")
    lowest, highest = axes.get_xlim()
    axes.set_xlim(lowest, highest * 1.6)
    axes.set_xlabel("milliseconds; the number is the ratio")
    axes.set_title("Stages beside their floors", fontsize=10)
    axes.legend(fontsize=8, loc="upper right")
    axes.grid(axis="x", alpha=0.3)


def _photo(axes: Any, results: Results) -> None:
    """Stack the stages of each photo, beside the whole photo's time."""
    wholes = {f"{side}x{side}": whole for side, whole in results.sizes.items() if whole is not None}
    for number, whole in enumerate(wholes.values()):
        left = 0.0
        for colour, (name, step) in enumerate(whole.steps.items()):
            label = name if number == 0 else None
            axes.barh(number + 0.18, step.milliseconds, 0.34, left=left, color=f"C{colour}", label=label)
            left += step.milliseconds
        label = "whole photo" if number == 0 else None
        axes.barh(number - 0.2, whole.photo.milliseconds, 0.34, color="0.35", label=label)
    axes.set_yticks(range(len(wholes)), list(wholes), fontsize=9)
    axes.set_xlabel("milliseconds")
    axes.set_title("JPEG to parameters and quality, and the sum of its stages", fontsize=10)
    axes.legend(fontsize=7, ncols=2, loc="lower right")
    axes.grid(axis="x", alpha=0.3)


def _peers(axes: Any, results: Results) -> None:
    times = results.peers
    hog = times[HOG].median if times else 1.0
    bars = {name: time.median / hog for name, time in times.items()} | dict(QUOTED)
    names = list(bars)[::-1]
    colours = [_FLOOR if name in QUOTED else _OWN if "photo to" in name else _OTHER for name in names]
    axes.barh(names, [bars[name] for name in names], 0.6, color=colours)
    axes.axvline(_GOAL, color="0.2", linestyle="--", linewidth=1, label=f"goal, {_GOAL}")
    for place, name in enumerate(names):
        axes.text(bars[name] * 1.01, place, f" {bars[name]:.2f}", va="center", fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlim(0, 1.12 * max([*bars.values(), _GOAL]))
    axes.set_xlabel("time over dlib's HOG detector on 512x512")
    axes.legend(fontsize=7, loc="lower right")
    axes.grid(axis="x", alpha=0.3)
