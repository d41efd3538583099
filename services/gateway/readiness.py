"""Readiness that proves itself: the network must answer a real inference."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from services.gateway.errors import NotReadyError
from services.gateway.metrics import Metrics

logger = logging.getLogger(__name__)


class Readiness:
    """Remembers the last proof for a moment, and makes a new one when it is asked later."""

    def __init__(
        self, probe: Callable[[], Awaitable[None]], interval: float, timeout: float, metrics: Metrics
    ) -> None:
        """Create it; nothing is proved yet.

        Args:
            probe: A real inference; raises if the backend doesn't answer.
            interval: Seconds for which a proof holds.
            timeout: Seconds in which the probe must end.
            metrics: Told the outcome.
        """
        self._probe = probe
        self._interval = interval
        self._timeout = timeout
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._proved_at = float("-inf")
        self._failed_at = float("-inf")
        self._well = True  # what the log said last

    async def check(self) -> None:
        """Return if the backend answers.

        Raises:
            NotReadyError: If it fails or is silent for too long.
        """
        asked = time.monotonic()
        async with self._lock:
            if time.monotonic() - self._proved_at < self._interval:
                return
            if self._failed_at > asked:
                # Whoever waited while a probe failed has that answer, and needn't wait for another.
                raise not_ready()
            try:
                await self._prove()
            except Exception as error:
                self._metrics.ready.set(0)
                self._failed_at = time.monotonic()
                if self._well:
                    logger.error("readiness probe failed: %s: %s", type(error).__name__, error)
                self._well = False
                raise not_ready() from error
            if not self._well:
                logger.info("readiness probe answered again")
            self._well = True
            self._metrics.ready.set(1)
            self._proved_at = time.monotonic()

    def doubt(self) -> None:
        """Forget the last proof: something has just shown that it doesn't hold."""
        self._proved_at = float("-inf")

    async def _prove(self) -> None:
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._probe())
            self._running.add_done_callback(_seen)
        # Shielded: a probe that is late goes on, and the next check waits for it instead of piling up.
        async with asyncio.timeout(self._timeout):
            await asyncio.shield(self._running)


def not_ready() -> NotReadyError:
    """Return the error of a service whose network doesn't answer."""
    return NotReadyError("The inference backend does not answer; the service's log has the cause.")


def _seen(probe: asyncio.Future[None]) -> None:
    """Take note of a failure that nobody waited for any more."""
    if not probe.cancelled():
        probe.exception()
