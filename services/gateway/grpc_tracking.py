"""A video over one gRPC call: frames in, its face out, one after the other."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final

from inversefacenet.errors import InverseFaceNetError
from inversefacenet.tracking.state import TrackState
from inversefacenet.v1 import tracking_pb2
from services.gateway.access import Caller
from services.gateway.admission import charged
from services.gateway.context import current_request_id
from services.gateway.gateway import Gateway
from services.gateway.grpc_messages import Context, count, deadline_of
from services.gateway.grpc_requests import LARGEST_MINIMUM, FieldError, parse
from services.gateway.grpc_stream import PhotoStream, embedded
from services.gateway.outward import foreseen
from services.gateway.track_jobs import TrackJob

AHEAD: Final = 2
"""Frames of a stream that are held: one in work, and one that has arrived meanwhile."""

_FRAME_FIELD: Final = tracking_pb2.TrackResponse.FRAME_FIELD_NUMBER


class TrackStream(PhotoStream):
    """One video, from its first frame to its last answer; what is known of it ends with the call.

    Each frame needs what is known after the one before, so they are done in turn, by whichever worker is
    free. Otherwise a frame is a photo of a stream: places, quotas, limits and endings are the same.
    """

    def __init__(
        self,
        gateway: Gateway,
        caller: Caller,
        context: Context,
        shared: asyncio.Semaphore,
        leaving: asyncio.Event,
    ) -> None:
        """Prepare; see `PhotoStream`."""
        super().__init__(gateway, caller, context, shared, leaving)
        self._state = TrackState()
        self._options = tracking_pb2.TrackOptions()
        self._ahead = asyncio.Semaphore(AHEAD)
        self._turn = asyncio.Lock()  # those who wait for it get it in the order of their frames

    async def _next(self) -> bytes | None:
        if not await self._unless_over(self._ahead.acquire()):
            return None
        return await super()._next()

    def _received(self, group: asyncio.TaskGroup, content: bytes) -> None:
        options = self._options_in(content)
        if options is None:
            super()._received(group, content)
            return
        try:
            self._options = self._checked(options)
        except InverseFaceNetError as error:
            self._ending = error
        self._ahead.release()
        self._places.give_back()

    def _options_in(self, content: bytes) -> tracking_pb2.TrackOptions | None:
        """Return the options that a message holds; None for a frame, and for what is neither."""
        try:
            message = parse(tracking_pb2.TrackRequest, content)
        except InverseFaceNetError:
            return None  # answered in its place
        return message.options if message.WhichOneof("message") == "options" else None

    def _checked(self, options: tracking_pb2.TrackOptions) -> tracking_pb2.TrackOptions:
        if self._count:
            raise FieldError("options", "come before the first frame: open another stream")
        # Each also refuses NaN.
        if not 0 <= options.minimum_size <= LARGEST_MINIMUM:
            raise FieldError("options.minimum_size", f"must be 0 to {LARGEST_MINIMUM:g} pixels")
        if not 0 <= options.least_confidence <= 1:
            raise FieldError("options.least_confidence", "must be 0 to 1")
        return options

    async def _answer(self, index: int, content: bytes) -> None:
        try:
            async with self._turn:
                await super()._answer(index, content)
        finally:
            self._ahead.release()

    async def _message(self, index: int, content: bytes) -> bytes:
        answer = tracking_pb2.TrackResponse(index=index)
        tail = b""
        try:
            tail = embedded(await self._tracked(answer, content), _FRAME_FIELD)
        except Exception as error:
            self._note(answer, foreseen(error))
        return answer.SerializeToString() + tail

    async def _tracked(self, answer: tracking_pb2.TrackResponse, content: bytes) -> bytes:
        gateway = self._gateway
        count("bytes_in", len(content))
        request = parse(tracking_pb2.TrackRequest, content)
        if request.WhichOneof("message") is None:
            raise FieldError("message", "send `options` once, and then each frame as `frame`")
        if not math.isfinite(request.frame.seconds):
            raise FieldError("frame.seconds", "must be a finite number")
        # Noted first, so that whatever goes wrong is told under the frame's own time.
        answer.seconds = request.frame.seconds
        job = self._job(request.frame)
        deadline = deadline_of(self._context, gateway.settings.request_timeout)
        with gateway.tracing.span("frame"), charged(gateway, self._caller):
            followed = await gateway.engine.track(job, deadline)
        self._state = followed.state
        return followed.answered.content

    def _job(self, frame: tracking_pb2.TrackFrame) -> TrackJob:
        settings, options = self._gateway.settings, self._options
        wanted: dict[str, Any] = {}
        if options.minimum_size:
            wanted["minimum_size"] = max(options.minimum_size, settings.minimum_face)
        if options.HasField("least_confidence"):
            wanted["least_confidence"] = options.least_confidence
        return TrackJob(
            content=frame.content,
            seconds=frame.seconds,
            state=self._state,
            request_id=current_request_id() or "",
            single_frames=options.single_frames,
            max_bytes=settings.max_body_bytes,
            max_pixels=settings.max_pixels,
            **wanted,
        )
