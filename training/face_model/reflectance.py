"""The statistical model of skin reflectance (Kim et al. 2018, Eq. 3): sampled people, then PCA.

Convention:
    Linear RGB reflectance; columns of the basis are orthonormal over the stacked coordinates
    (rgbrgb...); sigma is the standard deviation along each, so theta = 1 moves by sigma times b.

Skin and eyeballs are drawn independently of each other, so their true covariance has two blocks. The
analysis is made block by block: chance correlations between skin tone and iris colour would otherwise
redden irises and vice versa. The columns of both are then sorted together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, Int

from training.face_model.painting import paint
from training.face_model.people import FIELD_FUNCTIONS, EyePainter, SkinPainter
from training.face_model.surface_field import surface_field
from training.face_model.template import LID, SKIN, Template

COLUMNS: Final = 128
EYE_COLUMNS: Final = 4
"""Columns kept for the eyeballs: brightness of the sclera, and the iris between brown, blue and green."""


@dataclass(frozen=True, eq=False)
class Reflectance:
    """A linear model of reflectance.

    Attributes:
        mean: Average linear RGB of each vertex.
        basis: Orthonormal columns over the stacked coordinates.
        sigma: Standard deviation along each column, falling.
        variances: Variances along the columns, then those that were left out, falling: their cumulated
            sum is the model's curve of explained variance.
    """

    mean: Float32[np.ndarray, "vertices 3"]
    basis: Float32[np.ndarray, "coordinates 128"]
    sigma: Float32[np.ndarray, " 128"]
    variances: Float64[np.ndarray, " components"]

    def explained(self, columns: int) -> float:
        """Return the share of the variance that the first columns explain."""
        return float(self.variances[:columns].sum() / self.variances.sum())


def build_reflectance(template: Template, seed: int, samples: int = 2500) -> Reflectance:
    """Sample people and compute the principal components of their reflectance.

    Args:
        template: The neutral face.
        seed: Seeds all draws: one seed gives one model.
        samples: How many people; more than 128.
    """
    painting = paint(template)
    surface = np.isin(template.triangle_part, (SKIN, LID))
    field = surface_field(template.vertices, template.triangles[surface], FIELD_FUNCTIONS)
    skin_seed, eye_seed = np.random.SeedSequence(seed).spawn(2)
    skin_rng, eye_rng = np.random.default_rng(skin_seed), np.random.default_rng(eye_seed)
    skin_painter, eye_painter = SkinPainter.create(painting, field), EyePainter(painting)
    skin, eyes = np.flatnonzero(~painting.eye), np.flatnonzero(painting.eye)
    skins = np.stack([skin_painter.sample(skin_rng)[skin].ravel() for _ in range(samples)])
    eyeballs = np.stack([eye_painter.sample(eye_rng)[eyes].ravel() for _ in range(samples)])
    return _join(
        len(painting.eye),
        [
            (skin, principal_components(skins, COLUMNS - EYE_COLUMNS)),
            (eyes, principal_components(eyeballs, EYE_COLUMNS)),
        ],
    )


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of one block of values.

    Attributes:
        mean: Average values.
        basis: The leading directions, orthonormal columns.
        variances: All variances, falling.
    """

    mean: Float32[np.ndarray, " values"]
    basis: Float32[np.ndarray, "values columns"]
    variances: Float64[np.ndarray, " components"]


def principal_components(values: Float32[np.ndarray, "samples values"], count: int) -> Components:
    """Compute the leading principal components, through the samples' Gram matrix.

    Each direction's largest entry is made positive, so that signs don't depend on the solver.

    Args:
        values: One sample a row.
        count: How many directions.
    """
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = values - mean
    gram = (centred @ centred.T).astype(np.float64)
    eigenvalues, vectors = np.linalg.eigh(gram)
    # QR restores the orthogonality that single precision loses.
    leading = centred.T @ vectors[:, ::-1][:, :count].astype(np.float32)
    directions, _ = np.linalg.qr(leading.astype(np.float64))
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(count)])
    return Components(
        mean=mean,
        basis=directions.astype(np.float32),
        variances=np.clip(eigenvalues[::-1], 0, None) / (len(values) - 1),
    )


def _join(vertex_count: int, blocks: list[tuple[Int[np.ndarray, " _"], Components]]) -> Reflectance:
    """Sort the columns of independent blocks of vertices together."""
    mean = np.zeros((vertex_count, 3), np.float32)
    columns, kept, left = [], [], []
    for vertices, block in blocks:
        count = block.basis.shape[1]
        mean[vertices] = block.mean.reshape(-1, 3)
        whole = np.zeros((vertex_count, 3, count), np.float32)
        whole[vertices] = block.basis.reshape(-1, 3, count)
        columns.append(whole.reshape(-1, count))
        kept.append(block.variances[:count])
        left.append(block.variances[count:])
    variances = np.concatenate(kept)
    order = np.argsort(variances)[::-1]
    return Reflectance(
        mean=mean,
        basis=np.concatenate(columns, axis=1)[:, order],
        sigma=np.sqrt(variances[order]).astype(np.float32),
        variances=np.concatenate([variances[order], np.sort(np.concatenate(left))[::-1]]),
    )
