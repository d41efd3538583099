"""Where a followed face lies: its landmarks filtered, and the box in which the next frame's are looked for.

The 68 points are taken apart into the face's place (centre, size, roll, from the points of brows, nose and
eyes) and the points about it. Each part has its own filter: a face that moves fast isn't smoothed as a whole,
while its points keep their places in it.

Convention:
    Photo pixels, x right, y down; the roll is clockwise as seen in the image. A face width is that of the
    detector's box, of which the inner 51 points' root mean squared radius is 0.305.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

from inversefacenet.face_patch import Box, rotation, square
from inversefacenet.tracking.one_euro import Filtered
from inversefacenet.tracking.options import TrackingOptions

_RIGID = slice(17, 48)
_INNER = slice(17, 68)
_INNER_RADIUS = 0.305  # in widths of the detector's boxes: median over photos
_VELOCITY_SHARE = 0.5  # how much of the last motion counts for the next
_FARTHEST = 0.5  # face widths that a face is expected to move between two frames


def face_width(points: Float[np.ndarray, "68 2"]) -> float:
    """Return the width of the box that a detector would draw around a face, in the points' unit."""
    inner = points[_INNER]
    return float(_radius(inner)) / _INNER_RADIUS


def face_roll(points: Float[np.ndarray, "68 2"]) -> float:
    """Return the angle of the line from eye to eye: radians, clockwise."""
    eyes = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
    return math.atan2(float(eyes[1]), float(eyes[0]))


@dataclass(frozen=True, eq=False)
class Motion:
    """A face on its way.

    Attributes:
        points: The last frame's landmarks as they were found.
        velocity: Pixels a second, as far as it can be told.
        unit: Pixels of a face width when the track began: the filters' unit.
        placing: Filtered centre, logarithm of the size, and roll, a row each.
        about: Filtered points about that, in units of the size.
    """

    points: Float64[np.ndarray, "68 2"]
    velocity: Float64[np.ndarray, "2"]
    unit: float
    placing: Filtered
    about: Filtered

    @classmethod
    def start(cls, points: Float[np.ndarray, "68 2"]) -> Motion:
        """Begin with a frame's landmarks, at rest."""
        points = np.asarray(points, np.float64)
        unit = face_width(points)
        placing, about = _apart(points, unit, 0.0)
        return cls(points, np.zeros(2), unit, Filtered.start(placing), Filtered.start(about))

    def advance(self, options: TrackingOptions, points: Float[np.ndarray, "68 2"], seconds: float) -> Motion:
        """Take in the next frame's landmarks, so many seconds later."""
        points = np.asarray(points, np.float64)
        moved = (points[_RIGID].mean(axis=0) - self.points[_RIGID].mean(axis=0)) / seconds
        placing, about = _apart(points, self.unit, float(self.placing.value[2, 0]))
        return Motion(
            points,
            self.velocity + _VELOCITY_SHARE * (moved - self.velocity),
            self.unit,
            self.placing.advance(options.placing, placing, seconds),
            self.about.advance(options.points, about, seconds),
        )

    def landmarks(self) -> Float32[np.ndarray, "68 2"]:
        """Return the filtered landmarks in photo pixels."""
        centre, size, roll = self.placing.value
        turned = self.about.value @ rotation(float(roll[0])).T
        return (self.unit * (centre + math.exp(size[0]) * turned)).astype(np.float32)

    def expected(self, seconds: float) -> tuple[Box, float]:
        """Return the box in which the face should lie so many seconds later, and its roll."""
        width = face_width(self.points)
        shift = self.velocity * seconds
        shift *= min(1.0, _FARTHEST * width / max(float(np.linalg.norm(shift)), 1e-6))
        return square(self.points[_INNER].mean(axis=0) + shift, width), face_roll(self.points)


def _apart(
    points: Float64[np.ndarray, "68 2"], unit: float, near: float
) -> tuple[Float64[np.ndarray, "3 2"], Float64[np.ndarray, "68 2"]]:
    """Take landmarks apart into place and points about it; the roll is the one nearest to another."""
    rigid = points[_RIGID]
    centre, size = rigid.mean(axis=0), max(float(_radius(rigid)), 1e-6)
    roll = nearest_turn(face_roll(points), near)
    about = (points - centre) @ rotation(roll) / size
    return np.array([centre / unit, [math.log(size / unit), 0.0], [roll, 0.0]]), about


def nearest_turn(angle: float, near: float) -> float:
    """Return the angle, by whole turns, that is nearest to another: radians."""
    return angle + 2 * math.pi * round((near - angle) / (2 * math.pi))


def _radius(points: Float[np.ndarray, "points 2"]) -> float:
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))
