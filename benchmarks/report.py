"""Results as text, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.timing import Comparison, Timing
from benchmarks.whole import Whole


@dataclass
class Results:
    """All that a run measured.

    Attributes:
        machine: What it was measured on.
        settings: What was measured, and how often.
        stages: Each stage beside its floor.
        photo: The photo beside the sum of its stages.
        sizes: The same for other sizes, by the side of a square; None where no face was found.
        worker: Start-up and memory of a process of its own.
    """

    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    stages: list[Comparison] = field(default_factory=list)
    photo: Whole | None = None
    sizes: dict[int, Whole | None] = field(default_factory=dict)
    worker: Mapping[str, float] = field(default_factory=dict)

    def stage(self, name: str) -> Comparison:
        """Return a stage by name."""
        return next(stage for stage in self.stages if stage.stage == name)


def summary(results: Results) -> str:
    """Return the line of name=value pairs that a run ends in."""
    assert results.photo is not None
    return (
        f"forward_ratio={results.stage('forward').ratio:.3f} "
        f"detect_ms={results.stage('detect').timing.milliseconds:.2f} "
        f"render_ms={results.stage('render').timing.milliseconds:.2f} "
        f"photo_ms={results.photo.photo.milliseconds:.2f}"
    )


STAGE_HEADER = ("stage", "ms", "floor", "floor ms", "ratio", "spread")
SIZE_HEADER = (
    "photo",
    "photo ms",
    "sum ms",
    "ratio",
    "decode",
    "(floor)",
    "detect",
    "(floor)",
    "predict",
    "crop",
    "forward",
    "render",
    "measure",
)
STAGE_WIDTHS = (16, -8, 42, -8, -6, -6)
SIZE_WIDTHS = (15, -9, -9, -6, *[-7] * 9)


def stage_row(row: Comparison) -> tuple[str, ...]:
    """Return a stage's cells under `STAGE_HEADER`."""
    return (
        row.stage,
        milliseconds(row.timing),
        row.floor,
        milliseconds(row.floor_timing),
        f"{row.ratio:.2f}",
        f"{row.timing.spread:.0%}",
    )


def size_row(label: str, whole: Whole | None) -> tuple[str, ...]:
    """Return a photo's cells under `SIZE_HEADER`."""
    if whole is None:
        return (label, "no face found", *[""] * (len(SIZE_HEADER) - 2))
    steps, floors = whole.steps, whole.floors
    return (
        label,
        milliseconds(whole.photo),
        f"{whole.sum_of_steps * 1e3:.2f}",
        f"{whole.ratio:.2f}",
        milliseconds(steps["decode"]),
        milliseconds(floors["decode"]),
        milliseconds(steps["detect"]),
        milliseconds(floors["detect"]),
        *(milliseconds(steps[name]) for name in ("predict", "crop", "forward", "render", "measure")),
    )


def milliseconds(timing: Timing) -> str:
    """Return a median in milliseconds, to the microsecond where it is below one."""
    value = timing.milliseconds
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def text_row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return cells as a line of columns: positive widths to the left, negative ones to the right."""
    aligned = [
        cell.ljust(width) if width > 0 else cell.rjust(-width)
        for cell, width in zip(cells, widths, strict=True)
    ]
    return "  ".join(aligned).rstrip()


def machine_line(machine: Mapping[str, Any]) -> str:
    """Return the machine in one line."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    variables = "".join(f" {name}={value}" for name, value in machine["thread_variables"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; "
        f"threads: {machine['threads']}{variables}; load before the run: {machine['load_average']}; "
        f"Python {machine['python']}, {packages}"
    )


def settings_line(settings: Mapping[str, Any]) -> str:
    """Return what was measured in one line."""
    return (
        f"{settings['photo']}, {settings['width']}x{settings['height']}; network {settings['network'][:12]}, "
        f"face model {settings['face_model']}; medians of {settings['rounds']} rounds, each candidate in turn"
    )


def worker_line(worker: Mapping[str, float]) -> str:
    """Return a process's start-up and memory in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in worker.items())


def markdown(results: Results) -> str:
    """Return the tables as Markdown."""
    rows = [(*stage_row(row), row.note) for row in results.stages]
    sizes = [size_row(f"{side}x{side} JPEG", whole) for side, whole in results.sizes.items()]
    if results.photo:
        sizes.insert(0, size_row(str(results.settings["photo"]), results.photo))
    parts = [
        "# Benchmarks",
        machine_line(results.machine) + ".",
        settings_line(results.settings) + ".",
        "## Stages beside their floors",
        _table((*STAGE_HEADER, "contains"), rows),
        "## A photo beside the sum of its stages (milliseconds)",
        _table(SIZE_HEADER, sizes),
        "## A process of its own",
        worker_line(results.worker) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def to_dict(results: Results) -> dict[str, Any]:
    """Return everything, ready for JSON; times in milliseconds."""
    return {
        "machine": dict(results.machine),
        "settings": dict(results.settings),
        "stages": {
            row.stage: {
                **_timing(row.timing),
                "note": row.note,
                "floor": row.floor,
                "floors": {name: _timing(floor) for name, floor in row.floors.items()},
                "ratio": round(row.ratio, 4),
            }
            for row in results.stages
        },
        "photo": _whole(results.photo),
        "sizes": {str(side): _whole(whole) for side, whole in results.sizes.items()},
        "worker": dict(results.worker),
        "summary": dict(pair.split("=") for pair in summary(results).split()),
    }


def _whole(whole: Whole | None) -> dict[str, Any] | None:
    if whole is None:
        return None
    return {
        "size": list(whole.size),
        **_timing(whole.photo),
        "steps": {name: _timing(step) for name, step in whole.steps.items()},
        "floors": {name: _timing(floor) for name, floor in whole.floors.items()},
        "parts_ratio": round(whole.ratio, 4),
    }


def _timing(timing: Timing) -> dict[str, float]:
    return {
        "ms": round(timing.milliseconds, 4),
        "fastest_ms": round(min(timing.seconds) * 1e3, 4),
        "spread": round(timing.spread, 4),
    }
