"""A bounded pool of threads for the work that holds the CPU; the event loop never waits for it."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from services.gateway.errors import OverloadedError
from services.gateway.metrics import Metrics

Result = TypeVar("Result")


class WorkerPool:
    """Runs a bounded number of photos at once and lets a bounded number wait."""

    def __init__(self, workers: int, queue: int, metrics: Metrics) -> None:
        """Create the pool; its threads start with the first work.

        Args:
            workers: Photos that are worked on at the same time.
            queue: Photos that may wait.
            metrics: Told how many do.
        """
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="reconstruct")
        self._capacity = workers + queue
        self._pending = 0
        self._metrics = metrics

    def check_room(self) -> None:
        """Refuse work while the queue is full. Cheap: call it before a body is read.

        Raises:
            OverloadedError: If there is no room.
        """
        if self._pending >= self._capacity:
            raise OverloadedError("All workers are busy and the queue is full: try again in a second.")

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run `work` in a thread and wait for it without holding up the event loop.

        Raises:
            OverloadedError: If there is no room.
        """
        self.check_room()
        self._pending += 1
        self._metrics.queued.inc()
        entered = time.perf_counter()

        def start() -> Result:
            self._metrics.queued.dec()
            self._metrics.stage_seconds.labels("queue").observe(time.perf_counter() - entered)
            with self._metrics.busy.track_inprogress():
                return work()

        # The copied context carries the request's id into the thread's log lines.
        future = asyncio.get_running_loop().run_in_executor(
            self._executor, contextvars.copy_context().run, start
        )
        # Room is given back when the thread is done, even if nobody waits for it any more.
        future.add_done_callback(self._leave)
        return await asyncio.shield(future)

    def _leave(self, future: asyncio.Future[Result]) -> None:
        self._pending -= 1
        if not future.cancelled():
            future.exception()  # marks it as seen: the waiting request may be gone

    def close(self) -> None:
        """Wait for the work that runs, and end the threads."""
        self._executor.shutdown(wait=True)
