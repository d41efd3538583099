"""A token bucket: how many photos a caller may send now, and when it may send more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from inversefacenet.errors import InputError
from services.gateway.errors import QuotaError

_ROUNDING: Final = 1e-6  # a caller who waits exactly as long as told must not be refused for a rounding


class TokenBucket:
    """A token is a photo; tokens drip in at a steady rate until the bucket is full. For one thread alone."""

    def __init__(
        self, photos_per_minute: float, burst: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start full.

        Args:
            photos_per_minute: The rate in the long run.
            burst: Photos that may come at once after a pause; by default a minute's worth, at least one.
            clock: Seconds that never run backwards.
        """
        self._per_minute = photos_per_minute
        self._rate = photos_per_minute / 60  # photos per second
        self._capacity = max(1, math.ceil(photos_per_minute)) if burst is None else burst
        self._clock = clock
        self._tokens = float(self._capacity)
        self._filled = clock()

    def take(self, photos: int) -> None:
        """Take tokens, all of them or none.

        Raises:
            QuotaError: If there are too few now; `retry_after` is the time until there are enough.
            InputError: If the bucket never holds so many.
        """
        if photos > self._capacity:
            raise InputError(
                f"The request holds {photos} photos; with this key it may hold at most {self._capacity}: "
                "spread them over several requests."
            )
        now = self._clock()
        self._tokens = min(self._capacity, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        missing = photos - self._tokens
        if missing > _ROUNDING:
            seconds = missing / self._rate
            raise QuotaError(
                f"The key's quota of {self._per_minute:g} photos per minute is used up: try again in "
                f"{max(1, math.ceil(seconds))} s.",
                retry_after=seconds,
            )
        self._tokens -= photos

    def put_back(self, photos: int) -> None:
        """Return tokens that were taken for photos which then were not worked on."""
        self._tokens = min(self._capacity, self._tokens + photos)
