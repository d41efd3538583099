"""Work off the event loop: two bounded pools of threads, so that sliders never wait for another's new photo.

Threads, not processes: what an edit needs is prepared once per photo and stays where it is, and the
library's numba, NumPy, Pillow and ONNX Runtime code lets other threads run meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from services.studio.errors import StudioBusyError

Answer = TypeVar("Answer")


class Lane:
    """A pool of threads with a queue that ends somewhere."""

    def __init__(self, name: str, threads: int, queue: int) -> None:
        """Start no thread yet.

        Args:
            name: Of the threads.
            threads: Pieces of work done at the same time.
            queue: Pieces that may wait beyond these.
        """
        self._room = threads + queue
        self._busy = 0
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """Do a piece of work in a thread.

        Raises:
            StudioBusyError: If too much waits already.
        """
        if self._busy >= self._room:
            raise StudioBusyError("The studio is busy: too many people use it just now. Try again shortly.")
        loop = asyncio.get_running_loop()
        future = self._executor.submit(work)
        self._busy += 1
        # Work in a thread can't be stopped: a caller that goes away leaves its place only when it ends.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop what waits."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _leave(self) -> None:
        self._busy -= 1
