"""The energy of a fit: how badly parameters explain a photo, and how unlikely they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from inversefacenet.crop import landmarks66
from inversefacenet.fitting.options import FitOptions
from inversefacenet.fitting.posed import PosedFace
from inversefacenet.fitting.view import Target, View, robust_cost, squared_differences
from inversefacenet.parameters import (
    AMBIENT_LEVEL,
    EXPRESSION,
    ILLUMINATION,
    PARAMETER_COUNT,
    REFLECTANCE,
    SHAPE,
)


@dataclass(frozen=True)
class Energy:
    """An energy and its terms, times their weights.

    Attributes:
        photometric: Of the colour differences over the face region; what is not covered counts as black.
        landmark: Of the 66 points.
        prior: Of the coefficients and the light.
        rmse: Root of the mean squared colour difference in levels, without weight or robustness.
    """

    photometric: float
    landmark: float
    prior: float
    rmse: float

    @property
    def total(self) -> float:
        """The sum, which a fit lowers."""
        return self.photometric + self.landmark + self.prior


def energy(face: PosedFace, seen: View, target: Target, options: FitOptions) -> Energy:
    """Evaluate the energy of a face."""
    squared = squared_differences(target, seen)
    landmark = 0.0
    if options.landmark and target.has_landmarks:
        distance = landmarks66(face.landmark_pixels) - landmarks66(target.landmarks)
        landmark = options.landmark * float((distance**2).sum(axis=1).mean())
    rows, wanted = prior_rows(options)
    residual = rows @ face.theta.astype(np.float64) - wanted
    return Energy(
        photometric=options.photometric * float(robust_cost(squared, options.robust).mean(dtype=np.float64)),
        landmark=landmark,
        prior=float(residual @ residual),
        rmse=float(np.sqrt(squared.mean(dtype=np.float64))),
    )


def prior_rows(options: FitOptions) -> tuple[Float[np.ndarray, "rows 350"], Float[np.ndarray, "rows"]]:
    """Return the statistical terms as linear residuals, rows @ theta - wanted.

    Coefficients are N(0, 1) (Kim et al. 2018, Eq. 2 and 3). Light is held, weakly, near a constant, white one
    of usual brightness, so that it doesn't take over the skin's part.
    """
    diagonal = np.zeros(PARAMETER_COUNT)
    diagonal[SHAPE] = options.shape
    diagonal[EXPRESSION] = options.expression
    diagonal[REFLECTANCE] = options.reflectance
    diagonal[ILLUMINATION][3:] = options.light
    tint = np.zeros((27, PARAMETER_COUNT))
    departure = np.sqrt(options.tint) * (np.eye(3) - 1 / 3)
    for function in range(9):
        first = ILLUMINATION.start + 3 * function
        tint[3 * function : 3 * function + 3, first : first + 3] = departure
    level = np.zeros((1, PARAMETER_COUNT))
    level[0, ILLUMINATION][:3] = np.sqrt(options.level) / 3
    rows = np.concatenate([np.diag(np.sqrt(diagonal))[diagonal > 0], tint, level])
    wanted = np.zeros(len(rows))
    wanted[-1] = np.sqrt(options.level) * AMBIENT_LEVEL
    return rows, wanted
