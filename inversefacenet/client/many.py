"""Many photos, a bounded number at once, each answered as soon as its answer is there.

Whatever ends a lane, the photos on it are not lost: where another attempt is safe each is sent again by
itself, within its own time. A photo that is late is given up alone; the lane takes no more then, but the
others on it keep their places, so that nothing is sent, or charged, again.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from inversefacenet.client.connection import AsyncLane, Broken, Entry, Event, Lane, Settled
from inversefacenet.client.requests import Photo, PhotoJob
from inversefacenet.client.results import ReconstructionResult
from inversefacenet.client.retry import Deadline, RefusedError, too_late
from inversefacenet.errors import InputError, InverseFaceNetError

# A lane answers in time or says that it can't; a photo that isn't answered this much later won't be.
_GRACE_SECONDS: Final = 0.5
_LEAST_SECONDS: Final = 0.05

Outcome = ReconstructionResult | InverseFaceNetError
Indexed = tuple[int, Outcome]


class _Waiting:
    """The photos that are on their way."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entries: Iterable[Entry]) -> None:
        self._entries.update((entry.index, entry) for entry in entries)

    def patience(self) -> float:
        """Return the seconds until the first of them is given up."""
        seconds = min(_given_up(entry).remaining() for entry in self._entries.values())
        # Whoever takes answers slowly must still see those that have come.
        return max(seconds, _LEAST_SECONDS)

    def late(self) -> list[Indexed]:
        """Give up those whose time is over, and return them with their error."""
        late = [entry.index for entry in self._entries.values() if not _given_up(entry).remaining()]
        for index in late:
            del self._entries[index]
        return [(index, too_late()) for index in late]

    def settle(self, event: Event) -> tuple[list[Indexed], list[Entry]]:
        """Return who is answered by an event, and who needs another attempt.

        Args:
            event: What happened.

        Raises:
            Exception: If the lane broke by a fault of this program.
        """
        if isinstance(event, Settled):
            entry = self._entries.pop(event.index, None)
            if entry is None:
                return [], []
            if isinstance(event.outcome, RefusedError):
                return [], [entry]
            return [(entry.index, event.outcome)], []
        entries = list(self._entries.values())
        self._entries.clear()
        if isinstance(event.failure, RefusedError):
            return [], entries
        if not isinstance(event.failure, InverseFaceNetError):
            raise event.failure
        return [(entry.index, event.failure) for entry in entries], []


def _given_up(entry: Entry) -> Deadline:
    return entry.deadline.later(_GRACE_SECONDS)


@dataclass(frozen=True)
class Limits:
    """How many photos are on their way, and for how long.

    Attributes:
        in_flight: How many at once.
        group: How many travel together.
        timeout: Seconds in which each must be answered.
    """

    in_flight: int
    group: int
    timeout: float

    def __post_init__(self) -> None:
        if self.in_flight < 1:
            raise InputError(f"in_flight can't be {self.in_flight}: at least one photo must be on its way.")

    def room(self, waiting: int) -> bool:
        """Return whether another group may leave."""
        return waiting == 0 or waiting + self.group <= self.in_flight

    def entry(self, index: int, job: PhotoJob) -> Entry:
        """Return a photo whose time begins now."""
        return Entry(index, job, Deadline.after(self.timeout))


def reconstruct_many(
    photos: Iterable[Photo],
    read: Callable[[Photo], PhotoJob],
    open_lane: Callable[[], Lane],
    alone: Callable[[Entry], ReconstructionResult],
    limits: Limits,
) -> Iterator[Indexed]:
    """Send photos and yield what becomes of each.

    Args:
        photos: Any number; taken as they are needed.
        read: Makes a photo ready to be sent.
        open_lane: Opens what carries them.
        alone: Reconstructs one of them by itself, with retries.
        limits: How many at once, and how long each may take.
    """
    source = enumerate(photos)
    waiting = _Waiting()
    lane: Lane | None = None
    tired = False
    try:
        while True:
            if lane is not None and tired and not waiting:
                lane.close()
                lane, tired = None, False
            while not tired and limits.room(len(waiting)) and (taken := list(islice(source, limits.group))):
                entries: list[Entry] = []
                for index, photo in taken:
                    try:
                        entries.append(limits.entry(index, read(photo)))
                    except InverseFaceNetError as error:
                        yield index, error
                if entries:
                    lane = lane or open_lane()
                    waiting.add(entries)
                    lane.send(entries)
            if lane is None or not waiting:
                return
            event = lane.next(waiting.patience())
            if event is None:
                late = waiting.late()
                tired = tired or bool(late)
                yield from late
                continue
            if isinstance(event, Broken):
                lane.close()
                lane, tired = None, False
            settled, again = waiting.settle(event)
            yield from settled
            for entry in again:
                try:
                    outcome: Outcome = alone(entry)
                except InverseFaceNetError as error:
                    outcome = error
                yield entry.index, outcome
    finally:
        if lane is not None:
            lane.close()


async def reconstruct_many_async(
    photos: Iterable[Photo] | AsyncIterable[Photo],
    read: Callable[[Photo], Awaitable[PhotoJob]],
    open_lane: Callable[[], AsyncLane],
    alone: Callable[[Entry], Awaitable[ReconstructionResult]],
    limits: Limits,
) -> AsyncIterator[Indexed]:
    """Send photos and yield what becomes of each; see `reconstruct_many`."""
    source = _numbered(photos)
    waiting = _Waiting()
    lane: AsyncLane | None = None
    tired = False
    try:
        while True:
            if lane is not None and tired and not waiting:
                await lane.close()
                lane, tired = None, False
            while not tired and limits.room(len(waiting)) and (taken := await _some(source, limits.group)):
                entries: list[Entry] = []
                for index, photo in taken:
                    try:
                        entries.append(limits.entry(index, await read(photo)))
                    except InverseFaceNetError as error:
                        yield index, error
                if entries:
                    lane = lane or open_lane()
                    waiting.add(entries)
                    await lane.send(entries)
            if lane is None or not waiting:
                return
            event = await lane.next(waiting.patience())
            if event is None:
                late = waiting.late()
                tired = tired or bool(late)
                for indexed in late:
                    yield indexed
                continue
            if isinstance(event, Broken):
                await lane.close()
                lane, tired = None, False
            settled, again = waiting.settle(event)
            for indexed in settled:
                yield indexed
            for entry in again:
                try:
                    outcome: Outcome = await alone(entry)
                except InverseFaceNetError as error:
                    outcome = error
                yield entry.index, outcome
    finally:
        if lane is not None:
            await lane.close()


async def _numbered(
    photos: Iterable[Photo] | AsyncIterable[Photo],
) -> AsyncIterator[tuple[int, Photo]]:
    index = 0
    if isinstance(photos, AsyncIterable):
        async for photo in photos:
            yield index, photo
            index += 1
        return
    for photo in photos:
        yield index, photo
        index += 1


async def _some(source: AsyncIterator[tuple[int, Photo]], count: int) -> list[tuple[int, Photo]]:
    taken: list[tuple[int, Photo]] = []
    while len(taken) < count:
        try:
            taken.append(await anext(source))
        except StopAsyncIteration:
            break
    return taken
