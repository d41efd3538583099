"""Compact storage of PCA bases.

The first directions carry most of the variance and are kept in 16 bits, the rest in 8; each column
has its own scale. A unit column of n numbers is off by about its peak / 440, so that a face drawn from
the model moves by a few hundredths of a millimetre.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Int8, Int16

FINE_COLUMNS: Final = 24

BASIS_PARTS: Final = ("fine", "coarse", "fine_scale", "coarse_scale")
"""What a stored basis consists of: `<name>_fine` and so on."""


@dataclass(frozen=True, eq=False)
class QuantisedBasis:
    """A basis and the integers that it was read from.

    Attributes:
        columns: The basis.
        fine: Integers of the first directions.
        coarse: Integers of the others.
    """

    columns: Float32[np.ndarray, "coordinates columns"]
    fine: Int16[np.ndarray, "fine coordinates"]
    coarse: Int8[np.ndarray, "coarse coordinates"]


def encode_basis(name: str, basis: Float32[np.ndarray, "rows columns"]) -> dict[str, Any]:
    """Quantise a basis by column; the arrays are stored column by column, which compresses better."""
    arrays: dict[str, Any] = {}
    for suffix, columns, kind in (
        ("fine", basis[:, :FINE_COLUMNS], np.int16),
        ("coarse", basis[:, FINE_COLUMNS:], np.int8),
    ):
        limit = np.iinfo(kind).max
        scale = np.maximum(np.abs(columns).max(axis=0), 1e-12).astype(np.float32) / limit
        arrays[f"{name}_{suffix}"] = np.round(columns / scale).astype(kind).T
        arrays[f"{name}_{suffix}_scale"] = scale
    return arrays


def decode_basis(name: str, arrays: Mapping[str, Any]) -> Float32[np.ndarray, "rows columns"]:
    """Restore a basis that `encode_basis` quantised; its columns are given unit length again.

    Raises:
        ValueError: If the arrays don't fit each other, or hold something else.
    """
    for suffix in ("fine", "coarse"):
        integers, scale = arrays[f"{name}_{suffix}"], arrays[f"{name}_{suffix}_scale"]
        if integers.ndim != 2 or integers.dtype.kind != "i" or scale.shape != (len(integers),):
            raise ValueError(f"{name}_{suffix} must be rows of integers, with a scale for each")
        if not np.isfinite(scale).all():
            raise ValueError(f"{name}_{suffix}_scale holds numbers that are not finite")
    parts = [
        arrays[f"{name}_{suffix}"].astype(np.float32) * arrays[f"{name}_{suffix}_scale"][:, None]
        for suffix in ("fine", "coarse")
    ]
    rows = np.concatenate(parts)
    # A model with fewer directions fills up with columns of zeros, which stay so.
    rows /= np.maximum(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)), 1e-6)[:, None]
    return rows.T
