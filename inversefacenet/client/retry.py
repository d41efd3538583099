"""When to try again: only what is safe, never past the deadline, and no sooner than the server says.

A request is sent again where the server can't have begun to work on it: it has refused it in its own words,
no connection could be made, or the connection broke before the whole request was handed over, as one may that
the server had closed meanwhile. Once the server may have all of it, a connection that breaks ends the matter:
another attempt could be charged a second time, and a photo that brings a server down would go on to the next
one. An answer that says what is wrong with the request, or that the server failed over it, would only come
again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from inversefacenet.errors import DeadlineError, InverseFaceNetError

Answer = TypeVar("Answer")

OnWait = Callable[[float, InverseFaceNetError], None]
"""Hears that so many seconds will be waited, and the error that a caller without patience would get."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
_JITTER: Final = 0.1  # clients that were refused together shall not come back together


class RefusedError(Exception):
    """One attempt failed, and another one is safe.

    Attributes:
        error: What to raise if there is no other one.
        retry_after: Seconds that the server asks to wait; None if it doesn't say.
    """

    def __init__(self, error: InverseFaceNetError, retry_after: float | None = None) -> None:
        """Keep both."""
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


@dataclass(frozen=True)
class Deadline:
    """Until when a caller waits.

    Attributes:
        moment: Seconds of `time.monotonic`.
    """

    moment: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the moment that lies so many seconds ahead."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds that are left, never negative."""
        return max(self.moment - time.monotonic(), 0.0)

    def later(self, seconds: float) -> Deadline:
        """Return the moment that lies so many seconds after this one."""
        return Deadline(self.moment + seconds)

    def check(self) -> float:
        """Return the seconds that are left.

        Raises:
            DeadlineError: If none are.
        """
        left = self.remaining()
        if left <= 0:
            raise too_late()
        return left


def too_late() -> DeadlineError:
    """Return the error of a request whose answer didn't come in time."""
    return DeadlineError("The server didn't answer in time: allow it more with `timeout`.")


class Attempts:
    """Decides what follows a refusal."""

    def __init__(self, deadline: Deadline, retries: int, draw: Callable[[], float] | None = None) -> None:
        """Begin with the first attempt.

        Args:
            deadline: Until when the caller waits.
            retries: How many further attempts there may be.
            draw: Random numbers in [0, 1); by default Python's own.
        """
        self._deadline = deadline
        self._left = retries
        self._made = 0
        self._draw = draw or random.random

    def pause(self, refused: RefusedError) -> float:
        """Return the seconds to wait before the next attempt.

        Raises:
            InverseFaceNetError: The refusal's own error, if there is no next attempt or no time for it.
        """
        if self._left <= 0:
            raise refused.error
        if refused.retry_after is None:
            seconds = min(FIRST_PAUSE * 2.0**self._made, LONGEST_PAUSE) * (0.5 + 0.5 * self._draw())
        else:
            seconds = refused.retry_after * (1 + _JITTER * self._draw())
        if seconds >= self._deadline.remaining():
            raise refused.error
        self._left -= 1
        self._made += 1
        return seconds


def with_retries(
    attempt: Callable[[Deadline], Answer], deadline: Deadline, retries: int, on_wait: OnWait | None = None
) -> Answer:
    """Make attempts until one succeeds, or fails for good.

    Args:
        attempt: One of them.
        deadline: Until when the caller waits.
        retries: How many further attempts there may be.
        on_wait: Hears of each pause before it begins.

    Raises:
        InverseFaceNetError: As the last attempt.
    """
    attempts = Attempts(deadline, retries)
    while True:
        try:
            return attempt(deadline)
        except RefusedError as refused:
            pause = attempts.pause(refused)
            if on_wait is not None:
                on_wait(pause, refused.error)
        time.sleep(pause)


async def with_retries_async(
    attempt: Callable[[Deadline], Awaitable[Answer]],
    deadline: Deadline,
    retries: int,
    on_wait: OnWait | None = None,
) -> Answer:
    """Make attempts as `with_retries` does."""
    attempts = Attempts(deadline, retries)
    while True:
        try:
            return await attempt(deadline)
        except RefusedError as refused:
            pause = attempts.pause(refused)
            if on_wait is not None:
                on_wait(pause, refused.error)
        await asyncio.sleep(pause)
