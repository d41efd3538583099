"""Many photos over HTTP: a few in each request, a few requests at once."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from inversefacenet.client.connection import Broken, Entry, Event, Settled
from inversefacenet.client.errors import ServerError
from inversefacenet.client.rest_answers import TOO_LARGE, HttpAnswer, read_batch, read_reconstruction
from inversefacenet.client.rest_requests import HttpRequest, batch_request, reconstruct_request
from inversefacenet.client.retry import Deadline, OnWait, RefusedError, with_retries, with_retries_async
from inversefacenet.errors import InputError, InverseFaceNetError

GROUP: Final = 4
GROUP_BYTES: Final = 8 * 1024 * 1024

Exchange = Callable[[HttpRequest, Deadline], HttpAnswer]
AsyncExchange = Callable[[HttpRequest, Deadline], Awaitable[HttpAnswer]]


class RestLane:
    """Threads that each wait for the answer to one request."""

    def __init__(self, exchange: Exchange, in_flight: int, retries: int, on_wait: OnWait | None) -> None:
        """Prepare.

        Args:
            exchange: Sends one request.
            in_flight: How many photos there may be at once.
            retries: How many further attempts a refused request gets.
            on_wait: Hears of the pauses before them.
        """
        self._exchange = exchange
        self._retries = retries
        self._on_wait = on_wait
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        # Photos that are too large to share a request need one each.
        self._pool = ThreadPoolExecutor(in_flight, thread_name_prefix="inversefacenet")

    def send(self, entries: Sequence[Entry]) -> None:
        """Send photos."""
        for group in _groups(entries):
            self._pool.submit(self._ask, group)

    def next(self, timeout: float) -> Event | None:
        """Return what happens next; None if nothing does in so many seconds."""
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Send nothing more; what is on its way is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, group: Sequence[Entry]) -> None:
        try:
            answer = self._answers(group)
        except Exception as error:  # whatever it is, the caller's thread is to raise it
            answer = _failed(group, error)
        for event in answer:
            self._events.put(event)

    def _answers(self, group: Sequence[Entry]) -> list[Event]:
        def attempt(deadline: Deadline) -> list[Event]:
            return _read(group, self._exchange(_request(group), deadline))

        return with_retries(attempt, group[0].deadline, self._retries, self._on_wait)


class AsyncRestLane:
    """Tasks that each wait for the answer to one request."""

    def __init__(self, exchange: AsyncExchange, retries: int, on_wait: OnWait | None) -> None:
        """Prepare; see `RestLane`."""
        self._exchange = exchange
        self._retries = retries
        self._on_wait = on_wait
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, entries: Sequence[Entry]) -> None:
        """Send photos."""
        for group in _groups(entries):
            task = asyncio.create_task(self._ask(group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def next(self, timeout: float) -> Event | None:
        """Return what happens next; None if nothing does in so many seconds."""
        try:
            return await asyncio.wait_for(self._events.get(), timeout)
        except TimeoutError:
            return None

    async def close(self) -> None:
        """Drop what is on its way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, group: Sequence[Entry]) -> None:
        async def attempt(deadline: Deadline) -> list[Event]:
            return _read(group, await self._exchange(_request(group), deadline))

        try:
            answer = await with_retries_async(attempt, group[0].deadline, self._retries, self._on_wait)
        except Exception as error:  # whatever it is, the caller is to raise it
            answer = _failed(group, error)
        for event in answer:
            self._events.put_nowait(event)


def _groups(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Split photos that are too large together."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        if group and size + len(entry.job.content) > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(entry)
        size += len(entry.job.content)
    if group:
        yield group


def _request(group: Sequence[Entry]) -> HttpRequest:
    if len(group) == 1:
        return reconstruct_request(group[0].job)
    return batch_request([entry.job for entry in group])


def _read(group: Sequence[Entry], answer: HttpAnswer) -> list[Event]:
    if len(group) == 1:
        return [Settled(group[0].index, read_reconstruction(answer))]
    outcomes = read_batch(answer, len(group))
    return [Settled(entry.index, outcome) for entry, outcome in zip(group, outcomes, strict=True)]


def _failed(group: Sequence[Entry], error: Exception) -> list[Event]:
    if not isinstance(error, InverseFaceNetError):
        return [Broken(error)]
    # Together they are too much for this server; each by itself may not be.
    too_much = isinstance(error, InputError) or (isinstance(error, ServerError) and error.status == TOO_LARGE)
    divisible = len(group) > 1 and too_much
    return [Settled(entry.index, RefusedError(error) if divisible else error) for entry in group]
