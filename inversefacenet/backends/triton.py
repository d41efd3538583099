"""The network at a Triton server: `infer` for callers without an event loop, `infer_async` for the others.

Constructing connects to nothing. A connection belongs to one event loop, `infer`'s to a private one in a
thread; so an object serves one of the two ways, not both.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.backends.loop_thread import LoopThread
from inversefacenet.backends.triton_connection import TritonConnection, TritonTls
from inversefacenet.backends.triton_errors import closed, late
from inversefacenet.backends.triton_model import PARAMETER_COUNT, ServedModel
from inversefacenet.errors import BackendError

__all__ = ["TritonBackend", "TritonTls"]


class TritonBackend:
    """Sends crops to a Triton server that serves this project's model repository.

    Attributes:
        name: Name of the engine.
        url: The server's gRPC address.
        model: The model's name there.
        version: The version that answered last; until then the one asked for, "" for the newest.
        digest: SHA-256 of that version's ONNX file, as the server says; "" before the first contact.
        timeout: Most seconds that a call may take.
    """

    name = "triton"

    def __init__(
        self,
        url: str,
        model: str = "inversefacenet",
        version: str = "",
        timeout: float = 10.0,
        shared_memory: bool = False,
        tls: TritonTls | None = None,
    ) -> None:
        """Keep the settings; nothing is connected yet.

        Args:
            url: Host and port of the server's gRPC.
            model: The model's name.
            version: A version to insist on, or "" for the newest.
            timeout: Most seconds that a call may take.
            shared_memory: Whether crops go through system shared memory: the server must be on the same host,
                run as the same user or as root, and see the same /dev/shm.
            tls: How to speak TLS to the server; None speaks none.

        Raises:
            BackendError: If a setting makes no sense.
        """
        if "/" in url or not url.rpartition(":")[0]:
            raise BackendError(f"Triton's address is its gRPC's host:port, without a scheme, not {url!r}.")
        if version and not version.isdecimal():
            raise BackendError(f"A version at Triton is a number, or empty for the newest, not {version!r}.")
        if not timeout > 0:
            raise BackendError(f"The time for a call to Triton must be more than 0 seconds, not {timeout}.")
        self.url, self.model, self.version, self.timeout = url, model, version, timeout
        self.digest = ""
        self._asked_version, self._shared_memory, self._tls = version, shared_memory, tls
        self._lock = threading.Lock()
        self._thread: LoopThread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: TritonConnection | None = None
        self._closed = False

    def infer(
        self, crops: UInt8[np.ndarray, "faces 240 240 3"], *, timeout: float | None = None
    ) -> Float32[np.ndarray, "faces 350"]:
        """Run the network on masked sRGB crops; threads may share the object.

        Args:
            crops: The crops; none is fine.
            timeout: Seconds that the caller waits; the object's own timeout is the most.

        Raises:
            BackendError: If Triton gives no answer (a `TritonError` says why), or the object is closed.
            DeadlineError: If Triton gives no answer in time.
            MissingDependencyError: If Triton's client isn't installed.
        """
        with self._lock:
            if self._closed:
                raise closed()
            if self._thread is None:
                if self._loop is not None:
                    raise _two_ways()
                self._thread = LoopThread.acquire()
            thread = self._thread
        return thread.run(self._infer(crops, timeout, None))

    async def infer_async(
        self,
        crops: UInt8[np.ndarray, "faces 240 240 3"],
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Float32[np.ndarray, "faces 350"]:
        """Run the network on masked sRGB crops, on the running event loop; cancelling ends the request.

        Args:
            crops: The crops; none is fine.
            timeout: Seconds that the caller waits; the object's own timeout is the most.
            metadata: Sent with the request, such as a trace's `traceparent`.

        Raises:
            BackendError: If Triton gives no answer (a `TritonError` says why), or the object is closed.
            DeadlineError: If Triton gives no answer in time.
            MissingDependencyError: If Triton's client isn't installed.
        """
        self._refuse_if_used_by_infer()
        return await self._infer(crops, timeout, metadata)

    async def describe(self, *, timeout: float | None = None) -> ServedModel:
        """Ask the server for its model, on the running event loop, and check that it is the network.

        Args:
            timeout: Seconds that the caller waits; the object's own timeout is the most.

        Returns:
            The model as the server describes it; `version` and `digest` follow it.

        Raises:
            BackendError: If Triton gives no answer or serves something else (a `TritonError` says why).
            DeadlineError: If it gives no answer in time.
            MissingDependencyError: If Triton's client isn't installed.
        """
        self._refuse_if_used_by_infer()
        connection = self._connect()
        served = await connection.describe(self._seconds(timeout))
        self.version, self.digest = connection.version, connection.digest
        return served

    def close(self) -> None:
        """End `infer`'s connection and thread, and remove shared memory; more than once is fine.

        Raises:
            BackendError: If the object was used by `infer_async`.
        """
        with self._lock:
            if self._loop is not None and self._thread is None and not self._closed:
                raise BackendError("This backend was used by infer_async: close it with close_async.")
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.run(self._disconnect())
            thread.release()

    async def close_async(self) -> None:
        """End the connection and remove shared memory; more than once is fine. Requests in flight may fail.

        Raises:
            BackendError: If the object was used by `infer`.
        """
        self._refuse_if_used_by_infer()
        self._closed = True
        await self._disconnect()

    async def _infer(
        self,
        crops: UInt8[np.ndarray, "faces 240 240 3"],
        timeout: float | None,
        metadata: Mapping[str, str] | None,
    ) -> Float32[np.ndarray, "faces 350"]:
        connection = self._connect()
        if not len(crops):
            return np.empty((0, PARAMETER_COUNT), np.float32)
        answers = await connection.infer(crops, self._seconds(timeout), metadata)
        self.version, self.digest = connection.version, connection.digest
        return answers

    def _seconds(self, timeout: float | None) -> float:
        seconds = self.timeout if timeout is None else min(timeout, self.timeout)
        if not seconds > 0:
            raise late(self.url)
        return seconds

    def _connect(self) -> TritonConnection:
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        if self._connection is None:
            self._connection = TritonConnection(
                self.url, self.model, self._asked_version, self._shared_memory, self._tls
            )
            self._loop = loop
        elif self._loop is not loop:
            raise BackendError(
                "This backend belongs to another event loop, on which it was used first: make one for each."
            )
        return self._connection

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    def _refuse_if_used_by_infer(self) -> None:
        if self._thread is not None:
            raise _two_ways()


def _two_ways() -> BackendError:
    return BackendError("A backend is used by infer or by infer_async, not by both: make one for each.")
