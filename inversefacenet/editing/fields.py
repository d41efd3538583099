"""Fields of an edit's plain form, read with messages that name the edit and the field.

What is quoted of the caller's text is cut short; numbers must be finite and no truth values.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from inversefacenet.errors import EditError

_LONGEST_QUOTE = 40
_LONGEST_NAME = 100  # what is longer is no name that was mistyped


class Fields:
    """One edit's fields."""

    def __init__(self, values: Mapping[str, Any], label: str) -> None:
        """Take the fields.

        Args:
            values: The fields by name.
            label: What messages call the edit, as in "edits[2] (pose)".
        """
        self.values = values
        self.label = label

    def has(self, name: str) -> bool:
        """Tell whether a field is given; null counts as not given."""
        return self.values.get(name) is not None

    def only(self, known: Iterable[str]) -> None:
        """Refuse fields of unknown names.

        Raises:
            EditError: If there are any; the message lists the known ones.
        """
        names = ["edit", *known]
        unknown = [name for name in self.values if name not in names]
        if unknown:
            self.unknown("has no field", unknown[0], names, "its fields are")

    def one_of(self, names: Collection[str]) -> str:
        """Return which one of several fields is given.

        Raises:
            EditError: If none is, or more than one.
        """
        given = [name for name in names if self.has(name)]
        if len(given) != 1:
            listed = ", ".join(f"'{name}'" for name in names)
            told = " and ".join(f"'{name}'" for name in given) if given else "none"
            self.refuse(f"needs exactly one of {listed}, but has {told}.")
        return given[0]

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """Read a number.

        Raises:
            EditError: If it is missing without a default, no finite number, or out of range.
        """
        if not self.has(name):
            if default is None:
                self.refuse(f"needs '{name}', a number from {low:g} to {high:g}.")
            return default
        return self.checked(name, self.values[name], low, high)

    def checked(self, place: str, value: object, low: float, high: float) -> float:
        """Return a number after checking it.

        Raises:
            EditError: If it is no finite number, or out of range.
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(f"'{place}' must be a number, not {quoted(value)}.")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not (math.isfinite(number) and low <= number <= high):
            self.refuse(f"'{place}' must be from {low:g} to {high:g}, not {quoted(value)}.")
        return number

    def flag(self, name: str, default: bool) -> bool:
        """Read a truth value.

        Raises:
            EditError: If it is none.
        """
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(f"'{name}' must be true or false, not {quoted(value)}.")
        return value

    def choice(self, name: str, known: Collection[str], called: str) -> str:
        """Read a name that must be known.

        Raises:
            EditError: If it isn't; the message lists the known ones.
        """
        value = self.values.get(name)
        if not isinstance(value, str) or value not in known:
            self.unknown(f"'{name}' must name {called}, not", value, known, "the known ones are")
        return value

    def numbers(self, name: str, count: int, low: float, high: float) -> tuple[float, ...]:
        """Read a list of numbers.

        Raises:
            EditError: If it is none, of another length, or holds something out of range.
        """
        value = self.values.get(name)
        if not isinstance(value, list | tuple) or len(value) != count:
            self.refuse(f"'{name}' must be a list of {count} numbers, not {quoted(value)}.")
        return tuple(self.checked(f"{name}[{i}]", entry, low, high) for i, entry in enumerate(value))

    def table(self, name: str) -> Mapping[str, Any]:
        """Read an object that isn't empty.

        Raises:
            EditError: If it is none.
        """
        value = self.values.get(name)
        if not isinstance(value, Mapping) or not value or not all(isinstance(key, str) for key in value):
            self.refuse(f"'{name}' must be an object of numbers by name, not {quoted(value)}.")
        return value

    def unknown(self, reason: str, value: object, known: Collection[str], listing: str) -> NoReturn:
        """Raise an error about a name that isn't known: the nearest known ones first, then all.

        Raises:
            EditError: Always.
        """
        listed = f"{listing} {', '.join(known)}" if known else "there is none"
        near = close_names(value, known)
        if near:
            listed = f"did you mean {' or '.join(near)}? {listed[0].upper()}{listed[1:]}"
        self.refuse(f"{reason} {quoted(value)}: {listed}.")

    def refuse(self, reason: str) -> NoReturn:
        """Raise an error that names the edit.

        Raises:
            EditError: Always.
        """
        raise EditError(f"{self.label}: {reason}" if reason.startswith("'") else f"{self.label} {reason}")


def close_names(value: object, known: Collection[str]) -> list[str]:
    """Return the known names, two at most, that a mistyped one is nearest to."""
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        return []
    lower = {name.lower(): name for name in known}
    return [lower[name] for name in get_close_matches(value.lower(), lower, n=2)]


def quoted(value: object) -> str:
    """Quote what the caller sent, cut short."""
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return f"an object of {len(value)} fields"
    if value is None:
        return "nothing"
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of too many digits"
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
