"""The 350 parameters of a face and their order (Kim et al. 2018, Eq. 1).

Convention:
    theta = [rotation 3 | shape 128 | expression 64 | reflectance 128 | illumination 27], float32.
    Rotation is (yaw, pitch, roll) in radians. Shape, expression and reflectance count standard
    deviations. Illumination is nine RGB triples, coefficient-major: theta[323:326] is the constant
    coefficient's red, green and blue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Float32, Num

from inversefacenet.errors import ParameterError

ROTATION: Final = slice(0, 3)
SHAPE: Final = slice(3, 131)
EXPRESSION: Final = slice(131, 195)
REFLECTANCE: Final = slice(195, 323)
ILLUMINATION: Final = slice(323, 350)
PARAMETER_COUNT: Final = 350

GROUPS: Final[Mapping[str, slice]] = {
    "rotation": ROTATION,
    "shape": SHAPE,
    "expression": EXPRESSION,
    "reflectance": REFLECTANCE,
    "illumination": ILLUMINATION,
}

AMBIENT_LEVEL: Final = 0.9
"""The constant light coefficient of `Parameters.neutral`: the middle of Section 5's U(0.6, 1.2)."""

_SHAPES: Final[Mapping[str, tuple[int, ...]]] = {
    "rotation": (3,),
    "shape": (128,),
    "expression": (64,),
    "reflectance": (128,),
    "illumination": (9, 3),
}


@dataclass(frozen=True)
class Parameters:
    """One face's parameters by name (Kim et al. 2018, Eq. 1).

    Attributes:
        rotation: Yaw, pitch and roll in radians.
        shape: Identity coefficients in standard deviations.
        expression: Expression coefficients in standard deviations.
        reflectance: Skin reflectance coefficients in standard deviations.
        illumination: Spherical-harmonics irradiance coefficients, one RGB row per basis function.
    """

    rotation: Float32[np.ndarray, "3"]
    shape: Float32[np.ndarray, "128"]
    expression: Float32[np.ndarray, "64"]
    reflectance: Float32[np.ndarray, "128"]
    illumination: Float32[np.ndarray, "9 3"]

    @classmethod
    def neutral(cls) -> Parameters:
        """Return the mean face, looking at the viewer, in white ambient light."""
        vector = np.zeros(PARAMETER_COUNT, np.float32)
        vector[ILLUMINATION][:3] = AMBIENT_LEVEL
        return cls.from_vector(vector)

    @classmethod
    def from_vector(cls, vector: Float[np.ndarray, "350"]) -> Parameters:
        """Split a parameter vector into its groups.

        Raises:
            ParameterError: If there aren't 350 finite numbers.
        """
        checked = check_vector(vector)
        return cls(**{name: checked[group].reshape(_SHAPES[name]) for name, group in GROUPS.items()})

    def vector(self) -> Float32[np.ndarray, "350"]:
        """Return the parameters in the order of Eq. 1."""
        return np.concatenate([np.asarray(getattr(self, name), np.float32).ravel() for name in GROUPS])

    def to_dict(self) -> dict[str, Any]:
        """Return lists by name, ready for JSON."""
        return {name: getattr(self, name).tolist() for name in GROUPS}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Parameters:
        """Read what `to_dict` wrote. A group that is left out takes its neutral value.

        Raises:
            ParameterError: If a name is unknown, or a group has a wrong shape or a value that is no
                finite number.
        """
        if set(values) - set(GROUPS):
            # What they are called is the caller's text, which may be long or private.
            raise ParameterError(
                f"There is a parameter group of no known name: the known ones are {list(GROUPS)}."
            )
        neutral = cls.neutral()
        groups: dict[str, Float32[np.ndarray, "..."]] = {}
        for name, shape in _SHAPES.items():
            if name not in values:
                groups[name] = getattr(neutral, name)
                continue
            try:
                given = number_array(values[name])
            except ValueError as error:
                raise ParameterError(f"'{name}' must be numbers of shape {shape}: {error}.") from error
            array = _as_float32(given)
            if array.shape != shape:
                raise ParameterError(f"'{name}' must have shape {shape}, but came with {array.shape}.")
            if not np.isfinite(array).all():
                raise ParameterError(f"'{name}' holds a value that is not finite.")
            groups[name] = array
        return cls(**groups)


def number_array(values: object) -> Num[np.ndarray, "..."]:
    """Return nested lists of numbers as an array.

    Raises:
        ValueError: If they hold anything else, or lists of different lengths. Lists that hold texts never
            reach NumPy, which would make each text as long as the longest.
    """
    pending: list[object] = [values]
    while pending:
        one = pending.pop()
        if isinstance(one, list | tuple):
            pending.extend(one)
        elif isinstance(one, bool) or not isinstance(one, int | float | np.number | np.ndarray):
            raise ValueError("not everything in it is a number")
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise ValueError("not everything in it is a number of usual size")
    return array


def check_vector(vector: Float[np.ndarray, "..."]) -> Float32[np.ndarray, "350"]:
    """Return a copy of `vector` as float32 after checking it.

    Raises:
        ParameterError: If there aren't 350 finite numbers.
    """
    array = _as_float32(vector)
    if array.shape != (PARAMETER_COUNT,):
        raise ParameterError(f"A parameter vector has shape (350,), but this one has {array.shape}.")
    if not np.isfinite(array).all():
        raise ParameterError("A parameter vector must be finite, but this one holds NaN or infinity.")
    return array


def _as_float32(array: Num[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    # What is too large for float32 becomes infinite, which the checks name.
    with np.errstate(over="ignore"):
        return np.array(array, dtype=np.float32)
