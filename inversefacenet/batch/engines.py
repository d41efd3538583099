"""Who does the work: processes on this machine, or a Ray cluster. Dying workers lose nothing.

An engine runs a function on tasks, in any order, and gives each task's result once. A task whose worker
dies (killed, out of memory, crashed by a photo's decoder, its machine gone) is done again elsewhere. One that
kills every worker it is given to is given up: `complete` then does its photos one by one, and the culprit
alone fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, Protocol, TypeVar, runtime_checkable

from inversefacenet.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")

ENGINES: Final = ("local", "ray")

CRASHED: Final = "crashed"
"""Slug of a photo that no worker survives."""

ATTEMPTS: Final = 3
"""Workers that a task may take with it before it is given up."""


@runtime_checkable
class Engine(Protocol):
    """Runs a function on many tasks.

    Attributes:
        name: One of `ENGINES`.
        repeated: How many tasks had to be handed out again so far, because a worker died.
    """

    name: str
    repeated: int

    def run(
        self, work: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Result | None]]:
        """Run the function on all tasks, only a few more at a time than there are workers.

        Args:
            work: What to do; a module's function, which may be bound to arguments by `functools.partial`.
                What it raises ends the run.
            tasks: What to do it on.

        Yields:
            Each task once, with its result; None if `ATTEMPTS` workers died of it.
        """
        ...


def complete(
    engine: Engine,
    work: Callable[[Task], list[Result]],
    tasks: Iterable[Task],
    split: Callable[[Task], list[Task]],
    crashed: Callable[[Task], list[Result]],
) -> Iterator[tuple[Task, list[Result]]]:
    """Run tasks to the end, whatever their photos do to the workers.

    Args:
        engine: Who works.
        work: Returns a list for a task.
        tasks: What to do.
        split: Cuts a task into tasks of one photo each.
        crashed: Says what to return for a photo that crashed its workers.

    Yields:
        Each task once, with its results; those of a task that had to be split stand in the same order.
    """
    given_up = []
    for task, result in engine.run(work, tasks):
        if result is None:
            given_up.append(task)
        else:
            yield task, result
    for task in given_up:
        parts = list(enumerate(split(task)))
        results = {part[0]: result for part, result in engine.run(_Numbered(work), parts)}
        joined: list[Result] = []
        for number, part in parts:
            one = results[number]
            joined += crashed(part) if one is None else one
        yield task, joined


class _Numbered(Generic[Task, Result]):
    """Leaves a task's number out, which is there to know the results apart."""

    def __init__(self, work: Callable[[Task], Result]) -> None:
        self._work = work

    def __call__(self, task: tuple[int, Task]) -> Result:
        return self._work(task[1])


def make_engine(name: str, workers: int = 0, address: str | None = None) -> Engine:
    """Return an engine by name.

    Args:
        name: One of `ENGINES`.
        workers: Local: processes, by default one per processor. Ray: tasks at once, by default as many as the
            cluster has processors.
        address: Of a Ray cluster; by default the one that runs here, or a new one.

    Raises:
        InputError: There is no such engine, or it has no address.
        MissingDependencyError: Ray isn't installed.
        BackendError: The cluster can't be reached.
    """
    if name == "local":
        if address is not None:
            raise InputError("--address belongs to a Ray cluster: add --engine ray.")
        from inversefacenet.batch.local_engine import LocalEngine

        return LocalEngine(workers)
    if name == "ray":
        from inversefacenet.batch.ray_engine import RayEngine

        return RayEngine(workers, address)
    raise InputError(f"There is no engine '{name}': choose one of {', '.join(ENGINES)}.")
