"""Failures made on purpose: what a photo of a face becomes when it can't be reconstructed.

The confidence (`inversefacenet.confidence`) is calibrated with them, so that nobody has to label
photographs.
Every kind starts from a photo whose largest face is known to be clean, and changes the photo (occluders,
profiles, bad exposure) or looks at the wrong place (a box that holds no face, or half of one). `HARMLESS` is
the opposite: what a photo may suffer without the answer becoming useless, so that a monochrome, dim or
compressed photo is not taken for a failure.

Convention:
    A face's own frame has its origin between the eyes and the distance of the outer eye corners as its unit,
    u along the eyes to the image's right, v down the face. Worked values: the eyes' corners lie at
    (-0.5, 0) and (0.5, 0), the chin of most faces at about (0, 1.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from training.failures.imaging import HARMLESS, IMAGING
from training.failures.occlusions import OCCLUSIONS
from training.failures.profiles import PROFILES
from training.failures.subject import Case, Maker, Subject
from training.failures.wrong_places import WRONG_PLACES

FAILURES: Final[Mapping[str, Mapping[str, Maker]]] = MappingProxyType(
    {
        "occlusions": OCCLUSIONS,
        "profiles": PROFILES,
        "wrong places": WRONG_PLACES,
        "imaging": IMAGING,
    }
)
"""Kinds of failure by family: cross-validation holds out whole kinds and whole families."""

__all__ = ["FAILURES", "HARMLESS", "Case", "Maker", "Subject"]
