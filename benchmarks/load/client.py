"""A client process: runs plans, one after another, on one event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from multiprocessing.connection import Connection

from benchmarks.load.children import Child, answer_tasks
from benchmarks.load.loops import Loop, Outcome, Plan
from benchmarks.load.transports import BothTransports

_START_SECONDS = 60.0
_SLACK_SECONDS = 120.0


class Client:
    """Clients in a process of their own, which share their interpreter's lock with nobody."""

    def __init__(self) -> None:
        """Start the process."""
        self._child = Child(serve)
        self._child.wait(_START_SECONDS)

    def run(self, plan: Plan) -> Outcome:
        """Run a plan and return what it measured.

        Raises:
            ChildError: If the process fails.
        """
        self.start(plan)
        return self.result(plan)

    def start(self, plan: Plan) -> None:
        """Begin a plan."""
        self._child.tell(plan)

    def running(self, seconds: float) -> bool:
        """Wait so many seconds or until the plan is done; tell whether it still runs."""
        return not self._child.finished(seconds)

    def result(self, plan: Plan) -> Outcome:
        """Return what the plan that was started measured.

        Raises:
            ChildError: If the process fails.
        """
        outcome = self._child.wait(plan.warm_up + plan.seconds + _SLACK_SECONDS)
        assert isinstance(outcome, Outcome)
        return outcome

    def close(self) -> None:
        """End the process."""
        self._child.close()


def serve(connection: Connection) -> None:
    """Run in the client's process: answer plans with outcomes."""
    # gRPC's asyncio objects belong to one event loop; connections of one address stay open between plans.
    transports: dict[tuple[str | None, str | None], BothTransports] = {}

    async def run(plan: Plan) -> Outcome:
        address = (plan.rest, plan.grpc)
        if address not in transports:
            transports[address] = BothTransports(*address)
        return await Loop(plan, transports[address]).run()

    with asyncio.Runner() as runner:

        def prepare() -> Callable[[Plan], Outcome]:
            return lambda plan: runner.run(run(plan))

        answer_tasks(connection, prepare)
