"""Results as text and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from benchmarks.load.measure import Row
from benchmarks.load.overload import Overload
from benchmarks.load.results import CALLERS, PIPELINE, Results

ROW_HEADER: Final = (
    "service",
    "load",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "p50 ratio",
    "photos/s",
    "of limit",
    "answers",
    "refused",
    "errors",
    "client ms",
    "front ms",
)
ROW_WIDTHS: Final = (14, 14, -8, -8, -8, -9, -8, -8, -8, -8, -6, -9, -8)
ONE_HEADER: Final = ("one caller", "p50 ms", "ratio", "extra ms", "spread")
ONE_WIDTHS: Final = (14, -8, -6, -8, -6)
RATE_HEADER: Final = (f"{CALLERS} callers", "photos/s", "of limit", "rounds")
RATE_WIDTHS: Final = (14, -8, -8, 40)
OVERLOAD_HEADER: Final = (
    "overload",
    "load",
    "sent",
    "served",
    "refused",
    "others",
    "p99 ms",
    "bound ms",
    "faults",
)
OVERLOAD_WIDTHS: Final = (14, 24, -6, -6, -7, -6, -8, -8, 40)


def row_cells(row: Row, base_ms: float, limit: float) -> tuple[str, ...]:
    """Return a row's cells under `ROW_HEADER`."""
    load = f"{row.callers} callers" if row.rate is None else f"{row.rate:.1f}/s open"
    return (
        row.service,
        load,
        *(f"{value:.1f}" for value in (row.p50, row.p95, row.p99)),
        f"{row.p50 / base_ms:.2f}",
        f"{row.throughput:.1f}",
        f"{row.throughput / limit:.2f}",
        str(row.answers),
        str(row.refusals),
        str(row.errors),
        f"{row.client_ms:.2f}",
        f"{row.front_ms:.2f}",
    )


def one_caller_cells(results: Results) -> Iterator[tuple[str, ...]]:
    """Yield the rows under `ONE_HEADER`."""
    for name, turns in results.one_caller.items():
        ratio, extra = turns.median / results.base_ms, turns.median - results.base_ms
        yield name, f"{turns.median:.2f}", f"{ratio:.3f}", f"{extra:.2f}", f"{turns.spread:.0%}"


def rate_cells(results: Results) -> Iterator[tuple[str, ...]]:
    """Yield the rows under `RATE_HEADER`."""
    for name, rates in results.rates.items():
        middle = sorted(rates)[len(rates) // 2]
        each = " ".join(f"{rate:.1f}" for rate in rates)
        ratio = 1.0 if name == PIPELINE else results.ratio(name)
        yield name, f"{middle:.1f}", f"{ratio:.3f}", each


def overload_cells(one: Overload) -> tuple[str, ...]:
    """Return an overload's cells under `OVERLOAD_HEADER`."""
    counts = (one.sent, one.served, one.refused, one.others)
    times = (f"{one.p99:.0f}", f"{one.bound:.0f}")
    return (one.service, one.load, *map(str, counts), *times, "; ".join(one.faults) or "none")


def machine_line(machine: Mapping[str, Any]) -> str:
    """Return the machine in one line."""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; load "
        f"before the run: {machine['load_average']}; Python {machine['python']}"
    )


def settings_line(settings: Mapping[str, Any]) -> str:
    """Return what was measured in one line."""
    where = f"{settings['workers']} workers, as many processes without a service"
    turns = f"medians of {settings['rounds']} rounds of {settings['calls']} calls in turn"
    times = f"{settings['seconds']:g} s a row after {settings['warm_up']:g} s"
    network = f"the network on {settings['threads']} thread(s) everywhere"
    return f"{settings['photos']}; {where}; {network}; one client process; {turns}; {times}"


def markdown(results: Results) -> str:
    """Return all tables as Markdown."""
    rows = [row_cells(row, results.base_ms, results.limit) for row in results.rows]
    parts = [
        "# Load",
        machine_line(results.machine) + ".",
        settings_line(results.settings) + ".",
        "## One caller beside the pipeline in a process of its own",
        _table(ONE_HEADER, list(one_caller_cells(results))),
        f"## {CALLERS} callers beside all cores without a service",
        _table(RATE_HEADER, list(rate_cells(results))),
        "## All loads",
        _table(ROW_HEADER, rows),
        "## Too much",
        _table(OVERLOAD_HEADER, [overload_cells(one) for one in results.overloads]),
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
