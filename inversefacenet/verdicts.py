"""A confidence in a word.

Convention:
    A confidence is in [0, 1]; NaN where it isn't known. It is "good" from 0.8, "failed" below 0.4, "doubtful"
    between them. Worked values: `verdict(0.8)` is "good", `verdict(0.5)` "doubtful", `verdict(0.1)` "failed".
"""

from __future__ import annotations

import math
from typing import Final, Literal

Verdict = Literal["good", "doubtful", "failed"]

GOOD_FROM: Final = 0.8
FAILED_BELOW: Final = 0.4


def verdict(confidence: float) -> Verdict | None:
    """Return a confidence in a word; None for NaN."""
    if math.isnan(confidence):
        return None
    if confidence >= GOOD_FROM:
        return "good"
    return "failed" if confidence < FAILED_BELOW else "doubtful"
