"""The landmarks that a caller sends along, as nested lists or as JSON text."""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np
from jaxtyping import Float32
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import from_json

from inversefacenet.parameters import number_array


def numbers(count: int) -> dict[str, Any]:
    """Return the JSON schema of a list of so many numbers."""
    return {"type": "array", "items": {"type": "number"}, "minItems": count, "maxItems": count}


_POINTS_SCHEMA: Final = {"type": "array", "items": numbers(2), "minItems": 68, "maxItems": 68}


def landmarks_of(value: object) -> tuple[Float32[np.ndarray, "68 2"], ...]:
    """Return the landmarks of each face.

    Args:
        value: Nested lists: 68 points [x, y] of one face, or a list of such.

    Raises:
        ValueError: If it is something else.
    """
    message = "must be 68 points [x, y], or a list of such for several faces"
    try:
        points = number_array(value)
    except ValueError:
        raise ValueError(message) from None
    if points.ndim == 2:
        points = points[None]
    if points.ndim != 3 or points.shape[1:] != (68, 2):
        raise ValueError(message)
    with np.errstate(over="ignore"):
        single = points.astype(np.float32)
    if not len(single):
        raise ValueError("holds no face: leave it out to have the faces looked for")
    if not np.isfinite(single).all():
        raise ValueError("holds a number that is not finite, or too large")
    return tuple(single)


def _read_json(value: object) -> object:
    """Read the text that a query or a form holds."""
    try:
        return from_json(str(value))
    except ValueError:
        raise ValueError("must be JSON: 68 points [x, y], or a list of such for several faces") from None


Landmarks = Annotated[
    Any,
    AfterValidator(landmarks_of),
    WithJsonSchema({"anyOf": [_POINTS_SCHEMA, {"type": "array", "items": _POINTS_SCHEMA, "minItems": 1}]}),
]
LandmarksText = Annotated[
    Any,
    BeforeValidator(_read_json),
    AfterValidator(landmarks_of),
    WithJsonSchema({"type": "string", "contentMediaType": "application/json"}),
]
LANDMARKS_HELP: Final = (
    "The 68 landmarks in iBUG order, [x, y] in pixels of the upright photo (or of the crop), pixel centres "
    "at half integers: of one face, or a list for several. Nothing is detected then."
)
