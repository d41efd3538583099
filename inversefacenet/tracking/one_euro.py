"""The One-Euro filter: smooth where little moves, without lag where much does (Casiez et al. 2012).

A first-order low-pass filter whose cutoff grows with the speed of what it filters. Times come with the
measurements, so that frames may come at any rate.

Convention:
    Rows of a measurement are things that move as one, such as points: they share a speed. Cutoffs are in Hz,
    speeds in units of the measurement per second.
    Worked value: a cutoff of 1 Hz at 30 frames a second takes 17% of the way to each new value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from inversefacenet.errors import InputError


@dataclass(frozen=True)
class OneEuro:
    """The filter's constants.

    Attributes:
        cutoff: Hz while nothing moves.
        beta: Hz by which a speed of one unit a second raises it.
        speed_cutoff: Hz of the filter of the speed itself.
    """

    cutoff: float
    beta: float
    speed_cutoff: float = 1.0

    def __post_init__(self) -> None:
        for name in ("cutoff", "speed_cutoff"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"A filter's '{name}' is a finite frequency above 0 Hz.")
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise InputError("A filter's 'beta' is a finite number of at least 0.")


@dataclass(frozen=True, eq=False)
class Filtered:
    """A filter's state, and its output.

    Attributes:
        value: The filtered measurement.
        speed: How fast it moves, filtered: units a second.
    """

    value: Float64[np.ndarray, "rows columns"]
    speed: Float64[np.ndarray, "rows columns"]

    @classmethod
    def start(cls, measured: Float[np.ndarray, "rows columns"]) -> Filtered:
        """Begin with a measurement, at rest."""
        value = np.asarray(measured, np.float64)
        return cls(value, np.zeros_like(value))

    def advance(
        self, constants: OneEuro, measured: Float[np.ndarray, "rows columns"], seconds: float
    ) -> Filtered:
        """Take in the next measurement.

        Args:
            constants: How strongly to filter.
            measured: As before, so many seconds later.
            seconds: Above 0.
        """
        measured = np.asarray(measured, np.float64)
        raw = (measured - self.value) / seconds
        speed = self.speed + _share(constants.speed_cutoff, seconds) * (raw - self.speed)
        pace = np.linalg.norm(speed, axis=1, keepdims=True)
        share = _share(constants.cutoff + constants.beta * pace, seconds)
        return Filtered(self.value + share * (measured - self.value), speed)


def _share(
    cutoff: float | Float64[np.ndarray, "rows 1"], seconds: float
) -> float | Float64[np.ndarray, "rows 1"]:
    """Return which part of the way to a new value a low-pass filter goes."""
    step = 2 * math.pi * cutoff * seconds
    return step / (1 + step)
