"""Processes of our own: each does what it is told over a pipe, and ends with the one that started it."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

_CONTEXT: Final = multiprocessing.get_context("spawn")
_END_SECONDS: Final = 5.0


class ChildError(Exception):
    """A process failed or ended; the message says how."""


class Child:
    """A process that answers tasks one after another.

    Its target is a module's function: it takes the connection and its own arguments, sends None once it is
    ready, and hands the connection to `answer_tasks`.
    """

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        """Start it; `wait` says when it is ready."""
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=target, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def tell(self, task: object) -> None:
        """Give it a task, without waiting for the result."""
        self._connection.send(task)

    def finished(self, seconds: float) -> bool:
        """Tell whether a result, or its end, comes within so many seconds."""
        return self._connection.poll(seconds)

    def wait(self, seconds: float) -> Any:
        """Return the result of the last task, or None at the start.

        Raises:
            ChildError: If it fails, ends, or takes longer.
        """
        if not self.finished(seconds):
            raise ChildError(f"process {self.pid} gave no result within {seconds:g} s.")
        try:
            fine, result = self._connection.recv()
        except (EOFError, OSError) as error:
            raise ChildError(f"process {self.pid} ended unexpectedly.") from error
        if not fine:
            raise ChildError(str(result))
        return result

    def ask(self, task: object, seconds: float) -> Any:
        """Give it a task and return the result; raises as `wait`."""
        self.tell(task)
        return self.wait(seconds)

    def close(self) -> None:
        """End it."""
        self._connection.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def answer_tasks(connection: Connection, prepare: Callable[[], Callable[[Any], object]]) -> None:
    """Serve a `Child`: prepare, say so, and answer until the pipe ends.

    Args:
        connection: The child's end.
        prepare: Called once; returns what answers a task.
    """
    try:
        answer = prepare()
        connection.send((True, None))
        while True:
            task = connection.recv()
            connection.send((True, answer(task)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception:
        connection.send((False, traceback.format_exc()))
