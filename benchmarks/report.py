"""Results as text, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.baseline import Change
from benchmarks.batch import PRICE_PER_CORE_HOUR, Rates
from benchmarks.peers import OURS, OURS_DECODING, QUOTED, over_hog
from benchmarks.service import Service
from benchmarks.startup import StartUp
from benchmarks.timing import Comparison, Timing
from benchmarks.whole import Whole


@dataclass
class Results:
    """All that a run measured; what it left out is empty or None.

    Attributes:
        machine: What it was measured on.
        settings: What was measured, and how often.
        stages: Each stage beside its floor.
        photo: The photo beside the sum of its stages.
        sizes: The same for other sizes, by the side of a square; None where no face was found.
        peers: Photo to parameters and other software, in turn.
        service: The photo over REST and gRPC.
        start_up: New processes.
        worker: Loading and memory of a process of its own.
        batch: Many photos by one process and by all cores.
        price_per_core_hour: What the price of a million photos supposes.
        recall: Share of the full search's faces that the detector finds.
        corpus_per_core: Faces a second that one core makes for training.
        changes: What can be compared with an earlier run.
    """

    machine: Mapping[str, Any]
    settings: dict[str, Any]
    stages: list[Comparison] = field(default_factory=list)
    photo: Whole | None = None
    sizes: dict[int, Whole | None] = field(default_factory=dict)
    peers: Mapping[str, Timing] = field(default_factory=dict)
    service: Service | None = None
    start_up: StartUp | None = None
    worker: Mapping[str, float] = field(default_factory=dict)
    batch: Rates | None = None
    price_per_core_hour: float = PRICE_PER_CORE_HOUR
    recall: float | None = None
    corpus_per_core: float | None = None
    changes: list[Change] = field(default_factory=list)

    def stage(self, name: str) -> Comparison:
        """Return a stage by name."""
        return next(stage for stage in self.stages if stage.stage == name)


def summary(results: Results) -> str:
    """Return the line of name=value pairs that a run ends in; what wasn't measured is "none"."""
    assert results.photo is not None
    forward = results.stage("forward")
    cold = None if results.start_up is None else results.start_up.figures()["cold_s"]
    memory = None if results.service is None else results.service.worker_mb
    return (
        f"forward_ratio={forward.ratio:.3f} "
        f"forward_ms={forward.timing.milliseconds:.2f} "
        f"detect_ms={results.stage('detect').timing.milliseconds:.2f} "
        f"detect_recall={_value(results.recall, 4)} "
        f"render_ms={results.stage('render').timing.milliseconds:.2f} "
        f"photo_ms={results.photo.photo.milliseconds:.2f} "
        f"parts_ratio={results.photo.ratio:.3f} "
        f"corpus_per_core={_value(results.corpus_per_core, 0)} "
        f"cold_s={_value(cold, 2)} "
        f"worker_mb={_value(memory, 0)}"
    )


def _value(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def peers_line(peers: Mapping[str, Timing]) -> str:
    """Return photo to parameters over dlib's HOG detector as name=value pairs."""
    return (
        f"photo_to_hog={over_hog(peers, OURS):.3f} photo_to_hog_decoding={over_hog(peers, OURS_DECODING):.3f}"
    )


def figures_line(figures: Mapping[str, float]) -> str:
    """Return figures as name=value pairs."""
    return " ".join(f"{name}={value:.4g}" for name, value in figures.items())


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
        *_peers(results),
        "## A process of its own",
        worker_line(results.worker) + ".",
        *_figures(results),
        *_changes(results.changes),
        "## In one line",
        f"`{summary(results)}`",
    ]
    return "\n\n".join(parts) + "\n"


def _peers(results: Results) -> list[str]:
    if not results.peers:
        return []
    rows = [
        (name, milliseconds(time), f"{over_hog(results.peers, name):.3f}", f"{time.spread:.0%}")
        for name, time in results.peers.items()
    ]
    rows += [(name, "", f"{ratio:.3f}", "") for name, ratio in QUOTED.items()]
    header = ("512x512", "ms", "over dlib's HOG", "spread")
    return ["## Photo to parameters beside others", _table(header, rows)]


def _figures(results: Results) -> list[str]:
    parts = []
    if results.service is not None:
        parts += ["## The service", f"`{figures_line(results.service.figures())}`"]
    if results.start_up is not None:
        parts += ["## Start-up", f"`{figures_line(results.start_up.figures())}`"]
    if results.batch is not None:
        price = results.price_per_core_hour
        supposed = f"A core-hour is supposed to cost {price:g}."
        parts += ["## Many photos", f"`{results.batch.summary(price)}`", supposed]
    return parts


def _changes(changes: Sequence[Change]) -> list[str]:
    if not changes:
        return []
    rows = [
        (
            change.name,
            f"{change.now:.3f}",
            f"{change.then:.3f}",
            f"{change.worse:+.0%}",
            f"{change.noise:.0%}",
        )
        for change in changes
    ]
    header = ("ratio", "now", "then", "worse by", "noise")
    return ["## Beside the committed runs", _table(header, rows)]


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
        "peers": {
            name: {**_timing(time), "over_hog": round(over_hog(results.peers, name), 4)}
            for name, time in results.peers.items()
        },
        "quoted_over_hog": dict(QUOTED),
        "service": results.service and results.service.figures(),
        "start_up": results.start_up and results.start_up.figures(),
        "batch": results.batch
        and {
            "one": list(results.batch.one),
            "all": list(results.batch.all),
            "cores": results.batch.cores,
            "efficiency": round(results.batch.efficiency, 4),
            "price_per_core_hour": results.price_per_core_hour,
            "price_per_million": results.batch.price_of_a_million(results.price_per_core_hour),
        },
        "changes": [asdict(change) for change in results.changes],
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
