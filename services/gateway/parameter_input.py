"""The parameters that a caller sends: the groups by name, or one vector."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from inversefacenet.errors import ParameterError
from inversefacenet.parameters import GROUPS, PARAMETER_COUNT, Parameters, number_array
from services.gateway.landmark_input import numbers

PARAMETER_SCHEMAS: Final[dict[str, Any]] = {
    "rotation": numbers(3),
    "shape": numbers(128),
    "expression": numbers(64),
    "reflectance": numbers(128),
    "illumination": {"type": "array", "items": numbers(3), "minItems": 9, "maxItems": 9},
    "vector": numbers(350),
}
"""JSON schemas of what they may hold."""

PARAMETERS_HELP: Final = (
    "The groups by name, as answers hold them; one that is left out is neutral. Or `vector`: all 350 numbers "
    "in their order."
)

LARGEST_LENT: Final = 1e6
"""Far more than any face has, and far from where float32 overflows: what edits make of it stays finite."""

_VECTOR: Final = "vector"


def parameters_of(given: dict[str, Any]) -> Parameters:
    """Read parameters by group or as one vector.

    Raises:
        ParameterError: If they can't be used.
    """
    if _VECTOR not in given:
        return Parameters.from_dict(given)
    if len(given) > 1:
        raise ParameterError(f"Send either '{_VECTOR}' or the groups by name, not both.")
    try:
        vector = number_array(given[_VECTOR])
    except ValueError:
        vector = np.empty(0)
    if vector.shape != (PARAMETER_COUNT,):
        raise ParameterError(f"'{_VECTOR}' must hold {PARAMETER_COUNT} numbers.")
    return Parameters.from_vector(vector.astype(np.float64))


def lendable(parameters: Parameters) -> Parameters:
    """Return parameters that edits may take something from.

    Raises:
        ParameterError: If a number is so large that no picture can be made of it.
    """
    for name in GROUPS:
        if np.abs(getattr(parameters, name)).max() > LARGEST_LENT:
            raise ParameterError(
                f"'{name}' of another face holds a number beyond {LARGEST_LENT:,.0f}: send parameters as "
                "answers hold them."
            )
    return parameters
