"""The sliders for expressions: the rig's units in plain words, the most useful first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

_SIDES: Final = ("Left", "Right")

_USEFUL: Final = (
    ("Smile", "mouthSmile"),
    ("Open mouth", "jawOpen"),
    ("Raise brows", "browInnerUp browOuterUp"),
    ("Close eyes", "eyeBlink"),
    ("Frown", "mouthFrown browDown"),
    ("Kiss", "mouthPucker"),
)
"""Label, and units that move together; a unit without a side stands for both."""

_GROUPS: Final = (
    ("Jaw", r"^jaw"),
    ("Mouth", r"^mouth|^mh:mouth|^mh:neck"),
    ("Brows", r"^brow|^mh:eyebrows"),
    ("Eyes", r"^eye|^mh:eye"),
    ("Cheeks and nose", r"^cheek|^nose|^mh:nose"),
)


def expression_controls(unit_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the groups of sliders that a face model's rig allows, ready for JSON.

    Args:
        unit_names: Names of the rig's units.

    Returns:
        Groups with `name`, `useful` (shown at once, not behind a fold) and `sliders`; each of these has an
        `id`, a `label` and the `units` that it moves.
    """
    known = set(unit_names)
    groups: list[dict[str, Any]] = []
    useful = []
    for label, names in _USEFUL:
        units = [unit for name in names.split() for unit in _with_sides(name, known)]
        if units:
            useful.append({"id": label.lower().replace(" ", "-"), "label": label, "units": units})
    groups.append({"name": "Most used", "useful": True, "sliders": useful})
    left = list(unit_names)
    for name, pattern in _GROUPS:
        chosen = [unit for unit in left if re.search(pattern, unit)]
        left = [unit for unit in left if unit not in chosen]
        groups.append({"name": name, "useful": False, "sliders": [_slider(unit) for unit in chosen]})
    groups.append({"name": "Other", "useful": False, "sliders": [_slider(unit) for unit in left]})
    return [group for group in groups if group["sliders"]]


def unit_label(unit: str) -> str:
    """Return a unit's name in words: "mouthSmileLeft" is "Mouth smile left"."""
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", unit.removeprefix("mh:")).replace("-", " ").lower()
    return words[:1].upper() + words[1:]


def _with_sides(name: str, known: set[str]) -> list[str]:
    return [unit for unit in (name, *(name + side for side in _SIDES)) if unit in known]


def _slider(unit: str) -> dict[str, Any]:
    return {"id": unit, "label": unit_label(unit), "units": [unit]}
