"""One service under one kind of load, as a row of the table; and one caller in turn with the pipeline."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.load.client import Client
from benchmarks.load.loops import Outcome, Plan, percentile
from benchmarks.load.processes import processor_seconds
from benchmarks.load.requests import OK, REFUSALS, Interface, photo_requests
from benchmarks.load.servers import GatewayServer


@dataclass(frozen=True)
class Service:
    """A running gateway, over one of its interfaces.

    Attributes:
        backend: Where its network runs: `embedded` or `triton`.
        interface: `rest` or `grpc`.
        server: The gateway.
    """

    backend: str
    interface: Interface
    server: GatewayServer

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.backend} {self.interface}"

    def plan(self, photos: Sequence[bytes], seconds: float, **changes: Any) -> Plan:
        """Return a plan that sends photos to it."""
        requests = photo_requests(self.interface, photos)
        return Plan(requests, seconds, rest=self.server.rest, grpc=self.server.grpc, **changes)


@dataclass(frozen=True)
class Row:
    """One line of the table; times in milliseconds, of good answers alone.

    Attributes:
        service: Backend and interface.
        load: `closed` or `open`.
        callers: Of a closed loop.
        rate: Requests a second that were due, of an open loop.
        p50: Median.
        p95: 95th percentile.
        p99: 99th percentile.
        throughput: Good answers a second.
        answers: Good answers.
        refusals: Answers that only say that there is no room.
        errors: Everything else.
        client_ms: Processor time of the client's process a good answer.
        front_ms: Processor time of the gateway's front process a good answer, warm-up included.
    """

    service: str
    load: str
    callers: int | None
    rate: float | None
    p50: float
    p95: float
    p99: float
    throughput: float
    answers: int
    refusals: int
    errors: int
    client_ms: float
    front_ms: float


def measure(client: Client, service: Service, plan: Plan) -> tuple[Row, Outcome]:
    """Run a plan against a service."""
    before = processor_seconds(service.server.pid)
    outcome = client.run(plan)
    front = processor_seconds(service.server.pid) - before
    return make_row(service.name, plan, outcome, front), outcome


def make_row(name: str, plan: Plan, outcome: Outcome, front_seconds: float) -> Row:
    """Sum an outcome up."""
    good = [1e3 * sample.seconds for sample in outcome.counted if sample.code == OK]
    codes = [sample.code for sample in outcome.samples]
    refusals = sum(code in REFUSALS for code in codes)
    return Row(
        service=name,
        load="closed" if plan.rate is None else "open",
        callers=plan.callers if plan.rate is None else None,
        rate=plan.rate,
        p50=percentile(good, 0.5),
        p95=percentile(good, 0.95),
        p99=percentile(good, 0.99),
        throughput=outcome.throughput,
        answers=codes.count(OK),
        refusals=refusals,
        errors=len(codes) - codes.count(OK) - refusals,
        client_ms=1e3 * outcome.cpu_seconds / max(1, len(good)),
        front_ms=1e3 * front_seconds / max(1, codes.count(OK)),
    )


@dataclass(frozen=True)
class Turns:
    """Times of one candidate, some in each round.

    Attributes:
        rounds: Milliseconds by round.
    """

    rounds: tuple[tuple[float, ...], ...]

    @property
    def median(self) -> float:
        """Median over all rounds."""
        return statistics.median(time for turn in self.rounds for time in turn)

    @property
    def spread(self) -> float:
        """Interquartile range of the rounds' medians as a fraction of the median: how noisy the run was."""
        low, _, high = statistics.quantiles(map(statistics.median, self.rounds), n=4, method="inclusive")
        return (high - low) / self.median


def alternate(
    candidates: Mapping[str, Callable[[], Sequence[float]]], rounds: int, warm_up: int
) -> dict[str, Turns]:
    """Let candidates take turns, A B C A B C, so that what slows the machine for a while slows all alike.

    Args:
        candidates: Each returns the milliseconds that it measured itself in its turn.
        rounds: Turns that count.
        warm_up: Turns before those.

    Returns:
        The times, by name.
    """
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name in candidates}
    for turn in range(warm_up + rounds):
        for name, call in candidates.items():
            measured = tuple(call())
            if turn >= warm_up:
                times[name].append(measured)
    return {name: Turns(tuple(turns)) for name, turns in times.items()}


def one_caller(
    client: Client, service: Service, photos: Sequence[bytes], calls: int
) -> Callable[[], list[float]]:
    """Return a turn of a service's only caller: so many photos, one after another.

    Its calls raise RuntimeError if one isn't answered.
    """
    plan = service.plan(photos, 60.0 + calls, count=calls)

    def turn() -> list[float]:
        samples = client.run(plan).samples
        bad = [sample.code for sample in samples if sample.code != OK]
        if bad or len(samples) != calls:
            raise RuntimeError(f"{service.name}: {len(samples)} answers to {calls} photos, {bad}.")
        return [1e3 * sample.seconds for sample in samples]

    return turn
