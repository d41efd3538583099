"""What an edit is: a small frozen description that turns a face's parameters into others.

Convention:
    Edits are applied in order, each to what the one before left. Shares and strengths are 0 to 1, from the
    present value to the new one. Lights are irradiance coefficients in camera axes; a light that is named, or
    given as a lamp, takes over the present exposure and white balance (`lights`); coefficients and another
    photo's light are taken as they are. What edits add up to is clamped: yaw and pitch to ±80°, skin and
    identity coefficients to ±8 standard deviations; units of expressions by whoever applies a list of edits
    (`sequence`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

import numpy as np
from jaxtyping import Float32

from inversefacenet.editing.lights import LIGHTS, Light, directional_light, relative_to
from inversefacenet.editing.tone import LARGEST_COEFFICIENT, change_tone
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters

Triple = tuple[float, float, float]

LARGEST_ANGLE: Final = 80.0
"""Degrees of yaw and pitch that edits together reach."""


class Edit(ABC):
    """One edit.

    Attributes:
        kind: What the plain form calls it: the value of its "edit" field.
    """

    kind: ClassVar[str]

    @abstractmethod
    def apply(self, model: MorphableModel, parameters: Parameters) -> Parameters:
        """Return the edited parameters."""

    @abstractmethod
    def data(self) -> dict[str, Any]:
        """Return the plain form, ready for JSON; fields at their defaults are left out."""


@dataclass(frozen=True)
class Other:
    """Another face.

    Attributes:
        name: What the edits call it.
        parameters: Its parameters.
    """

    name: str
    parameters: Parameters = field(compare=False, repr=False)


@dataclass(frozen=True)
class Lamp:
    """A lamp far away.

    Attributes:
        direction: From the face to the lamp, in camera axes, of any length but 0.
        colour: Its linear RGB, relative to the present light's white.
        ambient: Share of surrounding light, 0 to 1.
    """

    direction: Triple
    colour: Triple = (1.0, 1.0, 1.0)
    ambient: float = 0.3

    def light(self) -> Light:
        """Return the light that it makes."""
        return directional_light(self.direction, self.colour, self.ambient)

    def data(self) -> dict[str, Any]:
        """Return the fields of the plain form."""
        return {"direction": list(self.direction), "colour": list(self.colour), "ambient": self.ambient}


@dataclass(frozen=True)
class Relight(Edit):
    """Put the face into another light.

    Attributes:
        light: A name of `LIGHTS`, a lamp, nine rows of irradiance coefficients, or another face's light.
        strength: Share of the new light.
    """

    kind: ClassVar[str] = "relight"
    light: str | Lamp | tuple[Triple, ...] | Other
    strength: float = 1.0

    def apply(self, model: MorphableModel, parameters: Parameters) -> Parameters:
        """Return the parameters with the light blended."""
        present = parameters.illumination
        new = self.target(present)
        return replace(parameters, illumination=_blend(present, new, self.strength))

    def target(self, present: Float32[np.ndarray, "9 3"]) -> Float32[np.ndarray, "9 3"]:
        """Return the light at full strength."""
        if isinstance(self.light, Other):
            return self.light.parameters.illumination
        if isinstance(self.light, tuple):
            return np.array(self.light, np.float32)
        light = LIGHTS[self.light] if isinstance(self.light, str) else self.light.light()
        return relative_to(light.coefficients(), present)

    def data(self) -> dict[str, Any]:
        """Return the plain form."""
        plain: dict[str, Any] = {"edit": self.kind}
        if isinstance(self.light, str):
            plain["light"] = self.light
        elif isinstance(self.light, Other):
            plain["from"] = self.light.name
        elif isinstance(self.light, Lamp):
            plain |= self.light.data()
        else:
            plain["coefficients"] = [list(row) for row in self.light]
        return plain | _unless(1.0, strength=self.strength)


@dataclass(frozen=True)
class Pose(Edit):
    """Turn the head.

    Attributes:
        yaw: Degrees; positive turns the face to the image's right. None leaves it.
        pitch: Degrees; positive looks down.
        roll: Degrees; positive turns counter-clockwise in the image.
        relative: Whether the angles are added to the present ones instead of replacing them.
    """

    kind: ClassVar[str] = "pose"
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    relative: bool = True

    def apply(self, model: MorphableModel, parameters: Parameters) -> Parameters:
        """Return the parameters with the head turned."""
        rotation = parameters.rotation.copy()
        for axis, degrees in enumerate((self.yaw, self.pitch, self.roll)):
            if degrees is not None:
                rotation[axis] = np.radians(degrees) + (rotation[axis] if self.relative else 0.0)
        # A face that the photo already shows from farther round may stay there.
        limit = np.maximum(np.radians(LARGEST_ANGLE), np.abs(parameters.rotation[:2]))
        rotation[:2] = np.clip(rotation[:2], -limit, limit)
        return replace(parameters, rotation=rotation)

    def data(self) -> dict[str, Any]:
        """Return the plain form."""
        angles = {"yaw": self.yaw, "pitch": self.pitch, "roll": self.roll}
        given = {name: angle for name, angle in angles.items() if angle is not None}
        return {"edit": self.kind, **given, "relative": self.relative}


@dataclass(frozen=True)
class Expression(Edit):
    """Give the face an expression.

    Attributes:
        target: Weights of rig units, all 64 coefficients, or another face's expression.
        relative: Whether rig units are added to the present expression instead of replacing it.
        strength: Share of the new expression.
    """

    kind: ClassVar[str] = "expression"
    target: tuple[tuple[str, float], ...] | tuple[float, ...] | Other
    relative: bool = False
    strength: float = 1.0

    @property
    def units(self) -> dict[str, float] | None:
        """Weights by unit, if that is how the expression is given."""
        if isinstance(self.target, Other):
            return None
        named = [entry for entry in self.target if isinstance(entry, tuple)]
        return dict(named) if len(named) == len(self.target) else None

    def apply(self, model: MorphableModel, parameters: Parameters) -> Parameters:
        """Return the parameters with the expression blended."""
        present = parameters.expression
        units = self.units
        if isinstance(self.target, Other):
            new = self.target.parameters.expression
        elif units is not None:
            new = model.expression_from_units(units) + (present if self.relative else np.float32(0))
        else:
            new = np.array(self.target, np.float32)
        return replace(parameters, expression=_blend(present, new, self.strength))

    def data(self) -> dict[str, Any]:
        """Return the plain form."""
        plain: dict[str, Any] = {"edit": self.kind}
        units = self.units
        if isinstance(self.target, Other):
            plain["from"] = self.target.name
        elif units is not None:
            plain |= {"units": units, "relative": self.relative}
        else:
            plain["coefficients"] = list(self.target)
        return plain | _unless(1.0, strength=self.strength)


@dataclass(frozen=True)
class Neutral(Edit):
    """Take the expression away.

    Attributes:
        strength: Share of the neutral expression.
    """

    kind: ClassVar[str] = "neutral"
    strength: float = 1.0

    def apply(self, model: MorphableModel, parameters: Parameters) -> Parameters:
        """Return the parameters with the expression relaxed."""
        present = parameters.expression
        return replace(parameters, expression=_blend(present, np.zeros_like(present), self.strength))

    def data(self) -> dict[str, Any]:
        """Return the plain form."""
        plain: dict[str, Any] = {"edit": self.kind}
        return plain | _unless(1.0, strength=self.strength)


@dataclass(frozen=True)
class Identity(Edit):
    """Shift the shape of the head.

    Attributes:
        coefficients: Index and shift in standard deviations.
    """

    kind: ClassVar[str] = "identity"
    coefficients: tuple[tuple[int, float], ...]

    def apply(self, model: MorphableModel, parameters: Parameters) -> Parameters:
        """Return the parameters with the shape shifted."""
        return replace(parameters, shape=_shifted(parameters.shape, self.coefficients))

    def data(self) -> dict[str, Any]:
        """Return the plain form."""
        return {"edit": self.kind, "coefficients": {str(index): shift for index, shift in self.coefficients}}


@dataclass(frozen=True)
class Skin(Edit):
    """Shift the skin's reflectance.

    Attributes:
        coefficients: Index and shift in standard deviations.
        tone: Lighter (positive) or darker, in standard deviations of the model's main direction.
    """

    kind: ClassVar[str] = "skin"
    coefficients: tuple[tuple[int, float], ...] = ()
    tone: float = 0.0

    def apply(self, model: MorphableModel, parameters: Parameters) -> Parameters:
        """Return the parameters with the reflectance shifted."""
        toned = change_tone(model, parameters.reflectance, self.tone)
        return replace(parameters, reflectance=_shifted(toned, self.coefficients))

    def data(self) -> dict[str, Any]:
        """Return the plain form."""
        plain: dict[str, Any] = {"edit": self.kind}
        if self.coefficients:
            plain["coefficients"] = {str(index): shift for index, shift in self.coefficients}
        return plain | ({"tone": self.tone} if self.tone or not self.coefficients else {})


@dataclass(frozen=True)
class Mix(Edit):
    """Go towards another face, group by group.

    Attributes:
        other: The other face.
        shape: Share of its identity's shape; the same below for the other groups.
        reflectance: Share of its skin.
        expression: Share of its expression.
        light: Share of its light.
        pose: Share of its pose.
    """

    kind: ClassVar[str] = "mix"
    other: Other
    shape: float = 0.0
    reflectance: float = 0.0
    expression: float = 0.0
    light: float = 0.0
    pose: float = 0.0

    def apply(self, model: MorphableModel, parameters: Parameters) -> Parameters:
        """Return the parameters between the two faces."""
        other = self.other.parameters
        return Parameters(
            rotation=_blend(parameters.rotation, other.rotation, self.pose),
            shape=_blend(parameters.shape, other.shape, self.shape),
            expression=_blend(parameters.expression, other.expression, self.expression),
            reflectance=_blend(parameters.reflectance, other.reflectance, self.reflectance),
            illumination=_blend(parameters.illumination, other.illumination, self.light),
        )

    def shares(self) -> dict[str, float]:
        """Return the shares by name."""
        return {name: getattr(self, name) for name in MIXED}

    def data(self) -> dict[str, Any]:
        """Return the plain form."""
        given = {name: share for name, share in self.shares().items() if share}
        return {"edit": self.kind, "from": self.other.name, **given}


MIXED: Final = ("shape", "reflectance", "expression", "light", "pose")
"""The groups that `Mix` knows."""


def _blend(
    present: Float32[np.ndarray, "*shape"], new: Float32[np.ndarray, "*shape"], share: float
) -> Float32[np.ndarray, "*shape"]:
    """Return a point between two; exactly the first at 0, exactly the second at 1."""
    if share in (0.0, 1.0):
        return np.array(new if share else present, np.float32)
    return (present + np.float32(share) * (new - present)).astype(np.float32)


def _shifted(
    values: Float32[np.ndarray, "coefficients"],
    shifts: tuple[tuple[int, float], ...] | list[tuple[int, float]],
) -> Float32[np.ndarray, "coefficients"]:
    moved = values.copy()
    for index, shift in shifts:
        moved[index] += np.float32(shift)
    limit = np.maximum(np.float32(LARGEST_COEFFICIENT), np.abs(values))
    return np.clip(moved, -limit, limit)


def _unless(default: float, **values: float) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != default}
