"""A video's frames over the client: what is sent, what comes back. No connection is needed."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from inversefacenet.client.errors import ConnectionSettingsError
from inversefacenet.client.results import ReconstructedFace
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.parameters import Parameters

Frame = tuple[float, bytes]
"""A frame's time in seconds, from whenever but never falling, and the bytes of its image file."""

LARGEST_MINIMUM: Final = 10_000.0
"""Most that can be asked for as the least width of a face, in pixels: the service's own limit."""

FaceState = Literal["tracking", "detected", "lost"]
"""The face was followed from the last frame; it was found by a search; there is none."""


@dataclass(frozen=True)
class TrackOptions:
    """How a face is to be followed.

    Attributes:
        minimum_size: Least width of a face in pixels, 0 to 10000; None leaves it to the server.
        least_confidence: An answer that is less sure doesn't count: the face is lost. 0 to 1; None likewise.
        single_frames: Ask also for what the network says of each frame alone.
    """

    minimum_size: float | None = None
    least_confidence: float | None = None
    single_frames: bool = False

    def __post_init__(self) -> None:
        if self.minimum_size is not None and not 0 <= self.minimum_size <= LARGEST_MINIMUM:
            raise InputError(f"'minimum_size' is 0 to {LARGEST_MINIMUM:g} pixels, not {self.minimum_size}.")
        if self.least_confidence is not None and not 0 <= self.least_confidence <= 1:
            raise InputError(f"'least_confidence' is a number from 0 to 1, not {self.least_confidence}.")


@dataclass(frozen=True, eq=False)
class FrameAnswer:
    """What the server knows of one frame.

    Attributes:
        index: The frame's place in the stream, from 0.
        seconds: Its time.
        state: Whether it shows the face; "lost" also where it has no answer.
        person: Number of the person from 1 in order of appearance; 0 where the face is lost.
        face: The face, settled and filtered; None where it is lost.
        network_parameters: What the network says of this frame alone; None unless asked for.
        found_landmarks: The 68 points as they were found; None likewise.
        error: Why the frame has no answer, if it has none; the track goes on without it.
    """

    index: int
    seconds: float
    state: FaceState
    person: int = 0
    face: ReconstructedFace | None = None
    network_parameters: Parameters | None = None
    found_landmarks: Float32[np.ndarray, "68 2"] | None = None
    error: InverseFaceNetError | None = None


@runtime_checkable
class FrameConnection(Protocol):
    """A server that videos can be sent to."""

    def track(self, frames: Iterator[Frame], options: TrackOptions) -> Iterator[FrameAnswer]:
        """Send frames as they are needed, and yield the answer to each in turn."""
        ...


@runtime_checkable
class AsyncFrameConnection(Protocol):
    """The same for asyncio."""

    def track(self, frames: AsyncIterator[Frame], options: TrackOptions) -> AsyncIterator[FrameAnswer]:
        """Send frames as they are needed, and yield the answer to each in turn."""
        ...


async def each_frame(frames: Iterable[Frame] | AsyncIterable[Frame]) -> AsyncIterator[Frame]:
    """Yield frames of either kind, each when it is asked for."""
    if isinstance(frames, AsyncIterable):
        async for frame in frames:
            yield frame
    else:
        for frame in frames:
            yield frame


def over_grpc() -> ConnectionSettingsError:
    """Return the error of a client that speaks no gRPC."""
    return ConnectionSettingsError(
        "Videos are tracked over gRPC alone: give the server's address as grpc://host:port or grpcs://host."
    )
