"""Edits in their plain form: a list of objects, ready for JSON, the same in every interface.

Convention:
    Values out of range are refused, not clamped: strengths and shares 0 to 1, ambient 0 to 1, light
    coefficients -20 to 20, directions' parts -1000 to 1000 and not all 0, colours 0 to 10, yaw and pitch ±60
    degrees, roll ±180, rig units 0 to 1.5 (-1.5 to 1.5 if relative), expression coefficients ±12, identity
    and skin shifts ±6, tone ±3. What several edits add up to is clamped (`edits`, `sequence`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from inversefacenet.editing.edits import (
    MIXED,
    Edit,
    Expression,
    Identity,
    Lamp,
    Mix,
    Neutral,
    Other,
    Pose,
    Relight,
    Skin,
    Triple,
)
from inversefacenet.editing.fields import Fields, quoted
from inversefacenet.editing.lights import LIGHTS
from inversefacenet.editing.sequence import LARGEST_UNIT
from inversefacenet.errors import EditError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters

MOST_EDITS: Final = 64
LARGEST_TURN: Final = 60.0
LARGEST_ROLL: Final = 180.0
LARGEST_EXPRESSION: Final = 12.0
LARGEST_SHIFT: Final = 6.0
LARGEST_TONE: Final = 3.0
LARGEST_LIGHT: Final = 20.0
LARGEST_COLOUR: Final = 10.0
_LARGEST_DIRECTION: Final = 1000.0


class _Reader:
    """What the readers of the fields need to know besides them."""

    def __init__(self, model: MorphableModel, others: Mapping[str, Parameters]) -> None:
        self.model = model
        self.others = others

    def other(self, fields: Fields) -> Other:
        name = fields.choice("from", self.others, "another face that is given beside the edits")
        return Other(name, self.others[name])


def parse_edits(
    spec: object,
    model: MorphableModel,
    others: Mapping[str, Parameters] | None = None,
) -> tuple[Edit, ...]:
    """Read edits from their plain form.

    Args:
        spec: A list with one object per edit, as JSON has it; "edit" says which kind.
        model: The face model, which knows the rig units.
        others: Faces that edits may refer to by "from".

    Returns:
        The edits, in the same order.

    Raises:
        EditError: If an edit or a field is unknown or out of range; the message names both, and lists what
            is known.
    """
    if isinstance(spec, str | bytes | Mapping) or not isinstance(spec, Sequence):
        raise EditError(f"Edits are a list of objects, not {quoted(spec)}.")
    if len(spec) > MOST_EDITS:
        raise EditError(f"At most {MOST_EDITS} edits are applied at once, but there are {len(spec)}.")
    reader = _Reader(model, others or {})
    return tuple(_parse(index, values, reader) for index, values in enumerate(spec))


def edits_to_data(edits: Sequence[Edit]) -> list[dict[str, Any]]:
    """Return the plain form of edits, which `parse_edits` reads back to equal ones."""
    return [edit.data() for edit in edits]


def _parse(index: int, values: object, reader: _Reader) -> Edit:
    label = f"edits[{index}]"
    if not isinstance(values, Mapping):
        raise EditError(f"{label} must be an object with an 'edit' field, not {quoted(values)}.")
    kind = Fields(values, label).choice("edit", _PARSERS, "a kind of edit")
    return _PARSERS[kind](Fields(values, f"{label} ({kind})"), reader)


def _strength(fields: Fields) -> float:
    return fields.number("strength", 0.0, 1.0, 1.0)


def _relight(fields: Fields, reader: _Reader) -> Edit:
    ways = ("light", "coefficients", "direction", "from")
    fields.only((*ways, "colour", "ambient", "strength"))
    way = fields.one_of(ways)
    if way != "direction":
        for name in ("colour", "ambient"):
            if fields.has(name):
                fields.refuse(f"'{name}' goes with 'direction' alone.")
    light: str | Lamp | tuple[Triple, ...] | Other
    if way == "light":
        light = fields.choice("light", LIGHTS, "a light")
    elif way == "from":
        light = reader.other(fields)
    elif way == "direction":
        light = _lamp(fields)
    else:
        light = _coefficients(fields)
    return Relight(light, _strength(fields))


def _lamp(fields: Fields) -> Lamp:
    direction = _triple(fields, "direction", -_LARGEST_DIRECTION, _LARGEST_DIRECTION)
    if max(abs(part) for part in direction) < 1e-6:
        fields.refuse("'direction' must not be 0: it points from the face to the light.")
    colour = _triple(fields, "colour", 0.0, LARGEST_COLOUR) if fields.has("colour") else (1.0, 1.0, 1.0)
    if max(colour) <= 0:
        fields.refuse("'colour' must not be black: dim the light with 'ambient' or 'strength'.")
    return Lamp(direction, colour, fields.number("ambient", 0.0, 1.0, Lamp.ambient))


def _coefficients(fields: Fields) -> tuple[Triple, ...]:
    rows = fields.values["coefficients"]
    if not isinstance(rows, list | tuple) or len(rows) != 9:
        fields.refuse(f"'coefficients' must be nine rows [red, green, blue], not {quoted(rows)}.")
    named = {f"coefficients[{i}]": row for i, row in enumerate(rows)}
    inner = Fields(named, fields.label)
    return tuple(_triple(inner, name, -LARGEST_LIGHT, LARGEST_LIGHT) for name in named)


def _triple(fields: Fields, name: str, low: float, high: float) -> Triple:
    x, y, z = fields.numbers(name, 3, low, high)
    return x, y, z


def _pose(fields: Fields, reader: _Reader) -> Edit:
    fields.only(("yaw", "pitch", "roll", "relative"))
    limits = {"yaw": LARGEST_TURN, "pitch": LARGEST_TURN, "roll": LARGEST_ROLL}
    angles = {n: fields.number(n, -limit, limit) for n, limit in limits.items() if fields.has(n)}
    if not angles:
        fields.refuse("needs at least one of 'yaw', 'pitch', 'roll', in degrees.")
    return Pose(**angles, relative=fields.flag("relative", True))


def _expression(fields: Fields, reader: _Reader) -> Edit:
    ways = ("units", "coefficients", "from")
    fields.only((*ways, "relative", "strength"))
    way = fields.one_of(ways)
    relative = fields.flag("relative", False)
    if relative and way != "units":
        fields.refuse("'relative' goes with 'units' alone.")
    strength = _strength(fields)
    if way == "from":
        return Expression(reader.other(fields), strength=strength)
    if way == "coefficients":
        count = reader.model.expression_sigma.size
        values = fields.numbers("coefficients", count, -LARGEST_EXPRESSION, LARGEST_EXPRESSION)
        return Expression(values, strength=strength)
    low = -LARGEST_UNIT if relative else 0.0
    weights = []
    for name, weight in fields.table("units").items():
        if name not in reader.model.unit_names:
            fields.unknown("'units' has no unit", name, reader.model.unit_names, "this model knows")
        weights.append((name, fields.checked(f"units.{name}", weight, low, LARGEST_UNIT)))
    return Expression(tuple(weights), relative, strength)


def _neutral(fields: Fields, reader: _Reader) -> Edit:
    fields.only(("strength",))
    return Neutral(_strength(fields))


def _shifts(fields: Fields, count: int) -> tuple[tuple[int, float], ...]:
    shifts = []
    for name, shift in fields.table("coefficients").items():
        if not (name.isascii() and name.isdigit() and len(name) <= 4 and int(name) < count):
            fields.refuse(f"'coefficients' has no index {quoted(name)}: they go from 0 to {count - 1}.")
        value = fields.checked(f"coefficients.{int(name)}", shift, -LARGEST_SHIFT, LARGEST_SHIFT)
        shifts.append((int(name), value))
    return tuple(shifts)


def _identity(fields: Fields, reader: _Reader) -> Edit:
    fields.only(("coefficients",))
    return Identity(_shifts(fields, reader.model.shape_sigma.size))


def _skin(fields: Fields, reader: _Reader) -> Edit:
    fields.only(("coefficients", "tone"))
    if not fields.has("coefficients") and not fields.has("tone"):
        fields.refuse("needs 'tone' or 'coefficients'.")
    given = fields.has("coefficients")
    shifts = _shifts(fields, reader.model.reflectance_sigma.size) if given else ()
    return Skin(shifts, fields.number("tone", -LARGEST_TONE, LARGEST_TONE, 0.0))


def _mix(fields: Fields, reader: _Reader) -> Edit:
    fields.only(("from", *MIXED))
    other = reader.other(fields)
    shares = {name: fields.number(name, 0.0, 1.0) for name in MIXED if fields.has(name)}
    if not shares:
        listed = ", ".join(f"'{name}'" for name in MIXED)
        fields.refuse(f"needs a share of at least one of {listed}.")
    return Mix(other, **shares)


_PARSERS: Final[Mapping[str, Callable[[Fields, _Reader], Edit]]] = {
    Relight.kind: _relight,
    Pose.kind: _pose,
    Expression.kind: _expression,
    Neutral.kind: _neutral,
    Identity.kind: _identity,
    Skin.kind: _skin,
    Mix.kind: _mix,
}

EDIT_KINDS: Final = tuple(_PARSERS)
"""Kinds of edits by name."""
