"""Worker processes on this machine; one that dies costs no more than the task that it was at."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from inversefacenet.batch.engines import ATTEMPTS

Task = TypeVar("Task")
Result = TypeVar("Result")


_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_END: Final = object()
_AHEAD: Final = 1  # tasks that a worker is given beside the one that it is at


class _Worker(Generic[Task]):
    """A process, the task that it is at, and the one that it goes on with by itself."""

    def __init__(self, work: Callable[[Task], Any]) -> None:
        # Spawned, not forked: the parent has threads, and libraries that don't survive a fork.
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, work), daemon=True)
        with _one_thread_each():
            self.process.start()
        theirs.close()
        self.tasks: deque[tuple[Task, int]] = deque()

    def give(self, task: Task, attempt: int) -> None:
        self.tasks.append((task, attempt))
        # If it has died, reading from the pipe will say so.
        with suppress(OSError):
            self.pipe.send(task)

    def stop(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class LocalEngine:
    """Runs tasks in processes.

    Args:
        workers: How many; 0 takes one per processor that this process may use.
    """

    name = "local"

    def __init__(self, workers: int = 0) -> None:
        self.workers = workers or len(os.sched_getaffinity(0))
        self.repeated = 0

    def run(
        self, work: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Result | None]]:
        """Run the function on all tasks; see `Engine.run`."""
        waiting = iter(tasks)
        again: deque[tuple[Task, int]] = deque()
        workers: list[_Worker[Task]] = []

        def next_task() -> tuple[Task, int] | None:
            if again:
                return again.popleft()
            return next(((task, 1) for task in waiting), None)

        def hand_out() -> None:
            """Give every worker a task, and then one more, so that none waits while results are written."""
            while len(workers) < self.workers and (following := next_task()):
                workers.append(_Worker(work))
                workers[-1].give(*following)
            for most in range(_AHEAD + 1):
                for worker in workers:
                    if len(worker.tasks) <= most and (following := next_task()):
                        worker.give(*following)

        try:
            while True:
                hand_out()
                busy = {worker.pipe: worker for worker in workers if worker.tasks}
                if not busy:
                    return
                for pipe in connection.wait(list(busy)):
                    worker = busy[pipe]  # type: ignore[index]
                    try:
                        good, answer = worker.pipe.recv()
                    except (EOFError, OSError):
                        workers.remove(worker)
                        worker.stop()
                        (task, attempt), *untouched = worker.tasks
                        again.extend(untouched)
                        if attempt < ATTEMPTS:
                            self.repeated += 1
                            again.append((task, attempt + 1))
                        else:
                            yield task, None
                        continue
                    task, _ = worker.tasks.popleft()
                    if not good:
                        raise answer
                    hand_out()
                    yield task, answer
        finally:
            for worker in workers:
                worker.stop()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that start now do linear algebra in one thread: they share the processors already.

    It also makes their results the same bits on every machine.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """Do tasks until the other side closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too; the parent decides.
    tasks: SimpleQueue[Any] = SimpleQueue()
    # Read beside the work: else either side could wait for the other to read what it sends.
    threading.Thread(target=_receive, args=(pipe, tasks), daemon=True).start()
    while (task := tasks.get()) is not _END:
        try:
            answer = (True, work(task))
        except Exception as error:  # Whatever it is, the parent raises it.
            error.add_note("In a worker process:\n" + traceback.format_exc())
            answer = (False, error)
        try:
            pipe.send(answer)
        except OSError:
            return


def _receive(pipe: Connection, tasks: SimpleQueue[Any]) -> None:
    with suppress(EOFError, OSError):
        while True:
            tasks.put(pipe.recv())
    tasks.put(_END)
