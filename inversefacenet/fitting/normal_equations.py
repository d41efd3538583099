"""A face's least-squares problem, linearised: J^T J and J^T r of all terms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from inversefacenet.crop import KEPT_LANDMARKS
from inversefacenet.fitting.coverage import coverage_rows
from inversefacenet.fitting.energy import prior_rows
from inversefacenet.fitting.options import FitOptions
from inversefacenet.fitting.photometric import jacobian
from inversefacenet.fitting.placing import Motion, motion
from inversefacenet.fitting.posed import POSE, PosedFace
from inversefacenet.fitting.samples import Samples
from inversefacenet.fitting.view import Target, View, robust_weights
from inversefacenet.parameters import PARAMETER_COUNT


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """J^T J and J^T r of the weighted residuals.

    Attributes:
        matrix: Half the second derivatives, as Gauss and Newton have them.
        gradient: Half the first derivatives.
    """

    matrix: Float[np.ndarray, "350 350"]
    gradient: Float[np.ndarray, "350"]

    def plus(
        self, rows: Float[np.ndarray, "rows columns"], residual: Float[np.ndarray, "rows"], columns: slice
    ) -> NormalEquations:
        """Add residuals that depend on some of the parameters."""
        matrix, gradient = self.matrix.copy(), self.gradient.copy()
        matrix[columns, columns] += rows.T @ rows
        gradient[columns] += rows.T @ residual
        return NormalEquations(matrix, gradient)


def linearise(
    face: PosedFace, seen: View, target: Target, options: FitOptions, rng: np.random.Generator
) -> NormalEquations:
    """Linearise the energy at a face."""
    moved = motion(face)
    empty = NormalEquations(np.zeros((PARAMETER_COUNT, PARAMETER_COUNT)), np.zeros(PARAMETER_COUNT))
    rows, wanted = prior_rows(options)
    residual = rows @ face.theta.astype(np.float64) - wanted
    equations = empty.plus(rows, residual, slice(0, PARAMETER_COUNT))
    if options.photometric:
        rows, residual = photometric_rows(face, moved, seen, target, options, rng)
        equations = equations.plus(rows, residual, slice(0, PARAMETER_COUNT))
    if options.photometric and options.coverage:
        rows, residual = coverage_rows(face, moved, seen, target, options)
        equations = equations.plus(rows, residual, POSE)
    if options.landmark and target.has_landmarks:
        rows, residual = landmark_rows(face, moved, target, options)
        equations = equations.plus(rows, residual, POSE)
    return equations


def landmark_rows(
    face: PosedFace, moved: Motion, target: Target, options: FitOptions
) -> tuple[Float[np.ndarray, "rows 195"], Float[np.ndarray, "rows"]]:
    """Return the landmark term's derivatives and residuals."""
    weight = np.sqrt(options.landmark / len(KEPT_LANDMARKS))
    distance = (face.landmark_pixels - target.landmarks)[KEPT_LANDMARKS]
    rows = moved.landmark_pixels(face)[KEPT_LANDMARKS].reshape(-1, POSE.stop)
    return weight * rows, weight * distance.ravel()


def photometric_rows(
    face: PosedFace,
    moved: Motion,
    seen: View,
    target: Target,
    options: FitOptions,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "rows 350"], Float[np.ndarray, "rows"]]:
    """Return the photometric term's derivatives and residuals at a choice of covered pixels."""
    covered = np.flatnonzero(target.mask & seen.fragments.mask)
    chosen = spread(covered, options.pixels, rng)
    if not chosen.size:
        return np.zeros((0, PARAMETER_COUNT), np.float32), np.zeros(0, np.float32)
    difference = (seen.picture - target.photo).reshape(-1, 3)[chosen]
    weights = robust_weights((difference**2).mean(axis=1), options.robust)
    share = options.photometric * len(covered) / int(target.mask.sum()) / (3 * len(chosen))
    row_weights = np.sqrt(share * weights).astype(face.vertices.dtype)
    samples = Samples.seen(face, seen, chosen)
    rows = jacobian(face, moved, samples, target.gradient.reshape(-1, 3, 2)[chosen], row_weights)
    return rows.reshape(-1, PARAMETER_COUNT), (difference * row_weights[:, None]).ravel()


def spread(
    pixels: Int64[np.ndarray, "pixels"], count: int, rng: np.random.Generator
) -> Int64[np.ndarray, "chosen"]:
    """Choose pixels evenly: every so many in reading order, from a random first one."""
    if len(pixels) <= count:
        return pixels
    step = len(pixels) / count
    return pixels[((np.arange(count) + rng.random()) * step).astype(np.int64)]
