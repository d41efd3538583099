"""Levenberg and Marquardt's steps down the energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Int64

from inversefacenet.crop import FaceCrop
from inversefacenet.errors import LandmarkError
from inversefacenet.fitting.directions import Directions, directions_of
from inversefacenet.fitting.energy import Energy, energy
from inversefacenet.fitting.normal_equations import NormalEquations, linearise
from inversefacenet.fitting.options import FitOptions
from inversefacenet.fitting.posed import PosedFace, pose
from inversefacenet.fitting.view import Target, View, view
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import GROUPS, PARAMETER_COUNT, Parameters

_FIRST_DAMPING: Final = 1e-3
_LEAST_DAMPING: Final = 1e-6
_TRIALS: Final = 6


@dataclass(frozen=True)
class Fit:
    """What a fit found.

    Attributes:
        parameters: The refined parameters; the start's where nothing better was found.
        before: The start's energy.
        after: The result's, which is never higher.
        iterations: Steps that were taken.
    """

    parameters: Parameters
    before: Energy
    after: Energy
    iterations: int


@dataclass(frozen=True, eq=False)
class _State:
    face: PosedFace
    seen: View
    energy: Energy


def fit(model: MorphableModel, crop: FaceCrop, start: Parameters, options: FitOptions | None = None) -> Fit:
    """Refine parameters until the rendering explains the crop.

    Args:
        model: The face model.
        crop: The face. Without known landmarks the colours alone guide the fit.
        start: Where to begin: usually the network's answer.
        options: Weights and effort.

    Raises:
        ImageError: If the crop's face region is empty.
        LandmarkError: If the start's face has no finite extent.
    """
    options = options or FitOptions()
    directions, target = directions_of(model), Target.of(crop)
    rng = np.random.default_rng(options.seed)
    free = free_parameters(options)
    current = first = _evaluate(directions, start.vector().astype(np.float64), target, options)
    damping, taken = _FIRST_DAMPING, 0
    for _ in range(options.iterations):
        equations = linearise(current.face, current.seen, target, options, rng)
        better, damping = _step(current, equations, free, damping, target, options)
        if better is None:
            break
        taken += 1
        gained = current.energy.total - better.energy.total
        current = better
        if gained < options.tolerance * current.energy.total:
            break
    return Fit(Parameters.from_vector(current.face.theta), first.energy, current.energy, taken)


def free_parameters(options: FitOptions) -> Int64[np.ndarray, "free"]:
    """Return the indices of the parameters that may change."""
    return np.concatenate(
        [np.arange(PARAMETER_COUNT)[GROUPS[name]] for name in GROUPS if name in options.free]
    )


def _evaluate(
    directions: Directions, theta: Float[np.ndarray, "350"], target: Target, options: FitOptions
) -> _State:
    # Rounded first, so that the energy is that of the parameters as they are given back.
    face = pose(directions, theta.astype(np.float32))
    seen = view(face)
    return _State(face, seen, energy(face, seen, target, options))


def _step(
    current: _State,
    equations: NormalEquations,
    free: Int64[np.ndarray, "free"],
    damping: float,
    target: Target,
    options: FitOptions,
) -> tuple[_State | None, float]:
    """Take the longest of some steps that lowers the energy; None if none does."""
    matrix, gradient = equations.matrix[np.ix_(free, free)], equations.gradient[free]
    diagonal = np.diag(np.diag(matrix) + 1e-9)
    theta = current.face.theta.astype(np.float64)
    for _ in range(_TRIALS):
        tried = theta.copy()
        tried[free] -= np.linalg.solve(matrix + damping * diagonal, gradient)
        try:
            state = _evaluate(current.face.directions, tried, target, options)
        except LandmarkError:  # the step left everything that has an extent
            state = None
        if state is not None and state.energy.total < current.energy.total:
            return state, max(damping / 4, _LEAST_DAMPING)
        damping *= 8
    return None, damping
