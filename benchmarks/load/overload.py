"""More than the service can do: what it refuses must be exact, and what it accepts must stay quick."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.load.client import Client
from benchmarks.load.loops import Outcome, Plan, percentile
from benchmarks.load.measure import Service
from benchmarks.load.requests import OK, REFUSALS

PATIENCE: Final = 1.5
"""The 99th percentile may be this many times what a full queue takes at the measured throughput."""

_SETTLE_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Overload:
    """What happened to the requests of an overloaded service.

    Attributes:
        service: Backend and interface.
        load: What was sent, in words.
        sent: Requests.
        served: Those that were answered.
        refused: Those that were told that there is no room.
        others: Those that ended in any other way.
        without_retry: Refusals that don't say when to try again.
        counted_served: What the service's own counters say.
        counted_refused: What the service's own counters say.
        p99: Milliseconds of what was served.
        bound: Milliseconds that it may take: what workers and a full queue need, times `PATIENCE`.
        throughput: Answers a second.
    """

    service: str
    load: str
    sent: int
    served: int
    refused: int
    others: int
    without_retry: int
    counted_served: int
    counted_refused: int
    p99: float
    bound: float
    throughput: float

    @property
    def faults(self) -> list[str]:
        """What isn't as it should be, in words."""
        checks = {
            f"{self.others} requests ended in neither": self.others == 0,
            f"{self.without_retry} refusals without Retry-After": self.without_retry == 0,
            f"the service counts {self.counted_served} served": self.counted_served == self.served,
            f"the service counts {self.counted_refused} refused": self.counted_refused == self.refused,
            "nothing was refused": self.refused > 0,
            "nothing was served": self.served > 0,
            f"p99 is {self.p99:.0f} ms": self.p99 <= self.bound,
        }
        return [fault for fault, fine in checks.items() if not fine]


def overload(client: Client, service: Service, plan: Plan, capacity: int) -> Overload:
    """Run a plan that is too much.

    Args:
        client: Sends it.
        service: A gateway that does nothing else.
        plan: What is sent.
        capacity: Photos that the service holds at once: workers and queue.
    """
    before = _counters(service)
    outcome = client.run(plan)
    after = _settled(service, before, outcome)
    codes = Counter(sample.code for sample in outcome.samples)
    refusals = [sample for sample in outcome.samples if sample.code in REFUSALS]
    good = [1e3 * sample.seconds for sample in outcome.samples if sample.code == OK]
    load = f"{plan.callers} callers" if plan.rate is None else f"{plan.rate:.0f} requests a second"
    return Overload(
        service.name,
        load,
        sent=len(outcome.samples),
        served=codes[OK],
        refused=len(refusals),
        others=len(outcome.samples) - codes[OK] - len(refusals),
        without_retry=sum(not sample.retry_after for sample in refusals),
        counted_served=after[0] - before[0],
        counted_refused=after[1] - before[1],
        p99=percentile(good, 0.99),
        bound=PATIENCE * 1e3 * capacity / outcome.throughput if outcome.throughput else 0.0,
        throughput=outcome.throughput,
    )


def _counters(service: Service) -> tuple[int, int]:
    """Return the photos served and the requests refused for want of room, as the service counts them."""
    served = service.server.metric("photos_total", outcome=OK)
    causes = ("queue", "uploads")
    refused = sum(service.server.metric("refusals_total", cause=cause) for cause in causes)
    return round(served), round(refused)


def _settled(service: Service, before: Sequence[int], outcome: Outcome) -> tuple[int, int]:
    """Return the counters once they have taken in the last answers: those are sent first, then counted."""
    codes = [sample.code for sample in outcome.samples]
    expected = (codes.count(OK), sum(code in REFUSALS for code in codes))
    until = time.monotonic() + _SETTLE_SECONDS
    while True:
        after = _counters(service)
        arrived = (after[0] - before[0], after[1] - before[1])
        if arrived == expected or time.monotonic() > until:
            return after
        time.sleep(0.1)
