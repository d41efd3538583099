"""Everything that a run has measured, and the figures that it is judged by."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.load.measure import Row, Turns
from benchmarks.load.overload import Overload

PIPELINE: Final = "in process"
CALLERS: Final = 32
"""Callers at which throughput is compared."""


@dataclass
class Results:
    """What a run has measured.

    Attributes:
        machine: What it was measured on.
        settings: What was measured, and how long.
        one_caller: Times of the pipeline and of each service's only caller, from the same rounds.
        rates: Photos a second at 32 callers by round, of all cores without a service and of each service.
        rows: Each service under each load.
        overloads: What was refused.
        problems: What went wrong, in words.
    """

    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    one_caller: dict[str, Turns] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    overloads: list[Overload] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def base_ms(self) -> float:
        """Median milliseconds of a photo without a service."""
        return self.one_caller[PIPELINE].median

    @property
    def limit(self) -> float:
        """Photos a second of all cores without a service."""
        return statistics.median(self.rates[PIPELINE])

    def services(self, backend: str) -> list[str]:
        """Return the services of a backend: its interfaces."""
        return [name for name in self.one_caller if name.startswith(f"{backend} ")]

    def p50(self, backend: str) -> float | None:
        """Return one caller's median milliseconds over the slower interface; None without that backend."""
        return max((self.one_caller[name].median for name in self.services(backend)), default=None)

    def throughput_ratio(self, backend: str) -> float | None:
        """Return the throughput at 32 callers over the limit, for the slower interface.

        It is the median over the rounds of each round's own ratio.
        """
        return min((self.ratio(name) for name in self.services(backend) if name in self.rates), default=None)

    def ratio(self, service: str) -> float:
        """Return a service's throughput at 32 callers over the limit."""
        pairs = zip(self.rates[service], self.rates[PIPELINE], strict=True)
        return statistics.median(own / limit for own, limit in pairs)

    @property
    def errors(self) -> int:
        """How many requests ended wrongly, and how many promises of an overload were broken."""
        faults = sum(len(overload.faults) for overload in self.overloads)
        return sum(row.errors for row in self.rows) + faults + len(self.problems)


def summary(results: Results) -> str:
    """Return the line of name=value pairs that a run ends in."""
    pairs: list[tuple[str, str]] = []
    for backend in ("embedded", "triton"):
        own = results.p50(backend)
        pairs.append((f"{backend}_p50_ratio", "none" if own is None else f"{own / results.base_ms:.3f}"))
        pairs.append((f"{backend}_extra_ms", "none" if own is None else f"{own - results.base_ms:.2f}"))
    ratio = results.throughput_ratio("embedded")
    pairs.append(("throughput_ratio", "none" if ratio is None else f"{ratio:.3f}"))
    pairs.append(("errors", str(results.errors)))
    return " ".join(f"{name}={value}" for name, value in pairs)


def to_dict(results: Results) -> dict[str, Any]:
    """Return everything, ready for JSON; times in milliseconds."""
    return {
        "machine": dict(results.machine),
        "settings": dict(results.settings),
        "one_caller": {
            name: {"median_ms": turns.median, "spread": turns.spread, "rounds_ms": turns.rounds}
            for name, turns in results.one_caller.items()
        },
        "rates": results.rates,
        "rows": [dataclasses.asdict(row) for row in results.rows],
        "overloads": [{**dataclasses.asdict(one), "faults": one.faults} for one in results.overloads],
        "problems": results.problems,
        "summary": dict(pair.split("=") for pair in summary(results).split()),
    }


def best_row(rows: Sequence[Row], service: str) -> Row:
    """Return a service's row of the highest throughput in a closed loop."""
    return max((row for row in rows if row.service == service and row.load == "closed"), key=_throughput)


def _throughput(row: Row) -> float:
    return row.throughput
