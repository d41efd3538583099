"""A video as a whole: what became of its frames, and from when to when no face was there.

Convention:
    Seconds from the first frame. An interval reaches from its first frame to the first one after it, or to
    the end of the video.
    Worked value: of four frames a quarter second apart the second and third are lost: 0.25 to 0.75.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from inversefacenet.tracking.frames import TrackedFrame


@dataclass(frozen=True)
class Interval:
    """A part of a video without a face.

    Attributes:
        start: Its first frame's time in seconds.
        end: The time of the first frame after it, or the video's end.
        frames: How many frames it has.
    """

    start: float
    end: float
    frames: int


@dataclass
class Summary:
    """Counts frames as they come.

    Attributes:
        frames: How many came.
        states: How many of each state.
        searches: In how many frames a face was searched.
        people: How many persons were told apart.
        lost: Intervals without a face; the last one may still grow.
        seconds: The last frame's time.
    """

    frames: int = 0
    states: Counter[str] = field(default_factory=Counter)
    searches: int = 0
    people: int = 0
    lost: list[Interval] = field(default_factory=list)
    seconds: float = 0.0
    _open: bool = False

    def add(self, tracked: TrackedFrame) -> Interval | None:
        """Count a frame; returns the interval that ends with it, if one does."""
        self.frames += 1
        self.states[tracked.state] += 1
        self.searches += tracked.searched
        self.people = max(self.people, tracked.person)
        self.seconds = tracked.seconds
        if tracked.state == "lost":
            start, count = (
                (self.lost[-1].start, self.lost[-1].frames + 1) if self._open else (tracked.seconds, 1)
            )
            if self._open:
                self.lost.pop()
            self.lost.append(Interval(start, tracked.seconds, count))
            self._open = True
            return None
        return self._close(tracked.seconds)

    def finish(self, frame_seconds: float) -> Interval | None:
        """End the video with its last frame, shown so long; returns the interval that ends with it."""
        self.seconds += frame_seconds
        return self._close(self.seconds)

    def _close(self, end: float) -> Interval | None:
        if not self._open:
            return None
        last = self.lost[-1]
        self.lost[-1] = Interval(last.start, end, last.frames)
        self._open = False
        return self.lost[-1]

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "frames": self.frames,
            "tracked": self.states["tracking"],
            "detected": self.states["detected"],
            "lost": self.states["lost"],
            "searches": self.searches,
            "people": self.people,
            "video_seconds": round(self.seconds, 6),
            "without_a_face": [
                {"from": round(one.start, 6), "to": round(one.end, 6), "frames": one.frames}
                for one in self.lost
            ],
        }


def clock(seconds: float) -> str:
    """Write a time as players do: minutes, seconds, thousandths."""
    thousandths = round(1000 * seconds)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes}:{rest // 1000:02d}.{rest % 1000:03d}"
