"""A bounded pool of workers for what holds the CPU; the event loop never waits for it.

One thread of the pool looks after one slot. New photos wait in one line; the second half of a photo goes to
the slot that keeps its first, before anything new; a proof of readiness goes first of all.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from services.gateway.deadline import Deadline, deadline_error
from services.gateway.errors import OverloadedError, WorkerCrashedError
from services.gateway.metrics import Metrics
from services.gateway.schemas import ModelInfo
from services.gateway.slots import Slot, WorkerHungError, missing_worker

_HANG_SECONDS = 10.0  # past the longest time that a photo may take, its process is given this long
_WATCH_SECONDS = 1.0  # how often an idle worker is looked at
_RESTART_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)  # pauses between failing starts

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Place:
    """One photo's place in the pool, from its acceptance until no worker holds anything of it."""

    pool: WorkerPool
    working: int = 0
    closed: bool = False
    left: bool = False

    def leave(self) -> None:
        """Give the place back, now or when the worker that is at it has done."""
        self.closed = True
        self.settle()

    def settle(self) -> None:
        """Give the place back once it is closed and nobody works on it."""
        if self.closed and not self.working and not self.left:
            self.left = True
            self.pool.vacated()


@dataclass(eq=False)
class _Task:
    method: str
    arguments: tuple[Any, ...]
    deadline: Deadline
    place: Place | None
    entered: float = field(default_factory=time.perf_counter)
    result: Future[Any] = field(default_factory=Future)


