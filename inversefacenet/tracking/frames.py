"""What is known of a frame: before the network, and in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.reconstruction import FoundFace, Reconstruction
from inversefacenet.tracking.motion import Motion
from inversefacenet.tracking.state import Thumbnail, TrackState

State = Literal["tracking", "detected", "lost"]
"""The face was followed from the last frame; it was found by a search; there is none."""


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """What is known of one frame.

    Attributes:
        seconds: Its time.
        state: Whether the face was followed, found by a search, or lost.
        reconstruction: The face with settled identity and filtered pose, expression, light and landmarks, its
            rendering and quality; None where it is lost. The confidence is that of the network's own answer.
        answer: What the network answered for this frame alone; None likewise.
        landmarks: The 68 points as they were found in this frame, in photo pixels; None likewise.
        person: Number of the person, from 1 in order of appearance; 0 where the face is lost.
        searched: Whether a face was searched in this frame.
        next: What the next frame needs to know.
    """

    seconds: float
    state: State
    reconstruction: Reconstruction | None
    answer: Reconstruction | None
    landmarks: Float32[np.ndarray, "68 2"] | None
    person: int
    searched: bool
    next: TrackState


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame in work.

    Attributes:
        image: Upright sRGB.
        seconds: Its time.
        elapsed: Seconds since the last frame.
        thumbnail: The image in 16x16 pixels.
        cut: It is of another shot than the last one.
        before: The state before it.
    """

    image: UInt8[np.ndarray, "height width 3"]
    seconds: float
    elapsed: float
    thumbnail: Thumbnail
    cut: bool
    before: TrackState


@dataclass(frozen=True, eq=False)
class Pending:
    """A frame that waits for the network.

    Attributes:
        found: The face: the network is to see its crop.
        frame: Where it was found.
        motion: The face's motion, this frame included.
        searched: The face was found by a search: it isn't searched again.
    """

    found: FoundFace
    frame: Frame
    motion: Motion
    searched: bool
