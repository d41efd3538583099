"""Many photos over one call: a bounded number at once, each answered when it is ready, errors included."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final

from grpc import aio

from inversefacenet.errors import InverseFaceNetError
from inversefacenet.v1 import reconstruction_pb2
from services.gateway.access import Caller
from services.gateway.admission import charged
from services.gateway.context import current_request_id
from services.gateway.errors import DrainingError
from services.gateway.gateway import Gateway
from services.gateway.grpc_errors import status_of
from services.gateway.grpc_messages import Context, count, deadline_of
from services.gateway.grpc_photos import received_photo
from services.gateway.grpc_requests import check_stream_id, parse
from services.gateway.metrics import REFUSALS
from services.gateway.outward import foreseen

_RESPONSE_FIELD: Final = reconstruction_pb2.ReconstructStreamResponse.RESPONSE_FIELD_NUMBER
_LENGTH_DELIMITED: Final = 2


class PhotoStream:
    """One stream, from its first photo to its last answer.

    A photo occupies one of a bounded number of places from before it is received until its answer is on its
    way. When all are taken nothing more is received, and the flow control of HTTP/2 holds the sender back.
    """

    def __init__(self, gateway: Gateway, caller: Caller, context: Context, leaving: asyncio.Event) -> None:
        """Prepare; nothing is received yet.

        Args:
            gateway: Answers the photos.
            caller: Is charged for them.
            context: The call.
            leaving: Set once the service takes no new work.
        """
        self._gateway = gateway
        self._caller = caller
        self._context = context
        self._leaving = leaving
        settings = gateway.settings
        # Enough to keep every worker busy while others wait for the network or for their turn to be sent.
        self._places = asyncio.Semaphore(min(settings.max_photos, 2 * settings.workers + 2))
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Answer all photos.

        Raises:
            DrainingError: If the service stops first; what was received is answered.
        """
        index = 0
        async with asyncio.TaskGroup() as group:
            while (content := await self._next()) is not None:
                group.create_task(self._answer(index, content))
                index += 1
                count("photos", 1)
        if self._leaving.is_set():
            raise DrainingError("The service is stopping: send the photos that follow to another instance.")

    async def _next(self) -> bytes | None:
        """Return the next message once there is a place for it; None if there won't be one."""
        if not await self._unless_leaving(self._places.acquire()):
            return None
        content = await self._unless_leaving(self._context.read())
        return content if isinstance(content, bytes) else None

    async def _unless_leaving(self, step: Awaitable[Any]) -> Any:
        """Wait for a step; None if the service is to stop before."""
        stepping = asyncio.ensure_future(step)
        leaving = asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait({stepping, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return stepping.result() if stepping.done() else None
        finally:
            stepping.cancel()
            leaving.cancel()

    async def _answer(self, index: int, content: bytes) -> None:
        try:
            answer = reconstruction_pb2.ReconstructStreamResponse(index=index)
            tail = b""
            try:
                tail = _embedded(await self._reconstructed(answer, content))
            except Exception as error:
                self._note(answer, foreseen(error))
            message = answer.SerializeToString() + tail
            # If it can't be sent the caller is gone, and the call about to be cancelled.
            with suppress(aio.BaseError):
                async with self._sending:
                    await self._context.write(message)
                count("bytes_out", len(message))
        finally:
            self._places.release()

    async def _reconstructed(
        self, answer: reconstruction_pb2.ReconstructStreamResponse, content: bytes
    ) -> bytes:
        gateway = self._gateway
        deadline = deadline_of(self._context, gateway.settings.request_timeout)
        count("bytes_in", len(content))
        envelope = parse(reconstruction_pb2.ReconstructStreamRequest, content)
        # Noted first, so that whatever goes wrong is told under the photo's own name.
        answer.id = check_stream_id(envelope.id)
        with gateway.tracing.span("photo"), charged(gateway, self._caller):
            job = await received_photo(gateway, envelope.request, deadline)
            del envelope  # it may be large, and the job has what is needed of it
            return (await gateway.engine.reconstruct(job, deadline, wait=True)).content

    def _note(self, answer: reconstruction_pb2.ReconstructStreamResponse, error: InverseFaceNetError) -> None:
        """Answer an error in the photo's place; the stream goes on."""
        if error.slug in REFUSALS:
            self._gateway.metrics.refusals.labels(REFUSALS[error.slug]).inc()
        answer.error.CopyFrom(status_of(error, current_request_id() or ""))


def _embedded(response: bytes) -> bytes:
    """Return a serialized answer as the field `response` of a stream's message, without reading it."""
    head = bytearray([_RESPONSE_FIELD << 3 | _LENGTH_DELIMITED])
    length = len(response)
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + response
