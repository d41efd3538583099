"""Where the photo's own features lie: a face moved a little, until its landmarks are the detector's.

A picture that is warped must be taken hold of where its lips and lids really are; the answer of a network, or
of a fit, is off by some pixels. What is found is used to pick the photo's colours up and to put them down
again, never as the face's parameters.

Convention:
    The unknowns are what is added to shape and expression (standard deviations), rotation (radians), and the
    placement's scale (relative) and offset. They minimise Σ w² |landmark - detected|² + |unknown / σ|² by
    Gauss-Newton steps, in crop pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Float, Float64, Int64

from inversefacenet.camera import JAW_POINTS, Placement, image_directions, project, rotation_matrix
from inversefacenet.crop import KEPT_LANDMARKS
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.reconstruction import Reconstruction

_STEPS: Final = 4
# One over the standard deviation of a detected point, in crop pixels: the jaw's slide along the contour.
_JAW_WEIGHT: Final = 1 / 5
_POINT_WEIGHT: Final = 1 / 2
_SIGMAS: Final = {"shape": 0.6, "expression": 1.0, "rotation": 0.03, "scale": 0.02, "offset": 4.0}
_NUDGE: Final = 1e-3


@dataclass(frozen=True, eq=False)
class Registration:
    """What is added to a face so that it lies on the photo's.

    Attributes:
        rotation: Radians.
        shape: Standard deviations.
        expression: Standard deviations.
        placement: Image plane at unit distance to the photo's pixels, corrected.
        present: The expression that this was found with.
    """

    rotation: Float[np.ndarray, "3"]
    shape: Float[np.ndarray, "128"]
    expression: Float[np.ndarray, "64"]
    placement: Placement
    present: Float[np.ndarray, "64"]

    def of(self, parameters: Parameters) -> Parameters:
        """Return the face as it lies on the photo.

        As far as the present expression is taken away, what was added to it goes with it: a mouth that was
        only found open by its landmarks closes when the face becomes neutral.
        """
        kept = _remainder(parameters.expression, self.present)
        return replace(
            parameters,
            rotation=(parameters.rotation + self.rotation).astype(np.float32),
            shape=(parameters.shape + self.shape).astype(np.float32),
            expression=(parameters.expression + kept * self.expression).astype(np.float32),
        )


def register(reconstruction: Reconstruction) -> Registration:
    """Find what brings a face's landmarks to the detected ones; nothing, where nobody knows those."""
    parameters, model = reconstruction.parameters, reconstruction.model
    detected = reconstruction.crop.landmarks
    solved = np.zeros(_layout(model)[-1])
    if np.isfinite(detected).all():
        solved = _solve(model, parameters, reconstruction.rendering.placement, detected.astype(np.float64))
    shape, expression, rotation, scale, offset = np.split(solved, _layout(model)[:-1])
    placement = _moved(reconstruction.rendering.placement, float(scale[0]), offset)
    return Registration(
        rotation,
        shape,
        expression,
        placement.then(reconstruction.crop.placement.inverse()),
        parameters.expression,
    )


def _layout(model: MorphableModel) -> list[int]:
    """Return where the groups of unknowns end."""
    sizes = [model.shape_sigma.size, model.expression_sigma.size, 3, 1, 2]
    return [int(end) for end in np.cumsum(sizes)]


def _remainder(expression: Float[np.ndarray, "64"], present: Float[np.ndarray, "64"]) -> np.float32:
    """Return how much of the present expression there still is, 0 to 1."""
    few = 4.0  # squared standard deviations: below this there is hardly an expression to take away
    share = (float(expression @ present) + few) / (float(present @ present) + few)
    return np.float32(min(max(share, 0.0), 1.0))


def _moved(placement: Placement, scale: float, offset: Float[np.ndarray, "2"]) -> Placement:
    return placement.then(Placement(1.0 + scale, (0.0, 0.0))).then(
        Placement(1.0, (float(offset[0]), float(offset[1])))
    )


def _solve(
    model: MorphableModel,
    parameters: Parameters,
    placement: Placement,
    detected: Float64[np.ndarray, "68 2"],
) -> Float64[np.ndarray, "unknowns"]:
    ends = _layout(model)
    sigma = np.repeat(list(_SIGMAS.values()), np.diff([0, *ends]))
    weights = np.full(len(detected), _POINT_WEIGHT)
    weights[:JAW_POINTS] = _JAW_WEIGHT
    unknown = np.zeros(ends[-1])
    for _ in range(_STEPS):
        points = _Points(model, parameters, placement, unknown)
        now = points.at(unknown)
        columns = [
            (points.at(unknown + step) - now)[KEPT_LANDMARKS].ravel() / _NUDGE
            for step in _NUDGE * np.eye(len(unknown))
        ]
        weight = np.repeat(weights[KEPT_LANDMARKS], 2)
        jacobian = np.stack(columns, axis=1) * weight[:, None]
        residual = (detected - now)[KEPT_LANDMARKS].ravel() * weight
        normal = jacobian.T @ jacobian + np.diag(sigma**-2)
        unknown = unknown + np.linalg.solve(normal, jacobian.T @ residual - unknown / sigma**2)
    return unknown


class _Points:
    """The 68 landmarks as a function of the unknowns, their vertices fixed."""

    def __init__(
        self,
        model: MorphableModel,
        parameters: Parameters,
        placement: Placement,
        unknown: Float64[np.ndarray, "unknowns"],
    ) -> None:
        self._ends = _layout(model)
        self._parameters = parameters
        self._placement = placement
        self._vertices = _landmark_vertices(model, self._posed_parameters(unknown))
        rows = (3 * self._vertices[:, None] + np.arange(3)).ravel()
        self._directions = model.geometry_directions[:, rows].astype(np.float64)
        self._mean = model.mean_geometry[self._vertices].astype(np.float64).ravel()

    def _posed_parameters(self, unknown: Float64[np.ndarray, "unknowns"]) -> Parameters:
        shape, expression, rotation, _, _ = np.split(unknown, self._ends[:-1])
        return replace(
            self._parameters,
            rotation=(self._parameters.rotation + rotation).astype(np.float32),
            shape=(self._parameters.shape + shape).astype(np.float32),
            expression=(self._parameters.expression + expression).astype(np.float32),
        )

    def at(self, unknown: Float64[np.ndarray, "unknowns"]) -> Float64[np.ndarray, "68 2"]:
        """Return the landmarks in the crop's pixels."""
        shape, expression, rotation, scale, offset = np.split(unknown, self._ends[:-1])
        present = self._parameters
        coefficients = np.concatenate([present.shape + shape, present.expression + expression])
        points = (self._mean + coefficients @ self._directions).reshape(-1, 3)
        rotated = points @ rotation_matrix(present.rotation + rotation).T
        return _moved(self._placement, float(scale[0]), offset).apply(project(rotated))


def _landmark_vertices(model: MorphableModel, parameters: Parameters) -> Int64[np.ndarray, "68"]:
    """Return the landmarks' vertices, the jaw's on the visible contour (`camera.landmark_points`)."""
    geometry = model.geometry(parameters.shape, parameters.expression)
    rotated = geometry @ rotation_matrix(parameters.rotation).T.astype(np.float32)
    vertices = model.landmarks.astype(np.int64)
    candidates = project(rotated[model.contour_candidates])
    directions = image_directions(model.contour_directions, float(parameters.rotation[2]))
    best = np.einsum("jkc,jc->jk", candidates, directions.astype(candidates.dtype)).argmax(axis=1)
    vertices[:JAW_POINTS] = model.contour_candidates[np.arange(JAW_POINTS), best]
    return vertices
