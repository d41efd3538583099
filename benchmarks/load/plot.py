"""Latency and throughput over the number of callers, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.load.results import Results
from inversefacenet.errors import MissingDependencyError

_MILLISECONDS: Final = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


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
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    latency, rate = figure.subplots(1, 2)
    closed = [row for row in results.rows if row.load == "closed"]
    for number, name in enumerate(dict.fromkeys(row.service for row in closed)):
        rows = [row for row in closed if row.service == name]
        callers = [row.callers for row in rows]
        colour = f"C{number}"
        latency.plot(callers, [row.p50 for row in rows], "o-", color=colour, label=f"{name}, p50")
        latency.plot(callers, [row.p99 for row in rows], "^:", color=colour, label=f"{name}, p99")
        rate.plot(callers, [row.throughput for row in rows], "o-", color=colour, label=name)
    latency.axhline(results.base_ms, color="0.3", linestyle="--", label="in process, p50")
    rate.axhline(results.limit, color="0.3", linestyle="--", label="all cores without a service")
    latency.set(xscale="log", yscale="log", xlabel="callers", ylabel="milliseconds", title="Time of a photo")
    rate.set(xscale="log", xlabel="callers", ylabel="photos a second", title="Throughput")
    lowest, highest = latency.get_ylim()
    latency.set_yticks([tick for tick in _MILLISECONDS if lowest <= tick <= highest])
    latency.yaxis.set_major_formatter("{x:.0f}")
    rate.set_ylim(bottom=0)
    ticks = sorted({row.callers for row in closed if row.callers})
    for axes in (latency, rate):
        axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=130)
