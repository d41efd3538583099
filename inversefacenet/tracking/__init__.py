"""Faces of a video: one face followed from frame to frame, its parameters settled and free of jitter.

The network answers each frame by itself. Here its answers become a track: identity and skin settle, pose,
expression and light are filtered without lag, and faces are searched only where there is none to follow::

    from inversefacenet import Reconstructor
    from inversefacenet.tracking import Tracker
    from inversefacenet.tracking.video import open_video

    tracker = Tracker(Reconstructor())
    with open_video("clip.mp4") as video:
        for frame in video:
            tracked = tracker.track(frame.image, frame.seconds)
            print(frame.seconds, tracked.state, tracked.reconstruction and tracked.reconstruction.parameters)

The names below are loaded when they are first asked for: a process that only hands a `TrackState` on needs
nothing of what finds and draws faces.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inversefacenet.tracking.frames import Pending, TrackedFrame
    from inversefacenet.tracking.options import TrackingOptions
    from inversefacenet.tracking.state import TrackState
    from inversefacenet.tracking.steps import TrackingSteps
    from inversefacenet.tracking.tracker import Tracker

_HOMES = {
    "Pending": "frames",
    "TrackState": "state",
    "TrackedFrame": "frames",
    "Tracker": "tracker",
    "TrackingOptions": "options",
    "TrackingSteps": "steps",
}

__all__ = ["Pending", "TrackState", "TrackedFrame", "Tracker", "TrackingOptions", "TrackingSteps"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'inversefacenet.tracking' has no attribute '{name}'")
    return getattr(import_module(f"inversefacenet.tracking.{_HOMES[name]}"), name)
