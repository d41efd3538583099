"""How a face is followed: constants that were chosen by measurement (`docs/guides/video.md`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inversefacenet.errors import InputError
from inversefacenet.tracking.one_euro import OneEuro


@dataclass(frozen=True)
class TrackingOptions:
    """How a face is followed.

    Attributes:
        placing: Filter of where the face lies: its centre, size and roll, in face widths and radians.
        points: Filter of the 68 landmarks about that, in face widths.
        rotation: Filter of yaw, pitch and roll, in radians.
        expression: Filter of each expression coefficient, in standard deviations.
        light: Filter of each light coefficient's red, green and blue.
        memory: How many sure frames the means of shape and skin stand for at most: what they have settled to
            moves by one part in so many with each further frame.
        least_confidence: An answer for a face that was searched doesn't count if it is less sure. For a
            face that was followed its square is enough, so that a hard moment doesn't end a track.
        search_seconds: While there is no face to follow, it is searched so often.
        gap_seconds: After a longer pause between two frames a face is searched, not followed.
        cut: Mean difference of two frames' thumbnails, in 8-bit steps, from which on they are two shots.
        stranger: Distance of two answers' shape and skin (`identity.Identity.distance`), from which on they
            show two persons, whatever else speaks for one.
        familiar: The same, below which a face is the last one's again after a cut, or after it was lost for
            more than `gap_seconds`. The network is no recogniser: most strangers are farther than this, and
            so are many pictures of one person, whose means then begin anew.
        minimum_size: Least width of a face in pixels; None leaves it to the detector.
    """

    placing: OneEuro = OneEuro(1.0, 35.0, 4.0)
    points: OneEuro = OneEuro(1.0, 15.0, 3.0)
    rotation: OneEuro = OneEuro(1.0, 25.0, 4.0)
    expression: OneEuro = OneEuro(1.0, 30.0, 3.0)
    light: OneEuro = OneEuro(1.0, 40.0, 4.0)
    memory: float = 100.0
    least_confidence: float = 0.3
    search_seconds: float = 0.2
    gap_seconds: float = 0.5
    cut: float = 20.0
    stranger: float = 0.65
    familiar: float = 0.3
    minimum_size: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.least_confidence <= 1:
            raise InputError(f"'least_confidence' is a number from 0 to 1, not {self.least_confidence}.")
        for name, least in (("memory", 1.0), ("search_seconds", 0.0), ("gap_seconds", 0.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise InputError(f"'{name}' is a finite number of at least {least:g}, not {value}.")
        for name in ("cut", "stranger", "familiar"):
            if not getattr(self, name) > 0:
                raise InputError(f"'{name}' is a number above 0, not {getattr(self, name)}.")