class WorkerPool:
    """Runs a bounded number of photos at once and lets a bounded number wait."""

    def __init__(self, slots: Sequence[Slot], queue: int, metrics: Metrics, patience: float = 30.0) -> None:
        """Create the pool; call it inside the running event loop.

        Args:
            slots: Where jobs run; their number is how many run at the same time.
            queue: Photos that may wait.
            metrics: Told how many do.
            patience: Seconds that any photo may take. A worker that is at one for much longer hangs; the
                shorter time of a caller in a hurry says nothing about the worker.
        """
        self._patience = patience + _HANG_SECONDS
        self._slots = list(slots)
        self._capacity = len(self._slots) + queue
        # Those who can wait leave the rest of the queue to those who are refused otherwise.
        self._patient = len(self._slots) + (queue + 1) // 2
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._condition = threading.Condition()
        self._urgent: deque[_Task] = deque()
        self._line: deque[_Task] = deque()
        self._own: list[deque[_Task]] = [deque() for _ in self._slots]
        self._running = [False for _ in self._slots]
        self._closing = False
        self._occupied = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self.last_success = float("-inf")
        metrics.queue_capacity.set(queue)
        # Asked for at each scrape: nothing that several threads would have to keep in step.
        metrics.workers.set_function(lambda: self.running)
        metrics.queued.set_function(lambda: len(self._line))

    @property
    def running(self) -> int:
        """How many slots can take work now."""
        return sum(self._running)

    async def start(self) -> ModelInfo:
        """Start all slots at once.

        Raises:
            InverseFaceNetError: If one can't start.
        """
        starts = [asyncio.to_thread(slot.start) for slot in self._slots]
        try:
            outcomes = await asyncio.gather(*starts, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
        except BaseException:
            # One that failed, or a start that was called off.
            await asyncio.gather(*(asyncio.to_thread(slot.stop) for slot in self._slots))
            raise
        for index in range(len(self._slots)):
            self._running[index] = True
            thread = threading.Thread(target=self._serve, args=(index,), name=f"worker-{index}", daemon=True)
            thread.start()
            self._threads.append(thread)
        (info, *_) = [outcome for outcome in outcomes if isinstance(outcome, ModelInfo)]
        return info

    def check_room(self) -> None:
        """Refuse work while the queue is full. Cheap: call it before a body is read.

        Raises:
            OverloadedError: If there is no room.
        """
        if self._occupied >= self._capacity:
            raise OverloadedError("All workers are busy and the queue is full: try again in a second.")

    async def enter(self, deadline: Deadline, *, wait: bool = False) -> Place:
        """Take a place for a photo.

        Args:
            deadline: How long to wait for one.
            wait: Wait for a place instead of being refused.

        Raises:
            OverloadedError: If there is no room.
            DeadlineError: If none came free in time.
        """
        if not wait or (self._occupied < self._patient and not self._waiters):
            self.check_room()
            self._occupied += 1
            self._idle.clear()
            return Place(self)
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining())):
                await asyncio.shield(waiter)
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter.done():  # the place came at the same moment
                self.vacated()
            else:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                raise deadline_error() from None
            raise
        return Place(self)

    def vacated(self) -> None:
        """Hand a free place to whoever waits for one, or note that it is free."""
        self._occupied -= 1
        while self._waiters and self._occupied < self._patient:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._occupied += 1
                waiter.set_result(None)
        if self._occupied == 0:
            self._idle.set()

    async def idle(self) -> None:
        """Return when no photo is in the pool."""
        await self._idle.wait()

    async def run(
        self,
        place: Place,
        method: str,
        *arguments: Any,
        deadline: Deadline,
        unheard: Callable[[Any, int], None] | None = None,
    ) -> tuple[Any, int]:
        """Run a method in whichever slot is free next.

        Args:
            place: The photo's place in the pool.
            method: Name of a method of the worker's pipeline.
            *arguments: Its arguments.
            deadline: Until when.
            unheard: Given result and slot if the caller had gone by then; may run in any thread.

        Returns:
            Its result, and the slot that it ran in.

        Raises:
            DeadlineError: If it isn't done in time; if it hasn't begun by then it never will.
            InverseFaceNetError: What the method raised.
        """
        return await self._wait(_Task(method, arguments, deadline, place), self._line, unheard)

    async def run_in(
        self,
        slot: int,
        place: Place,
        method: str,
        *arguments: Any,
        deadline: Deadline,
        unheard: Callable[[Any, int], None] | None = None,
    ) -> tuple[Any, int]:
        """Run a method in a certain slot, before new photos; see `run`."""
        if not self._running[slot]:  # what it kept is gone: don't wait for its successor to say so
            raise WorkerCrashedError("The worker ended while it worked on this photo.")
        return await self._wait(_Task(method, arguments, deadline, place), self._own[slot], unheard)

    def drop_in(self, slot: int, method: str, *arguments: Any) -> None:
        """Run a method in a certain slot and forget about it."""
        task = _Task(method, arguments, Deadline.after(_HANG_SECONDS), None)
        with self._condition:
            self._own[slot].append(task)
            self._condition.notify_all()

    async def run_first(self, method: str, *arguments: Any, deadline: Deadline) -> None:
        """Run a method before all that waits."""
        if not self.running:
            raise missing_worker()
        await self._wait(_Task(method, arguments, deadline, None), self._urgent)

    async def _wait(
        self,
        task: _Task,
        line: deque[_Task],
        unheard: Callable[[Any, int], None] | None = None,
    ) -> tuple[Any, int]:
        if task.place is not None:
            task.place.working += 1
        with self._condition:
            line.append(task)
            self._condition.notify_all()
        try:
            async with asyncio.timeout(max(0.0, task.deadline.remaining())):
                result: tuple[Any, int] = await asyncio.wrap_future(task.result)
                unheard = None
                return result
        except TimeoutError:
            raise deadline_error() from None
        finally:
            if unheard is not None:
                task.result.add_done_callback(partial(_tell, unheard))
            if task.result.cancelled() or task.result.cancel():  # it never began, and never will
                with self._condition:
                    if task in line:
                        line.remove(task)
                if task.place is not None:
                    _finished(task.place)

    def _serve(self, index: int) -> None:
        """Look after one slot, in a thread of its own."""
        while True:
            # Looked at before a task is taken, so that a process that died idle costs nobody a photo.
            if not self._slots[index].alive():
                self._restart(index, WorkerCrashedError("The worker ended."), "")
            task = self._next(index)
            if task is None and self._closing:
                return
            if task is not None and task.result.set_running_or_notify_cancel():
                self._work(index, task)

    def _next(self, index: int) -> _Task | None:
        """Return the slot's next task, or None after a second without one."""
        with self._condition:
            while self._slots[index].alive():
                for line in (self._urgent, self._own[index], self._line):
                    if line:
                        return line.popleft()
                if self._closing or not self._condition.wait(_WATCH_SECONDS):
                    return None
            return None

    def _work(self, index: int, task: _Task) -> None:
        self._begin(task)
        outcome: Any = None
        failure: BaseException | None = None
        try:
            if task.method != "forget":  # tidying up is never too late
                task.deadline.check()
            outcome = self._slots[index].call(task.method, task.arguments, self._patience)
        except BaseException as error:
            failure = error
        # The place is free before the caller hears of it: one photo after the other is never refused.
        self._end(task)
        if failure is not None:
            task.result.set_exception(failure)
        else:
            if task.method in ("whole", "track", "probe"):
                self.last_success = time.monotonic()
            task.result.set_result((outcome, index))
        # A second half whose first died with an earlier process raises it too, in a process that is well.
        if isinstance(failure, WorkerCrashedError) and not self._slots[index].alive():
            self._restart(index, failure, _request_id(task))

    def _begin(self, task: _Task) -> None:
        self._metrics.busy.inc()
        if task.method in ("whole", "prepare", "track", "prepare_track", "render"):
            self._metrics.stage_seconds.labels("queue").observe(time.perf_counter() - task.entered)

    def _end(self, task: _Task) -> None:
        self._metrics.busy.dec()
        self._settle(task)

    def _settle(self, task: _Task) -> None:
        """Tell the event loop that no worker is at a task any more."""
        if task.place is not None:
            with suppress(RuntimeError):  # the loop has ended, and nobody counts any more
                self._loop.call_soon_threadsafe(_finished, task.place)

    def _restart(self, index: int, error: WorkerCrashedError, request_id: str) -> None:
        """Put a new process in the place of one that died; the other slots go on meanwhile."""
        cause = "hung" if isinstance(error, WorkerHungError) else "crashed"
        self._metrics.worker_restarts.labels(cause).inc()
        extra = {"request_id": request_id} if request_id else {}
        logger.error("worker %d %s: starting another", index, cause, extra=extra)
        self._running[index] = False
        self._fail_own(index, error)
        for pause in _pauses():
            if self._closing:
                return
            try:
                self._slots[index].start()
            except Exception as failure:  # no process, memory or file descriptor to be had, for instance
                logger.error("worker %d can't start: %s: %s", index, type(failure).__name__, failure)
                time.sleep(pause)
            else:
                self._running[index] = True
                return

    def _fail_own(self, index: int, error: WorkerCrashedError) -> None:
        """Refuse the second halves of photos whose first half died with the process."""
        with self._condition:
            # The very deque stays: whoever is just about to enter holds it already.
            lost = list(self._own[index])
            self._own[index].clear()
        for task in lost:
            if task.result.set_running_or_notify_cancel():
                task.result.set_exception(type(error)(*error.args))
                self._settle(task)

    async def close(self) -> None:
        """Wait for the work that runs, and end the slots."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        end = time.monotonic() + _HANG_SECONDS
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(0.0, end - time.monotonic()))
        await asyncio.gather(*(asyncio.to_thread(slot.stop) for slot in self._slots))


def _tell(unheard: Callable[[Any, int], None], result: Future[Any]) -> None:
    if not result.cancelled() and result.exception() is None:
        unheard(*result.result())


def _request_id(task: _Task) -> str:
    return getattr(task.arguments[0], "request_id", "") if task.arguments else ""


def _finished(place: Place) -> None:
    place.working -= 1
    place.settle()


def _pauses() -> Iterator[float]:
    yield from _RESTART_SECONDS
    while True:
        yield _RESTART_SECONDS[-1]
