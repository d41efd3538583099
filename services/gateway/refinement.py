"""Refines the faces of a photo after the network: a bounded effort, given up when the time is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from inversefacenet.errors import InputError
from services.gateway.deadline import Deadline

if TYPE_CHECKING:
    from inversefacenet.reconstruction import Reconstruction, Reconstructor

MOST_STEPS: Final = 150
"""Steps of all faces of a photo together: about half of a usual request's time."""


def check_effort(iterations: int, faces: int) -> None:
    """Bound what one photo may ask for, before the network is asked.

    Args:
        iterations: Steps of each face.
        faces: How many there are.

    Raises:
        InputError: If it is too much.
    """
    if iterations * faces > MOST_STEPS:
        raise InputError(
            f"Refining {faces} faces in {iterations} steps each is too much for one request: {MOST_STEPS} "
            "steps of all faces together are the most. Ask for fewer steps, or for the largest face."
        )


def refined(
    reconstructor: Reconstructor,
    reconstructions: Sequence[Reconstruction],
    iterations: int,
    deadline: Deadline | None,
) -> list[Reconstruction]:
    """Return the faces refined, or as they are if no steps are asked for.

    Args:
        reconstructor: Refines them.
        reconstructions: What the network answered.
        iterations: Most steps of each face.
        deadline: Until when. What isn't done by then is dropped, like any answer that comes too late: so the
            same request has the same answer, whatever else the service does meanwhile.

    Raises:
        DeadlineError: If the time runs out.
    """
    if not iterations:
        return list(reconstructions)
    faces = []
    for reconstruction in reconstructions:
        if deadline is not None:
            deadline.check()
        faces.append(reconstructor.refine(reconstruction, iterations))
    return faces
