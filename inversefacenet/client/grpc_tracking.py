"""Frames of a video as messages, and the stream that carries them; part of `grpc_connection`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from inversefacenet.client.errors import UnexpectedAnswerError
from inversefacenet.client.grpc_errors import Metadata, failure_of_status
from inversefacenet.client.grpc_messages import face_of, parameters_of
from inversefacenet.client.retry import RefusedError
from inversefacenet.client.tracking import FaceState, Frame, FrameAnswer, TrackOptions
from inversefacenet.errors import InverseFaceNetError
from inversefacenet.v1 import tracking_pb2

Failure = Callable[[Any], InverseFaceNetError | RefusedError]

_STATES: Final[Mapping[int, FaceState]] = MappingProxyType(
    {
        tracking_pb2.FACE_STATE_TRACKING: "tracking",
        tracking_pb2.FACE_STATE_DETECTED: "detected",
        tracking_pb2.FACE_STATE_LOST: "lost",
    }
)


def track(
    method: Any,
    frames: Iterator[Frame],
    options: TrackOptions,
    metadata: Metadata,
    failure: Failure,
    broken: type[Exception],
) -> Iterator[FrameAnswer]:
    """Send frames and yield their answers.

    Args:
        method: The method on an open channel.
        frames: Taken by a thread of gRPC's, as the server has room for them.
        options: How the face is to be followed.
        metadata: What is sent with the stream.
        failure: Says what to raise for an error of grpc's.
        broken: That error's class.
    """
    raised: list[BaseException] = []

    def requests() -> Iterator[tracking_pb2.TrackRequest]:
        yield _first(options)
        try:
            for frame in frames:
                yield _request(frame)
        except BaseException as error:  # to be raised where the frames were handed in, not in gRPC's thread
            raised.append(error)

    call = method(requests(), metadata=metadata)
    try:
        for message in call:
            yield answer_of(message)
    except broken as error:
        problem = _raised(failure(error))
    else:
        if raised:
            raise raised[0]
        return
    finally:
        call.cancel()
    raise problem


async def track_async(
    method: Any,
    frames: AsyncIterator[Frame],
    options: TrackOptions,
    metadata: Metadata,
    failure: Failure,
    broken: type[Exception],
) -> AsyncIterator[FrameAnswer]:
    """Do the same for asyncio; see `track`."""
    raised: list[BaseException] = []

    async def requests() -> AsyncIterator[tracking_pb2.TrackRequest]:
        yield _first(options)
        try:
            async for frame in frames:
                yield _request(frame)
        except Exception as error:
            raised.append(error)

    call = method(requests(), metadata=metadata)
    try:
        async for message in call:
            yield answer_of(message)
    except broken as error:
        problem = _raised(failure(error))
    else:
        if raised:
            raise raised[0]
        return
    finally:
        call.cancel()
    raise problem


def answer_of(message: tracking_pb2.TrackResponse) -> FrameAnswer:
    """Read the answer to a frame.

    Raises:
        UnexpectedAnswerError: If it isn't complete.
    """
    if message.HasField("error"):
        problem = _raised(failure_of_status(message.error))
        return FrameAnswer(message.index, message.seconds, "lost", error=problem)
    frame = message.frame
    if frame.state not in _STATES:
        raise UnexpectedAnswerError(f"The server's answer to frame {message.index} says nothing of its face.")
    points = np.array(frame.found_landmarks68, np.float32)
    try:
        return FrameAnswer(
            index=message.index,
            seconds=message.seconds,
            state=_STATES[frame.state],
            person=frame.person,
            face=face_of(frame.face) if frame.HasField("face") else None,
            network_parameters=(
                parameters_of(frame.network_parameters) if frame.HasField("network_parameters") else None
            ),
            found_landmarks=points.reshape(68, 2) if len(points) else None,
        )
    except (InverseFaceNetError, ValueError) as error:
        raise UnexpectedAnswerError(f"The server's answer can't be read: {error}") from error


def _first(options: TrackOptions) -> tracking_pb2.TrackRequest:
    message = tracking_pb2.TrackOptions(single_frames=options.single_frames)
    if options.minimum_size is not None:
        message.minimum_size = options.minimum_size
    if options.least_confidence is not None:
        message.least_confidence = options.least_confidence
    return tracking_pb2.TrackRequest(options=message)


def _request(frame: Frame) -> tracking_pb2.TrackRequest:
    seconds, content = frame
    return tracking_pb2.TrackRequest(frame=tracking_pb2.TrackFrame(content=content, seconds=seconds))


def _raised(failure: InverseFaceNetError | RefusedError) -> InverseFaceNetError:
    return failure.error if isinstance(failure, RefusedError) else failure
