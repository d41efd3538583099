"""Writes what is known of a frame as a message of `tracking.proto`; runs in the workers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from inversefacenet.v1 import reconstruction_pb2, tracking_pb2
from services.gateway.answers import answer_face
from services.gateway.jobs import Output
from services.gateway.protobuf import face_message, model_message, parameters_message
from services.gateway.schemas import ModelInfo

if TYPE_CHECKING:
    from inversefacenet.tracking.frames import TrackedFrame

_STATES: Final[Mapping[str, tracking_pb2.FaceState.ValueType]] = MappingProxyType(
    {
        "tracking": tracking_pb2.FACE_STATE_TRACKING,
        "detected": tracking_pb2.FACE_STATE_DETECTED,
        "lost": tracking_pb2.FACE_STATE_LOST,
    }
)


def encode_frame(
    tracked: TrackedFrame,
    size: tuple[int, int],
    model: ModelInfo,
    timings_ms: Mapping[str, float],
    *,
    single_frames: bool,
) -> bytes:
    """Return a frame's result as a serialized `FrameResult`.

    Args:
        tracked: The result.
        size: Width and height of the frame.
        model: What made it.
        timings_ms: Milliseconds by stage.
        single_frames: With what the network says of this frame alone.
    """
    message = tracking_pb2.FrameResult(
        state=_STATES[tracked.state],
        person=tracked.person,
        image=reconstruction_pb2.ImageInfo(width=size[0], height=size[1]),
        model=model_message(model),
        timings_ms=timings_ms,
    )
    if tracked.reconstruction is not None:
        message.face.CopyFrom(face_message(answer_face(tracked.reconstruction, Output())))
    if single_frames and tracked.answer is not None and tracked.landmarks is not None:
        message.network_parameters.CopyFrom(parameters_message(tracked.answer.parameters))
        message.found_landmarks68.extend(tracked.landmarks.ravel().tolist())
    return message.SerializeToString()
