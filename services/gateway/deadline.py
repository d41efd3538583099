"""How long a request may still take."""

from __future__ import annotations

import time
from dataclasses import dataclass

from inversefacenet.errors import DeadlineError


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock, which all processes of a machine share.

    Attributes:
        moment: Seconds of `time.monotonic`.
    """

    moment: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the moment that lies so many seconds ahead."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds that are left; negative once it is past."""
        return self.moment - time.monotonic()

    def check(self) -> float:
        """Return the seconds that are left.

        Raises:
            DeadlineError: If none are.
        """
        left = self.remaining()
        if left <= 0:
            raise deadline_error()
        return left


def deadline_error() -> DeadlineError:
    """Return the error of a request that ran out of time."""
    return DeadlineError("The time for this request ran out before the answer was made: allow it more.")
