"""Columns of any linear model as orthonormal directions with standard deviations.

The model is a Gaussian: mean plus columns times N(0, 1). After vertices were taken away the columns are not
orthogonal any more, and some readers' never were; but the Gaussian has principal directions, and a face
that was drawn by the columns is drawn by them as well. Where the columns are orthogonal already, the
directions are the columns, strongest first.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float32, Float64

_NEGLIGIBLE: Final = 1e-10
"""Share of the largest variance below which a direction counts as none."""


def principal(
    columns: Float32[np.ndarray, "coordinates given"], count: int
) -> tuple[Float32[np.ndarray, "coordinates count"], Float32[np.ndarray, " count"]]:
    """Return the strongest directions and their standard deviations.

    Args:
        columns: What one standard deviation of each of the model's own directions adds.
        count: How many directions to return: weaker ones are cut, missing ones get sigma 0.

    Returns:
        Orthonormal directions and sigmas, largest first.
    """
    exact = columns.astype(np.float64)
    values, vectors = np.linalg.eigh(exact.T @ exact)
    values, vectors = values[::-1], vectors[:, ::-1]
    found = int((values > _NEGLIGIBLE * max(values[0], 1e-300)).sum()) if len(values) else 0
    kept = min(found, count)
    # The direction points as the column does that it is mostly made of.
    vectors = vectors[:, :kept]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(kept)]) if kept else np.ones(0)
    sigma = np.sqrt(values[:kept])
    basis = _orthonormal(exact @ (vectors * signs / sigma))
    padded = np.concatenate([basis, completion(basis, count - kept)], axis=1)
    return padded.astype(np.float32), np.pad(sigma, (0, count - kept)).astype(np.float32)


def completion(
    basis: Float64[np.ndarray, "coordinates given"], count: int
) -> Float64[np.ndarray, "coordinates count"]:
    """Return further directions that are orthonormal to given ones and to each other.

    They are nearly axes of single coordinates, those that the given directions use least: such columns
    take next to no room in a file.
    """
    rows = np.argsort((basis**2).sum(axis=1), kind="stable")[:count]
    axes = np.zeros((len(basis), count))
    axes[rows, np.arange(count)] = 1.0
    for _ in range(2):  # once more against rounding
        axes -= basis @ (basis.T @ axes)
        axes = _orthonormal(axes)
    return axes


def coefficients(
    basis: Float32[np.ndarray, "coordinates count"],
    sigma: Float32[np.ndarray, "count"],
    displacements: Float32[np.ndarray, "coordinates units"],
) -> Float32[np.ndarray, "units count"]:
    """Project displacements onto directions, in standard deviations; sigma 0 gives 0."""
    projected = displacements.T.astype(np.float64) @ basis
    return (projected * np.where(sigma > 0, 1 / np.maximum(sigma, 1e-30), 0)).astype(np.float32)


def _orthonormal(
    columns: Float64[np.ndarray, "coordinates count"],
) -> Float64[np.ndarray, "coordinates count"]:
    if columns.shape[1] == 0:
        return columns
    q, r = np.linalg.qr(columns)
    return q * np.sign(np.diag(r))
