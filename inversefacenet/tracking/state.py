"""All that is kept from one frame to the next: plain data of some kilobytes that can be pickled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from inversefacenet.parameters import (
    EXPRESSION,
    ILLUMINATION,
    PARAMETER_COUNT,
    REFLECTANCE,
    ROTATION,
    SHAPE,
    Parameters,
)
from inversefacenet.tracking.identity import Identity
from inversefacenet.tracking.motion import Motion, nearest_turn
from inversefacenet.tracking.one_euro import Filtered
from inversefacenet.tracking.options import TrackingOptions

Thumbnail = UInt8[np.ndarray, "16 16 3"]

_THUMBNAIL = 16


def thumbnail(image: UInt8[np.ndarray, "height width 3"]) -> Thumbnail:
    """Return a frame as 16x16 pixels: enough to tell two shots apart, and too little to know anybody."""
    size = (_THUMBNAIL, _THUMBNAIL)
    small = Image.fromarray(image).resize(size, Image.Resampling.BOX, reducing_gap=1.0)
    return np.asarray(small)


def difference(first: Thumbnail, second: Thumbnail) -> float:
    """Return the mean difference of two thumbnails, in 8-bit steps."""
    return float(np.abs(first.astype(np.int16) - second).mean())


@dataclass(frozen=True, eq=False)
class Changing:
    """What changes with every frame, filtered: pose, expression, light.

    Attributes:
        rotation: Yaw, pitch, roll in radians, one row each.
        expression: A row for each coefficient.
        light: A row for each coefficient, red, green and blue.
    """

    rotation: Filtered
    expression: Filtered
    light: Filtered

    @classmethod
    def start(cls, parameters: Parameters) -> Changing:
        """Begin with a frame's answer."""
        rows = _rows(parameters)
        return cls(*(Filtered.start(part) for part in rows))

    def advance(self, options: TrackingOptions, parameters: Parameters, seconds: float) -> Changing:
        """Take in the next frame's answer, so many seconds later."""
        rotation, expression, light = _rows(parameters)
        last = self.rotation.value
        turned = [[nearest_turn(float(a), float(b))] for a, b in zip(rotation[:, 0], last[:, 0], strict=True)]
        return Changing(
            self.rotation.advance(options.rotation, np.array(turned), seconds),
            self.expression.advance(options.expression, expression, seconds),
            self.light.advance(options.light, light, seconds),
        )

    def parameters(self, identity: Identity) -> Parameters:
        """Return the face that a person shows with them."""
        theta = np.zeros(PARAMETER_COUNT, np.float32)
        # Back into one turn.
        theta[ROTATION] = [nearest_turn(float(angle), 0.0) for angle in self.rotation.value[:, 0]]
        theta[EXPRESSION] = self.expression.value[:, 0]
        theta[ILLUMINATION] = self.light.value.ravel()
        theta[SHAPE], theta[REFLECTANCE] = identity.shape, identity.reflectance
        return Parameters.from_vector(theta)


def _rows(
    parameters: Parameters,
) -> tuple[Float32[np.ndarray, "3 1"], Float32[np.ndarray, "64 1"], Float32[np.ndarray, "9 3"]]:
    return parameters.rotation[:, None], parameters.expression[:, None], parameters.illumination


@dataclass(frozen=True, eq=False)
class TrackState:
    """What is known after a frame; the empty one begins a video.

    Attributes:
        seconds: The frame's time; NaN before the first.
        thumbnail: The frame in 16x16 pixels.
        motion: Of the followed face; None while there is none.
        changing: Its pose, expression and light; None likewise.
        identity: The last person that was seen, also while no face is followed.
        seen: When a face was last seen; minus infinity before.
        searched: When one was last searched; likewise.
        people: How many persons were told apart.
    """

    seconds: float = math.nan
    thumbnail: Thumbnail | None = None
    motion: Motion | None = None
    changing: Changing | None = None
    identity: Identity | None = None
    seen: float = -math.inf
    searched: float = -math.inf
    people: int = 0
