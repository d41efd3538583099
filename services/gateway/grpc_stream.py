"""Many photos over one call: a bounded number at once, each answered when it is ready, errors included."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final

from grpc import aio

from inversefacenet.errors import InverseFaceNetError
from inversefacenet.v1 import reconstruction_pb2, tracking_pb2
from services.gateway.access import Caller
from services.gateway.admission import charged
from services.gateway.context import current_request_id
from services.gateway.errors import BodyTimeoutError, DrainingError
from services.gateway.gateway import Gateway
from services.gateway.grpc_errors import status_of
from services.gateway.grpc_messages import Context, count, deadline_of
from services.gateway.grpc_photos import understood_photo, with_photo
from services.gateway.grpc_places import StreamPlaces
from services.gateway.grpc_requests import FieldError, check_stream_id, parse
from services.gateway.metrics import REFUSALS
from services.gateway.outward import foreseen

LONGEST_SECONDS: Final = 10 * 60.0
"""How long a stream takes photos. Connections are ended now and then; a stream has ended itself before."""

_RESPONSE_FIELD: Final = reconstruction_pb2.ReconstructStreamResponse.RESPONSE_FIELD_NUMBER
_LENGTH_DELIMITED: Final = 2


class PhotoStream:
    """One stream, from its first photo to its last answer.

    A photo occupies one of a bounded number of places from before it is received until its answer is on its
    way. When all are taken nothing more is received, and the flow control of HTTP/2 holds the sender back.
    A stream that sends nothing although nothing of it is in work is ended, and so is one that is very old.
    """

    def __init__(
        self,
        gateway: Gateway,
        caller: Caller,
        context: Context,
        shared: asyncio.Semaphore,
        leaving: asyncio.Event,
    ) -> None:
        """Prepare; nothing is received yet.

        Args:
            gateway: Answers the photos.
            caller: Is charged for them.
            context: The call.
            shared: Places for photos that all streams share.
            leaving: Set once the service takes no new work.
        """
        self._gateway = gateway
        self._caller = caller
        self._context = context
        self._leaving = leaving
        self._places = StreamPlaces(shared)
        self._sending = asyncio.Lock()
        self._opened = self._quiet_since = time.monotonic()
        self._ending: InverseFaceNetError | None = None
        self._count = 0

    async def run(self) -> None:
        """Answer all photos.

        Raises:
            DrainingError: If the service stops first, or the stream is open for very long; what was received
                is answered.
            BodyTimeoutError: If nothing more arrives, and everything was answered.
        """
        try:
            async with asyncio.TaskGroup() as group:
                while (content := await self._next()) is not None:
                    self._received(group, content)
        finally:
            self._places.close()
        if self._ending is not None:
            raise self._ending

    def _received(self, group: asyncio.TaskGroup, content: bytes) -> None:
        """Begin to answer a message."""
        group.create_task(self._answer(self._count, content))
        self._count += 1
        count("photos", 1)

    async def _next(self) -> bytes | None:
        """Return the next message once there is a place for it; None if there won't be one."""
        if not await self._unless_over(self._places.take()):
            return None
        self._quiet_since = time.monotonic()
        reading: asyncio.Future[Any] = asyncio.ensure_future(self._context.read())
        content = reading.result() if await self._unless_over(reading, idle=True) else None
        return content if isinstance(content, bytes) else None

    async def _unless_over(self, step: Awaitable[Any], *, idle: bool = False) -> bool:
        """Wait for a step; return False if the stream is to end before, which is noted.

        Args:
            step: What is waited for.
            idle: It is the caller's: they may take so long while none of their photos is in work.
        """
        stepping = asyncio.ensure_future(step)
        leaving = asyncio.ensure_future(self._leaving.wait())
        try:
            while not stepping.done() and self._ending is None:
                seconds = self._patience(idle=idle)
                await asyncio.wait({stepping, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if not stepping.done():
                    self._ending = self._reason_to_end(idle=idle)
            return stepping.done()
        finally:
            stepping.cancel()
            leaving.cancel()

    def _patience(self, *, idle: bool) -> float:
        """Return the seconds after which there may be a reason to end."""
        now, limit = time.monotonic(), self._gateway.settings.body_timeout
        age = self._opened + LONGEST_SECONDS - now
        if not idle:
            return max(0.0, age)
        # The place of the message itself is held already.
        quiet = limit if self._places.held > 1 else self._quiet_since + limit - now
        return max(0.0, min(age, quiet))

    def _reason_to_end(self, *, idle: bool) -> InverseFaceNetError | None:
        now, limit = time.monotonic(), self._gateway.settings.body_timeout
        if self._leaving.is_set():
            return DrainingError("The service is stopping: send the photos that follow to another instance.")
        if now >= self._opened + LONGEST_SECONDS:
            return DrainingError(
                f"A stream lasts {LONGEST_SECONDS / 60:g} minutes at most: open another one for the photos "
                "that follow."
            )
        if idle and self._places.held <= 1 and now >= self._quiet_since + limit:
            return BodyTimeoutError(f"No photo has arrived for {limit:g} s, and all that had are answered.")
        return None

    async def _answer(self, index: int, content: bytes) -> None:
        try:
            message = await self._message(index, content)
            # If it can't be sent the caller is gone, and the call about to be cancelled.
            with suppress(aio.BaseError):
                async with self._sending:
                    await self._context.write(message)
                count("bytes_out", len(message))
        finally:
            self._places.give_back()
            self._quiet_since = time.monotonic()

    async def _message(self, index: int, content: bytes) -> bytes:
        """Return the answer to a message, whatever becomes of it."""
        answer = reconstruction_pb2.ReconstructStreamResponse(index=index)
        tail = b""
        try:
            tail = embedded(await self._reconstructed(answer, content), _RESPONSE_FIELD)
        except Exception as error:
            self._note(answer, foreseen(error))
        return answer.SerializeToString() + tail

    async def _reconstructed(
        self, answer: reconstruction_pb2.ReconstructStreamResponse, content: bytes
    ) -> bytes:
        gateway = self._gateway
        count("bytes_in", len(content))
        envelope = parse(reconstruction_pb2.ReconstructStreamRequest, content)
        # Noted first, so that whatever goes wrong is told under the photo's own name.
        answer.id = check_stream_id(envelope.id)
        longest = min(gateway.settings.request_timeout, _timeout(envelope.timeout_seconds))
        deadline = deadline_of(self._context, longest)
        job, url = understood_photo(gateway, envelope.request)
        del envelope  # it may be large, and the job has what is needed of it
        with gateway.tracing.span("photo"), charged(gateway, self._caller):
            job = await with_photo(gateway, job, url, deadline)
            return (await gateway.engine.reconstruct(job, deadline, wait=True)).content

    def _note(
        self,
        answer: reconstruction_pb2.ReconstructStreamResponse | tracking_pb2.TrackResponse,
        error: InverseFaceNetError,
    ) -> None:
        """Answer an error in the photo's place; the stream goes on."""
        if error.slug in REFUSALS:
            self._gateway.metrics.refusals.labels(REFUSALS[error.slug]).inc()
        answer.error.CopyFrom(status_of(error, current_request_id() or ""))


def _timeout(seconds: float) -> float:
    """Return the seconds that a photo may take by its caller's wish; infinity if there is none."""
    # Also refuses NaN.
    if not seconds >= 0:
        raise FieldError("timeout_seconds", "must be 0, for no limit of your own, or more")
    return seconds or math.inf


def embedded(response: bytes, field: int) -> bytes:
    """Return a serialized answer as a field of a stream's message, 1 to 15, without reading it."""
    head = bytearray([field << 3 | _LENGTH_DELIMITED])
    length = len(response)
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + response
