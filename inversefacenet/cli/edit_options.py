"""The options of `inversefacenet edit` that say what to change, in the order in which they are given.

Each becomes an edit as plain data (`inversefacenet.editing.parse_edits`); photos that something is taken from
get names.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from inversefacenet.errors import EditError

Specification = tuple[list[dict[str, Any]], dict[str, Path]]
"""Edits as plain data, and the photos that they take something from, by name."""

_ANGLES: Final = ("yaw", "pitch", "roll")
_MIXED: Final = ("shape", "reflectance", "expression", "light", "pose")
_LONGEST_STEM: Final = 56  # a name has 64 characters at a server, and may get a number
_USUAL_MIX: Final = {"shape": 0.5, "reflectance": 0.5}


def add_edit_options(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    group = parser.add_argument_group("edits")

    def option(name: str, read: Callable[[str], Any], metavar: str, text: str) -> None:
        group.add_argument(
            name, action=_InOrder, type=read, metavar=metavar, dest="in_order", default=[], help=text
        )

    option(
        "--relight",
        _light,
        "LIGHT",
        "a named light, such as left, or the direction from which it comes as X,Y,Z (right, up, to the "
        "viewer), with an equals sign where X is negative: --relight=-1,0,1",
    )
    option("--light-from", _from_photo("relight"), "PHOTO", "the light of another photo's face")
    option(
        "--pose",
        _pose,
        "yaw=DEG,...",
        "turn the head by yaw, pitch and roll in degrees; positive: to the image's right, down, "
        "counter-clockwise",
    )
    option(
        "--expression",
        _expression,
        "UNIT=WEIGHT,...",
        "an expression that replaces the photo's, of units such as jawOpen=0.6,mouthSmileLeft=1; "
        "--add-expression keeps the photo's",
    )
    option(
        "--add-expression",
        _added,
        "UNIT=WEIGHT,...",
        "units added to the photo's expression, or taken from it, such as jawOpen=0.2,browInnerUp=-0.5; "
        "--expression replaces it instead",
    )
    option("--expression-from", _from_photo("expression"), "PHOTO", "the expression of another photo's face")
    group.add_argument(
        "--neutral",
        action=_InOrder,
        nargs=0,
        const={"edit": "neutral"},
        dest="in_order",
        help="the face at rest",
    )
    option("--identity", _numbered("identity"), "N=SHIFT,...", "shift the shape, in standard deviations")
    option("--skin", _numbered("skin"), "N=SHIFT,...", "shift the skin, in standard deviations")
    option("--skin-tone", _tone, "TONE", "a lighter skin (up to 3), or a darker one (down to -3)")
    option(
        "--mix",
        _mix,
        "PHOTO[,shape=0.5,...]",
        "mix with another photo's face: how much of its shape, reflectance, expression, light and pose, 0 to "
        "1; half of shape and reflectance unless said",
    )
    option("--edits", Path, "JSON", "a file with a list of edits")
    group.add_argument(
        "--other",
        action="append",
        type=_named_photo,
        default=[],
        metavar="NAME=PHOTO",
        help='a photo that edits of such a file may name, as in {"edit": "relight", "from": "NAME"}',
    )


def read_specification(options: argparse.Namespace) -> Specification:
    """Return what the command's options say.

    Raises:
        EditError: If a file of edits isn't such a file.
        OSError: If it can't be read.
    """
    edits: list[dict[str, Any]] = []
    others: dict[str, Path] = dict(options.other)
    for given in options.in_order:
        if isinstance(given, Path):
            edits += _read_file(given)
            continue
        edit = dict(given)
        photo = edit.get("from")
        if isinstance(photo, Path):
            edit["from"] = _name_of(photo, others)
        edits.append(edit)
    return edits, others


class _InOrder(argparse.Action):
    """Collects what all these options say in one list."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        value = self.const if self.const is not None else values
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), value])


def _read_file(path: Path) -> list[dict[str, Any]]:
    try:
        edits = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no text, no JSON, or a number of too many digits
        raise EditError(f"{path} is no JSON file: {error}.") from error
    if not isinstance(edits, list) or not all(isinstance(edit, dict) for edit in edits):
        raise EditError(
            f'{path} must hold a list of edits, such as [{{"edit": "relight", "light": "left"}}].'
        )
    return edits


def _name_of(photo: Path, others: dict[str, Path]) -> str:
    """Return the name of a photo among the others, a new one if it isn't there yet."""
    for name, known in others.items():
        if known == photo:
            return name
    stem = photo.stem[:_LONGEST_STEM] or "other"
    name, number = stem, 2
    while name in others:
        name, number = f"{stem}-{number}", number + 1
    others[name] = photo
    return name


def _named_photo(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"'{text}' is no NAME=PHOTO")
    return name, Path(path)


def _light(text: str) -> dict[str, Any]:
    pieces = text.split(",")
    if len(pieces) == 1:
        return {"edit": "relight", "light": text}
    if len(pieces) != 3:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a light's name nor a direction X,Y,Z")
    return {"edit": "relight", "direction": [_number(piece) for piece in pieces]}


def _from_photo(kind: str) -> Callable[[str], dict[str, Any]]:
    def read(text: str) -> dict[str, Any]:
        return {"edit": kind, "from": Path(text)}

    return read


def _pose(text: str) -> dict[str, Any]:
    return {"edit": "pose", **_pairs(text.split(","), _ANGLES)}


def _expression(text: str) -> dict[str, Any]:
    return {"edit": "expression", "units": _pairs(text.split(","))}


def _added(text: str) -> dict[str, Any]:
    return {**_expression(text), "relative": True}


def _numbered(kind: str) -> Callable[[str], dict[str, Any]]:
    def read(text: str) -> dict[str, Any]:
        return {"edit": kind, "coefficients": _pairs(text.split(","))}

    return read


def _tone(text: str) -> dict[str, Any]:
    return {"edit": "skin", "tone": _number(text)}


def _mix(text: str) -> dict[str, Any]:
    # A file's name may have commas of its own.
    path, *rest = text.split(",")
    while rest and rest[0].partition("=")[0] not in _MIXED:
        path = f"{path},{rest.pop(0)}"
    return {"edit": "mix", "from": Path(path), **(_pairs(rest, _MIXED) if rest else _USUAL_MIX)}


def _pairs(pieces: Sequence[str], names: Sequence[str] = ()) -> dict[str, float]:
    """Read NAME=NUMBER several times; `names` are those that there are, if they are few."""
    found = {}
    for piece in pieces:
        name, equals, value = piece.partition("=")
        if not (name and equals):
            raise argparse.ArgumentTypeError(f"'{piece}' is no NAME=NUMBER")
        if names and name not in names:
            raise argparse.ArgumentTypeError(f"there is no '{name}' here: there is {', '.join(names)}")
        found[name] = _number(value)
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no number") from None
