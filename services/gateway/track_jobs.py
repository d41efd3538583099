"""A frame of a video on its way to a worker and back: plain data that can cross a pipe."""

from __future__ import annotations

from dataclasses import dataclass

from inversefacenet.tracking.state import TrackState
from services.gateway.jobs import Answered


@dataclass(frozen=True)
class TrackJob:
    """A frame, and all that is known of its video.

    Attributes:
        content: The image file's bytes.
        seconds: The frame's time.
        state: What is known after the last frame.
        request_id: For the worker's log lines.
        minimum_size: Least width of a face in pixels; None leaves it to the service.
        least_confidence: An answer that is less sure doesn't count; None leaves it to the library.
        single_frames: The answer also holds what the network says of this frame alone.
        max_bytes: Limit of the file.
        max_pixels: Limit of the frame.
    """

    content: bytes
    seconds: float
    state: TrackState
    request_id: str = ""
    minimum_size: float | None = None
    least_confidence: float | None = None
    single_frames: bool = False
    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 64_000_000


@dataclass
class Followed:
    """A frame's answer, a serialized `FrameResult`, and what the next frame needs to know."""

    answered: Answered
    state: TrackState
