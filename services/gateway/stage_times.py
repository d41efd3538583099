"""The stages of a photo or frame as a worker notes them."""

from __future__ import annotations

from collections.abc import Sequence

from inversefacenet.stages import Recorder
from services.gateway.jobs import StageTime


def keeper(stages: list[StageTime]) -> Recorder:
    """Return a recorder that adds each stage to a list."""

    def keep(name: str, began: float, seconds: float) -> None:
        stages.append((name, began, seconds))

    return keep


def timings(stages: Sequence[StageTime]) -> dict[str, float]:
    """Return milliseconds by stage; a stage that ran several times is summed up."""
    total: dict[str, float] = {}
    for name, _, seconds in stages:
        total[name] = total.get(name, 0.0) + 1000 * seconds
    return {name: round(milliseconds, 3) for name, milliseconds in total.items()}
