"""Bounds how many bodies are received at the same time, and with that the memory that they take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.gateway.errors import TooManyUploadsError


class Uploads:
    """Counts the bodies that are on their way. It belongs to one thread: the event loop's."""

    def __init__(self, limit: int) -> None:
        """Start at zero."""
        self._limit = limit
        self._count = 0

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Count one body while it is received.

        Raises:
            TooManyUploadsError: If as many as allowed are on their way.
        """
        if self._count >= self._limit:
            raise TooManyUploadsError(
                f"{self._limit} photos are being received already: try again in a second."
            )
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
