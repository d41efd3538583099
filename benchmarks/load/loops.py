"""Closed and open loops of requests, and what they measured.

Convention:
    A closed loop has so many callers; each sends its next request when the last was answered. An open loop
    sends at random moments of a fixed mean rate (a Poisson process), whether the service keeps up or not;
    a latency counts from the moment at which the request was due, so that a slow service can't hide by
    slowing its clients. Requests that begin during the warm-up are not counted.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.load.requests import CANCELLED, NO_ANSWER, OK, REFUSALS, Request
from benchmarks.load.transports import Reply, Transport

_GRACE = 5.0  # a caller's patience beyond the request's own timeout
_AFTER_REFUSAL = 0.2  # a refused caller's pause; less than Retry-After asks for, as impatient callers do


@dataclass(frozen=True)
class Plan:
    """What a client process does.

    Attributes:
        requests: Sent in turn, or at random if `shuffled`.
        seconds: How long, after the warm-up.
        callers: Of a closed loop.
        rate: Requests a second of an open loop; None makes it a closed one.
        count: Ends the plan after so many requests, of a closed loop.
        warm_up: Seconds before those that count.
        shuffled: Choose requests at random.
        pause: Seconds that a caller of a closed loop waits between requests.
        seed: Of everything random.
        rest: Address of the REST interface, `host:port`.
        grpc: Address of the gRPC interface, `host:port`.
        keep: Bring the answers back too.
    """

    requests: tuple[Request, ...]
    seconds: float
    callers: int = 1
    rate: float | None = None
    count: int | None = None
    warm_up: float = 0.0
    shuffled: bool = False
    pause: float = 0.0
    seed: int = 0
    rest: str | None = None
    grpc: str | None = None
    keep: bool = False


@dataclass(frozen=True)
class Sample:
    """One request.

    Attributes:
        name: The request's name.
        began: When it was sent or due, in seconds of `time.perf_counter`, which all processes share.
        seconds: Until its answer was there.
        code: How it ended.
        expected: Whether that is right.
        retry_after: Whether the answer says when to try again.
        content: The answer, if the plan keeps them.
    """

    name: str
    began: float
    seconds: float
    code: str
    expected: bool
    retry_after: bool = False
    content: bytes = b""


@dataclass(frozen=True)
class Outcome:
    """What a plan measured.

    Attributes:
        samples: All requests, those of the warm-up too.
        window: Begin and end of the time that counts.
        cpu_seconds: Processor time of the client's process within the window.
    """

    samples: list[Sample] = field(default_factory=list)
    window: tuple[float, float] = (0.0, 0.0)
    cpu_seconds: float = 0.0

    @property
    def counted(self) -> list[Sample]:
        """The requests that began within the window."""
        begin, end = self.window
        return [sample for sample in self.samples if begin <= sample.began < end]

    @property
    def throughput(self) -> float:
        """Good answers a second: those that came within the window, whenever their request began."""
        begin, end = self.window
        good = [sample for sample in self.samples if sample.code == OK]
        done = sum(begin <= sample.began + sample.seconds < end for sample in good)
        return done / (end - begin) if end > begin else math.nan


class Loop:
    """Runs one plan."""

    def __init__(self, plan: Plan, transport: Transport) -> None:
        """Take the plan and the way to send its requests."""
        self._plan = plan
        self._transport = transport
        self._random = random.Random(plan.seed)
        self._next = 0
        self._samples: list[Sample] = []

    async def run(self) -> Outcome:
        """Send requests until the time is over, and wait for the last answers."""
        plan = self._plan
        begin = time.perf_counter() + plan.warm_up
        end = begin + plan.seconds
        usage = [asyncio.create_task(_processor_time_at(moment)) for moment in (begin, end)]
        if plan.rate is None:
            await asyncio.gather(*(self._caller(end) for _ in range(plan.callers)))
        else:
            await self._arrivals(plan.rate, end)
        if plan.count is not None:  # it may have ended long before its time
            for task in usage:
                task.cancel()
            return Outcome(self._samples, (begin, time.perf_counter()))
        before, after = [await task for task in usage]
        return Outcome(self._samples, (begin, end), after - before)

    async def _caller(self, end: float) -> None:
        while time.perf_counter() < end and (self._plan.count is None or self._next < self._plan.count):
            reply = await self._ask(self._choose(), time.perf_counter())
            pause = _AFTER_REFUSAL if reply.code in REFUSALS else self._plan.pause
            if pause:
                await asyncio.sleep(pause)

    async def _arrivals(self, rate: float, end: float) -> None:
        due = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            while True:
                due += self._random.expovariate(rate)
                if due >= end:
                    return
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(self._ask(self._choose(), due))

    def _choose(self) -> Request:
        requests = self._plan.requests
        self._next += 1
        return self._random.choice(requests) if self._plan.shuffled else requests[self._next % len(requests)]

    async def _ask(self, request: Request, due: float) -> Reply:
        patience = request.timeout + _GRACE if request.cancel_after is None else request.cancel_after
        try:
            async with asyncio.timeout(patience):
                reply = await self._transport.send(request)
        except TimeoutError:
            reply = Reply(NO_ANSWER if request.cancel_after is None else CANCELLED)
        self._samples.append(
            Sample(
                request.name,
                due,
                time.perf_counter() - due,
                reply.code,
                reply.code in request.expected,
                reply.retry_after,
                reply.content if self._plan.keep else b"",
            )
        )
        return reply


async def _processor_time_at(moment: float) -> float:
    """Return this process's processor time as it stands at a moment."""
    await asyncio.sleep(max(0.0, moment - time.perf_counter()))
    return time.process_time()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least value that `share` of all values don't exceed; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
