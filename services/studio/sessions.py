"""The photos that are held: in memory alone, few, for minutes, each under a name that nobody can guess."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

from services.studio.errors import SessionLostError, StudioBusyError
from services.studio.portrait import Portrait

_SPARE_SECONDS: Final = 60.0


class Session:
    """One visitor's photo.

    Attributes:
        name: Whoever knows it may edit the photo.
        portrait: The photo and the face in it.
        bytes: Memory that it takes, as estimated when it was opened.
        used: When it was last asked for, in seconds of the store's clock.
        latest: Highest number of a request so far, by its kind.
    """

    def __init__(self, portrait: Portrait, used: float) -> None:
        """Give a photo a name."""
        self.name = secrets.token_urlsafe(32)
        self.portrait = portrait
        self.bytes = portrait.memory
        self.used = used
        self.latest: dict[str, int] = {}

    def announce(self, kind: str, number: int) -> None:
        """Note that a request came; earlier ones of its kind that still wait are then obsolete."""
        self.latest[kind] = max(number, self.latest.get(kind, number))

    def obsolete(self, kind: str, number: int) -> bool:
        """Say whether a later request of the same kind came."""
        return number < self.latest.get(kind, number)


class SessionStore:
    """Holds sessions within bounds. All of it runs on the event loop: nothing is locked."""

    def __init__(
        self, limit: int, memory: int, idle: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start empty.

        Args:
            limit: Most sessions.
            memory: Most bytes of all together.
            idle: Seconds without use after which a session ends.
            clock: Seconds that only grow.
        """
        self._limit, self._memory, self._idle, self._clock = limit, memory, idle, clock
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def bytes(self) -> int:
        """Memory of all sessions, as estimated."""
        return sum(one.bytes for one in self._sessions.values())

    def add(self, portrait: Portrait) -> Session:
        """Hold a photo. Where there is no room, the one that rests longest goes, if it rests for a minute.

        Raises:
            StudioBusyError: If all of them are in use.
        """
        self.sweep()
        session = Session(portrait, self._clock())
        while len(self) >= self._limit or (len(self) and self.bytes + session.bytes > self._memory):
            oldest = min(self._sessions.values(), key=lambda one: one.used)
            if self._clock() - oldest.used < _SPARE_SECONDS:
                raise StudioBusyError(
                    "The studio holds as many photos as it can just now. Try again in a minute."
                )
            self.forget(oldest.name)
        self._sessions[session.name] = session
        return session

    def get(self, name: str) -> Session:
        """Return a session and count it as used.

        Raises:
            SessionLostError: If there is none of that name.
        """
        self.sweep()
        session = self._sessions.get(name)
        if session is None:
            raise SessionLostError(
                "The studio has forgotten this photo: photos are held for a few minutes only. Send it again."
            )
        session.used = self._clock()
        return session

    def forget(self, name: str) -> None:
        """Let a photo go, if it is still there."""
        self._sessions.pop(name, None)

    def sweep(self) -> None:
        """Let all photos go that were not used for too long."""
        last = self._clock() - self._idle
        for name in [name for name, one in self._sessions.items() if one.used < last]:
            self.forget(name)
