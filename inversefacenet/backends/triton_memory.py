"""Crops in system shared memory, where Triton on the same host reads them without a copy over the wire.

Only crops go there; answers are small and come in the message. So a server that is late with a request which
nobody waits for any more can at worst read another's crop, and never write over another's answer.
"""

from __future__ import annotations

import os
import secrets
from multiprocessing.shared_memory import SharedMemory
from typing import Final

import numpy as np
from jaxtyping import UInt8

from inversefacenet.backends.triton_errors import Cause, TritonError
from inversefacenet.backends.triton_model import CROP_SHAPE

CROP_BYTES: Final = 240 * 240 * 3
SLOTS: Final = 64


class SharedCrops:
    """One region with room for `SLOTS` crops, made once; requests take runs of neighbouring slots.

    Attributes:
        name: What the region is called at the server; of this object alone.
        key: What the system calls it, as the server opens it.
        size: Its bytes.
        registered: Whether the server has been told of it.
    """

    def __init__(self) -> None:
        """Make the region.

        Raises:
            TritonError: If the system has no room for it.
        """
        self.name = f"inversefacenet-{os.getpid()}-{secrets.token_hex(8)}"
        self.size = SLOTS * CROP_BYTES
        self.registered = False
        self._free = [True] * SLOTS
        try:
            self._memory = SharedMemory(name=self.name, create=True, size=self.size)
        except OSError as error:
            raise TritonError(
                f"Shared memory of {self.size} bytes can't be had ({error.strerror}): make /dev/shm larger, "
                "or switch shared memory for Triton off.",
                Cause.REFUSED,
            ) from error
        self.key = f"/{self._memory.name.removeprefix('/')}"

    def take(self, crops: UInt8[np.ndarray, "faces 240 240 3"]) -> int | None:
        """Put crops into neighbouring free slots.

        Returns:
            The first slot, to be given back; None if there is no room, and the crops go by message.
        """
        first = self._find(len(crops))
        if first is None:
            return None
        self._mark(first, len(crops), free=False)
        assert self._memory.buf is not None
        room = np.frombuffer(self._memory.buf, np.uint8, crops.size, first * CROP_BYTES)
        np.copyto(room.reshape(-1, *CROP_SHAPE), crops)
        return first

    def give_back(self, first: int, count: int) -> None:
        """Free the slots of a request that has ended, however it did."""
        self._mark(first, count, free=True)

    def close(self) -> None:
        """Remove the region from the system; once."""
        self._memory.close()
        self._memory.unlink()

    def _find(self, count: int) -> int | None:
        run = 0
        for slot, free in enumerate(self._free):
            run = run + 1 if free else 0
            if run == count:
                return slot - count + 1
        return None

    def _mark(self, first: int, count: int, *, free: bool) -> None:
        self._free[first : first + count] = [free] * count
