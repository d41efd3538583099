"""A video's frames in, one after the other; its face out, settled."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from inversefacenet.reconstruction import Reconstructor
from inversefacenet.tracking.frames import Pending, TrackedFrame
from inversefacenet.tracking.options import TrackingOptions
from inversefacenet.tracking.state import TrackState
from inversefacenet.tracking.steps import TrackingSteps


class Tracker:
    """Follows the largest face of a video until it is lost, then the largest that is there.

    Attributes:
        state: What is known after the last frame; plain data, which may be kept and put back.
    """

    def __init__(self, reconstructor: Reconstructor, options: TrackingOptions | None = None) -> None:
        """Begin a video.

        Args:
            reconstructor: Finds and reconstructs faces.
            options: How they are followed.
        """
        self._steps = TrackingSteps(reconstructor, options)
        self.state = TrackState()

    def track(self, frame: UInt8[np.ndarray, "height width 3"], time_seconds: float) -> TrackedFrame:
        """Do the next frame.

        Args:
            frame: The frame, upright sRGB.
            time_seconds: Its time in the video; no earlier than the last frame's.

        Raises:
            InputError: If the time is no number, or earlier than the last frame's.
            ImageError: If the frame is no 8-bit RGB image.
            BackendError: If the network can't answer.
        """
        step = self._steps.begin(frame, time_seconds, self.state)
        while isinstance(step, Pending):
            (theta,) = self._steps.reconstructor.infer([step.found])
            step = self._steps.proceed(step, theta)
        self.state = step.next
        return step

    def reset(self) -> None:
        """Begin another video."""
        self.state = TrackState()
