"""Edits done one after the other, and what they may add up to.

Convention:
    Rig units that edits of a list add to each other stay within ±1.5, the limit of a single weight: what goes
    beyond it is left out. The expression that the photo shows is no part of that sum: it is known by its
    coefficients alone. Whatever replaces a share of the expression replaces that share of the sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from inversefacenet.editing.edits import Edit, Expression, Mix, Neutral
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters

LARGEST_UNIT: Final = 1.5
"""Largest weight of a rig unit, given at once or added up."""


def apply_edits(model: MorphableModel, parameters: Parameters, edits: Sequence[Edit]) -> Parameters:
    """Apply edits in order to a face's parameters."""
    for edit in _bounded(edits):
        parameters = edit.apply(model, parameters)
    return parameters


def _bounded(edits: Sequence[Edit]) -> Iterator[Edit]:
    """Yield the edits, their relative units cut to what is left of each one's range."""
    totals: dict[str, float] = {}
    for edit in edits:
        if isinstance(edit, Expression) and edit.relative and edit.units is not None:
            edit = _cut(edit, edit.units, totals)
        elif isinstance(edit, Expression | Neutral | Mix):
            share = edit.expression if isinstance(edit, Mix) else edit.strength
            totals = {name: (1 - share) * weight for name, weight in totals.items()}
            units = edit.units if isinstance(edit, Expression) else None
            for name, weight in (units or {}).items():
                totals[name] = totals.get(name, 0.0) + share * weight
        yield edit


def _cut(edit: Expression, units: dict[str, float], totals: dict[str, float]) -> Expression:
    """Return an edit of relative units with what is beyond the range left out; `totals` takes in the rest."""
    weights = []
    for name, weight in units.items():
        before = totals.get(name, 0.0)
        after = before + edit.strength * weight
        if abs(after) > LARGEST_UNIT and edit.strength > 0:
            after = min(max(after, -LARGEST_UNIT), LARGEST_UNIT)
            weight = (after - before) / edit.strength
        totals[name] = after
        weights.append((name, weight))
    return replace(edit, target=tuple(weights))
