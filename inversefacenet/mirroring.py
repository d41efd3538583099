"""Faces in a mirror: the parameters of the mirrored picture, and networks averaged over both pictures.

Convention:
    The mirror swaps the image's left and right, model space's +x and -x. It negates yaw and roll, and the
    light's three coefficients that are odd in x. A vertex takes the place of the one that lies where its
    mirror image does in the mean face. What becomes of the coefficients of shape, expression and
    reflectance follows by projection: M = S⁻¹ B⁺ P B S with the basis B, its sigmas S and the mirrored
    vertices P. Directions that are symmetric by themselves keep their coefficient, antisymmetric ones
    change its sign; those that are neither mix. In the open face model nearly all of the leading ones are
    symmetric or not to a few percent, and 98% of the variation stays inside the bases.
    Worked value: (yaw, pitch, roll) = (0.3, 0.1, -0.2) becomes (-0.3, 0.1, 0.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, UInt8

from inversefacenet.backends import InferenceBackend
from inversefacenet.errors import FaceModelError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import (
    EXPRESSION,
    ILLUMINATION,
    PARAMETER_COUNT,
    REFLECTANCE,
    ROTATION,
    SHAPE,
)

LARGEST_GAP: Final = 8.0
"""Millimetres that a vertex's mirror image may be off the nearest vertex."""

_ROTATION_SIGNS: Final = (-1.0, 1.0, -1.0)
# Of the nine functions in the order of `inversefacenet.illumination`, those with x, xy and xz are odd.
_LIGHT_SIGNS: Final = (1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0)
_MIRROR: Final = np.array([-1.0, 1.0, 1.0])
_CHUNK: Final = 512


@dataclass(frozen=True, eq=False)
class FaceMirror:
    """The mirror of one face model: mirrored theta = matrix theta + offset.

    Attributes:
        matrix: Block-diagonal over the parameter groups.
        offset: What the mean face's own asymmetry adds.
    """

    matrix: Float64[np.ndarray, "350 350"]
    offset: Float64[np.ndarray, "350"]

    @classmethod
    def of(cls, model: MorphableModel) -> FaceMirror:
        """Work the mirror out for a face model.

        Raises:
            FaceModelError: If the mean face is too asymmetric to have counterparts on the other side.
        """
        partner = mirror_partners(model.mean_geometry)
        matrix, offset = np.zeros((PARAMETER_COUNT, PARAMETER_COUNT)), np.zeros(PARAMETER_COUNT)
        matrix[ROTATION, ROTATION] = np.diag(_ROTATION_SIGNS)
        matrix[ILLUMINATION, ILLUMINATION] = np.diag(np.repeat(_LIGHT_SIGNS, 3))
        grey = np.ones(3)
        blocks = (
            (SHAPE, model.mean_geometry, model.shape_basis, model.shape_sigma, _MIRROR),
            (EXPRESSION, None, model.expression_basis, model.expression_sigma, _MIRROR),
            (REFLECTANCE, model.mean_reflectance, model.reflectance_basis, model.reflectance_sigma, grey),
        )
        for group, mean, basis, sigma, signs in blocks:
            matrix[group, group] = _project(basis, sigma, _reflect(basis, partner, signs) * sigma)
            if mean is not None:
                stacked = mean.reshape(-1, 1)
                apart = _reflect(stacked, partner, signs) - stacked
                offset[group] = _project(basis, sigma, apart)[:, 0]
        return cls(matrix, offset)

    def apply(self, theta: Float[np.ndarray, "*batch 350"]) -> Float32[np.ndarray, "*batch 350"]:
        """Return the parameters of the mirrored faces."""
        return (theta @ self.matrix.T + self.offset).astype(np.float32)


class MirrorAveraging:
    """A network whose answer is the mean of those to a crop and to its mirror image, mirrored back.

    A crop's mirror image is a proper crop, since the landmarks' box is centred. It costs a second pass of
    the network. Coefficients are averaged, angles and light too: the two answers are near each other.
    """

    def __init__(self, backend: InferenceBackend, mirror: FaceMirror) -> None:
        self._backend = backend
        self._mirror = mirror
        self.name = backend.name
        self.digest = backend.digest

    def infer(
        self, crops: UInt8[np.ndarray, "faces 240 240 3"], *, timeout: float | None = None
    ) -> Float32[np.ndarray, "faces 350"]:
        """Run the network on crops and their mirror images.

        Raises:
            BackendError: If the engine can't answer.
            DeadlineError: If it doesn't answer in time.
        """
        both = np.concatenate([crops, crops[:, :, ::-1]])
        theta = self._backend.infer(both, timeout=timeout)
        return (theta[: len(crops)] + self._mirror.apply(theta[len(crops) :])) / np.float32(2)


def mirror_partners(mean: Float[np.ndarray, "vertices 3"]) -> Int64[np.ndarray, " vertices"]:
    """Return for each vertex the one nearest to its mirror image in the mean face.

    Raises:
        FaceModelError: If for some vertex there is none within `LARGEST_GAP`.
    """
    points = mean.astype(np.float64)
    squares = (points**2).sum(axis=1)
    partner = np.empty(len(points), np.int64)
    for start in range(0, len(points), _CHUNK):
        images = points[start : start + _CHUNK] * _MIRROR
        # Distances but for each image's own square, which doesn't change the order.
        partner[start : start + _CHUNK] = (squares - 2 * images @ points.T).argmin(axis=1)
    gap = float(np.linalg.norm(points * _MIRROR - points[partner], axis=1).max())
    if gap > LARGEST_GAP:
        raise FaceModelError(
            f"The face model's mean is not symmetric: a vertex's mirror image is {gap:.1f} mm off any other, "
            f"more than {LARGEST_GAP:g}. Faces of this model can't be mirrored."
        )
    return partner


def _reflect(
    stacked: Float[np.ndarray, "coordinates columns"],
    partner: Int64[np.ndarray, " vertices"],
    signs: Float64[np.ndarray, "3"],
) -> Float64[np.ndarray, "coordinates columns"]:
    """Mirror fields over the vertices, one per column."""
    fields = stacked.reshape(len(partner), 3, -1)[partner] * signs[:, None]
    return fields.reshape(stacked.shape)


def _project(
    basis: Float[np.ndarray, "coordinates size"],
    sigma: Float[np.ndarray, " size"],
    fields: Float64[np.ndarray, "coordinates columns"],
) -> Float64[np.ndarray, "size columns"]:
    """Return the coefficients, in standard deviations, that come nearest to fields over the vertices."""
    exact = basis.astype(np.float64)
    # Stored bases are orthonormal up to their quantisation alone.
    coefficients = np.linalg.lstsq(exact.T @ exact, exact.T @ fields, rcond=None)[0]
    # Directions without deviation, as models of fewer dimensions are filled up with, stay where they are.
    used = sigma > 0
    return np.where(used[:, None], coefficients / np.where(used, sigma, 1)[:, None], 0)
