"""A Ray cluster as the worker: many machines, any of which may go away in mid-run.

Each machine needs this package and sees the photos under the same paths; results come back to the process
that asked, which alone writes them. Ray's own retries are off: a task whose machine died is handed out again
here, so that each result is taken once.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Final, TypeVar

from inversefacenet.batch.engines import ATTEMPTS
from inversefacenet.errors import BackendError, MissingDependencyError

Task = TypeVar("Task")
Result = TypeVar("Result")

_MACHINES_LOST: Final = 50
"""Machines that a task may lose before it counts as given up: that isn't its fault, but it must end."""

_PATIENCE: Final = 120.0
"""Seconds to wait for a machine when none is left."""

_POLL: Final = 1.0

_HOST_AND_PORT: Final = re.compile(r"([^:/]+):(\d+)")
_REACHABLE: Final = 10.0  # seconds


def import_ray() -> ModuleType:
    """Import Ray.

    Raises:
        MissingDependencyError: It isn't installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "The engine 'ray' needs Ray, which is not installed", extra="ray"
        ) from error
    return ray


class RayEngine:
    """Runs tasks on a Ray cluster, each on one processor.

    Args:
        workers: Tasks at once; 0 takes as many as the cluster has processors, also when machines come and go.
        address: Of the cluster (host:port, ray://host:port, or auto). By default `RAY_ADDRESS`, else the
            cluster that runs on this machine, else a new one of this machine alone.

    Raises:
        MissingDependencyError: Ray isn't installed.
        BackendError: The cluster can't be reached.
    """

    name = "ray"

    def __init__(self, workers: int = 0, address: str | None = None) -> None:
        self._ray = import_ray()
        self.repeated = 0
        self._workers = workers
        if not self._ray.is_initialized():
            self._connect(address)

    def _connect(self, address: str | None) -> None:
        address = address or os.environ.get("RAY_ADDRESS") or None
        # A cluster of our own needs no dashboard; one that is there decides for itself.
        own: dict[str, Any] = {} if address else {"include_dashboard": False}
        try:
            if address and (found := _HOST_AND_PORT.fullmatch(address)):
                # Ray itself would try for minutes.
                socket.create_connection((found[1], int(found[2])), timeout=_REACHABLE).close()
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
        except Exception as error:  # Ray raises many kinds, plain Exception among them.
            where = f"at {address}" if address else "on this machine"
            raise BackendError(f"No Ray cluster answers {where}: {error}") from error

    def run(
        self, work: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Result | None]]:
        """Run the function on all tasks; see `Engine.run`.

        Raises:
            BackendError: No machine of the cluster has been left for two minutes.
        """
        ray = self._ray
        exceptions = ray.exceptions
        machine_gone = (exceptions.NodeDiedError, exceptions.ObjectLostError, exceptions.LocalRayletDiedError)
        remote = ray.remote(num_cpus=1, max_retries=0)(_call)
        shared = ray.put(work)
        waiting = iter(tasks)
        again: deque[tuple[Task, int, int]] = deque()
        running: dict[Any, tuple[Task, int, int]] = {}
        seen_machine = time.monotonic()

        def next_task() -> tuple[Task, int, int] | None:
            if again:
                return again.popleft()
            return next(((task, 1, 0) for task in waiting), None)

        try:
            while True:
                processors = self._processors()
                seen_machine = time.monotonic() if processors else seen_machine
                if time.monotonic() - seen_machine > _PATIENCE:
                    raise BackendError("The Ray cluster has had no processor for two minutes: add machines.")
                # Twice as many as can run, so that nobody waits for the next task.
                while len(running) < 2 * max(1, processors) and (following := next_task()):
                    running[remote.remote(shared, following[0])] = following
                if not running:
                    return
                for reference in ray.wait(list(running), num_returns=1, timeout=_POLL)[0]:
                    task, attempt, lost = running.pop(reference)
                    result: Result | None = None
                    try:
                        result = ray.get(reference)
                    except machine_gone:
                        lost += 1
                    except (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError):
                        attempt += 1
                    except exceptions.RayTaskError as error:
                        raise (error.cause or error) from error
                    if result is None and attempt <= ATTEMPTS and lost <= _MACHINES_LOST:
                        self.repeated += 1
                        again.append((task, attempt, lost))
                    else:
                        yield task, result
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def _processors(self) -> int:
        """Return how many tasks the cluster can run at once, now."""
        present = int(self._ray.cluster_resources().get("CPU", 0))
        return min(present, self._workers) if self._workers else present


def _call(work: Callable[[Any], Any], task: Any) -> Any:
    return work(task)
