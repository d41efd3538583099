"""Bounds how many photos all streams hold together, and with that the memory that they take."""

from __future__ import annotations

import asyncio

from services.gateway.settings import Settings


def shared_places(settings: Settings) -> asyncio.Semaphore:
    """Return the places that all streams share, beside the one that each has of its own.

    Args:
        settings: Say how many photos keep every worker busy while others are sent and received.
    """
    return asyncio.Semaphore(min(settings.max_photos, 2 * settings.workers + 2) - 1)


class StreamPlaces:
    """The places of one stream: a photo has one from before it is received until its answer is on its way.

    The first is the stream's own, so that no stream can keep another from going on. Those beyond it are
    shared: whichever photo of the stream leaves first, these are given back before its own.

    Attributes:
        held: How many places the stream has taken.
    """

    def __init__(self, shared: asyncio.Semaphore) -> None:
        """Hold none yet."""
        self._shared = shared
        self._own_is_free = asyncio.Event()
        self._own_is_free.set()
        self.held = 0

    async def take(self) -> None:
        """Wait for a place; one task at a time may."""
        if self.held:
            await self._shared_unless_own()
        self.held += 1
        self._own_is_free.clear()

    async def _shared_unless_own(self) -> None:
        shared = asyncio.ensure_future(self._shared.acquire())
        own = asyncio.ensure_future(self._own_is_free.wait())
        needed = False
        try:
            await asyncio.wait({shared, own}, return_when=asyncio.FIRST_COMPLETED)
            needed = self.held > 0
        finally:
            own.cancel()
            if not needed and shared.done():
                self._shared.release()
            elif not needed:
                shared.cancel()

    def give_back(self) -> None:
        """Give one place back."""
        self.held -= 1
        if self.held:
            self._shared.release()
        else:
            self._own_is_free.set()

    def close(self) -> None:
        """Give back all that are left, at the stream's end."""
        while self.held:
            self.give_back()
