"""The affine model's products, read from the 8 and 16 bits that the model's file holds.

A face's geometry is a sum over 192 directions. As float32 they fill 25 MB, which come from main memory, and
the sum takes as long as they take to arrive; in the file's own integers (`inversefacenet.basis_codec`) they
fill 8 MB. A column's scale and standard deviation go into its coefficient, so that the sum is the same up to
the rounding of float32.

Convention:
    Coordinates lie in blocks of `BLOCK`, and in a block direction after direction, in the order of reading.
    What fills up the last block and the last group of directions is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, no_type_check

import numpy as np
from jaxtyping import Float32, Int, Int8, Int16, Int64

from inversefacenet.basis_codec import QuantisedBasis
from inversefacenet.compilation import compiled_fused

BLOCK: Final = 2048
_GROUP: Final = 8


@dataclass(frozen=True, eq=False)
class NarrowDirections:
    """Directions of an affine model in integers, with the mean that they lead away from.

    Attributes:
        fine: Directions of 16 bits.
        coarse: Directions of 8 bits.
        fine_columns: Which coefficient belongs to each fine direction.
        coarse_columns: Which belongs to each coarse one.
        fine_scale: What one step of each fine direction is worth, at a coefficient of 1; 0 of a filler.
        coarse_scale: The same of the coarse ones.
        mean: The mean's coordinates, filled up.
        count: Coordinates without filler.
    """

    fine: Int16[np.ndarray, "blocks fine 2048"]
    coarse: Int8[np.ndarray, "blocks coarse 2048"]
    fine_columns: Int64[np.ndarray, "fine"]
    coarse_columns: Int64[np.ndarray, "coarse"]
    fine_scale: Float32[np.ndarray, "fine"]
    coarse_scale: Float32[np.ndarray, "coarse"]
    mean: Float32[np.ndarray, "filled"]
    count: int

    @classmethod
    def of(
        cls,
        mean: Float32[np.ndarray, "vertices 3"],
        parts: list[tuple[QuantisedBasis, Float32[np.ndarray, "_"]]],
    ) -> NarrowDirections:
        """Arrange bases, the coefficients of one after those of the other.

        Args:
            mean: The mean that they lead away from.
            parts: Bases with their standard deviations.
        """
        fine, coarse = [basis.fine for basis, _ in parts], [basis.coarse for basis, _ in parts]
        fine_columns, coarse_columns, fine_scale, coarse_scale = [], [], [], []
        first = 0
        for basis, sigma in parts:
            split, end = len(basis.fine), basis.columns.shape[1]
            fine_columns.append(np.arange(first, first + split))
            coarse_columns.append(np.arange(first + split, first + end))
            fine_scale.append(_step(basis.fine, basis.columns[:, :split]) * sigma[:split])
            coarse_scale.append(_step(basis.coarse, basis.columns[:, split:]) * sigma[split:])
            first += end
        blocks = -(-mean.size // BLOCK)
        filled = np.zeros(blocks * BLOCK, np.float32)
        filled[: mean.size] = mean.ravel()
        return cls(
            _blocks(fine, blocks),
            _blocks(coarse, blocks),
            _filled(fine_columns, np.int64),
            _filled(coarse_columns, np.int64),
            _filled(fine_scale, np.float32),
            _filled(coarse_scale, np.float32),
            filled,
            mean.size,
        )

    def apply(self, coefficients: Float32[np.ndarray, "columns"]) -> Float32[np.ndarray, "vertices 3"]:
        """Return the mean plus the sum of the directions, each times its coefficient."""
        out = np.empty(self.mean.shape, np.float32)
        _sum_directions(
            self.fine,
            self.coarse,
            coefficients[self.fine_columns] * self.fine_scale,
            coefficients[self.coarse_columns] * self.coarse_scale,
            self.mean,
            out,
        )
        return out[: self.count].reshape(-1, 3)


def _step(
    integers: Int[np.ndarray, "columns coordinates"], columns: Float32[np.ndarray, "coordinates columns"]
) -> Float32[np.ndarray, "columns"]:
    """Return what a step of each direction's integers is, from its largest one."""
    rows = np.arange(len(integers))
    largest = integers.argmax(axis=1), integers.argmin(axis=1)
    peaks = [integers[rows, place].astype(np.float32) for place in largest]
    place = np.where(np.abs(peaks[0]) >= np.abs(peaks[1]), *largest)
    peak = integers[rows, place].astype(np.float32)
    return np.divide(columns[place, rows], peak, out=np.zeros_like(peak), where=peak != 0)


def _blocks(parts: list[Any], blocks: int) -> Any:
    """Stack directions and cut them into blocks of coordinates."""
    rows, coordinates = sum(map(len, parts)), parts[0].shape[1]
    filled = np.zeros((rows + -rows % _GROUP, blocks * BLOCK), parts[0].dtype)
    np.concatenate(parts, out=filled[:rows, :coordinates])
    return np.ascontiguousarray(filled.reshape(len(filled), blocks, BLOCK).transpose(1, 0, 2))


def _filled(parts: list[Any], kind: type) -> Any:
    rows = sum(map(len, parts))
    filled: Any = np.zeros(rows + -rows % _GROUP, kind)
    np.concatenate(parts, out=filled[:rows])
    return filled


@compiled_fused
@no_type_check
def _sum_directions(
    fine: Any, coarse: Any, fine_weights: Any, coarse_weights: Any, mean: Any, out: Any
) -> None:
    for block in range(fine.shape[0]):
        first = block * BLOCK
        sums = out[first : first + BLOCK]
        sums[:] = 0
        # Eight directions at a time: the sums are read and written once for all of them.
        for k in range(0, fine.shape[1], _GROUP):
            w0, w1, w2, w3 = (fine_weights[k], fine_weights[k + 1], fine_weights[k + 2], fine_weights[k + 3])
            w4, w5, w6, w7 = (
                fine_weights[k + 4],
                fine_weights[k + 5],
                fine_weights[k + 6],
                fine_weights[k + 7],
            )
            rows = fine[block, k : k + _GROUP]
            for j in range(BLOCK):
                sums[j] += (
                    w0 * np.float32(rows[0, j])
                    + w1 * np.float32(rows[1, j])
                    + w2 * np.float32(rows[2, j])
                    + w3 * np.float32(rows[3, j])
                    + w4 * np.float32(rows[4, j])
                    + w5 * np.float32(rows[5, j])
                    + w6 * np.float32(rows[6, j])
                    + w7 * np.float32(rows[7, j])
                )
        for k in range(0, coarse.shape[1], _GROUP):
            w0, w1, w2, w3 = (
                coarse_weights[k],
                coarse_weights[k + 1],
                coarse_weights[k + 2],
                coarse_weights[k + 3],
            )
            w4, w5, w6, w7 = (
                coarse_weights[k + 4],
                coarse_weights[k + 5],
                coarse_weights[k + 6],
                coarse_weights[k + 7],
            )
            small = coarse[block, k : k + _GROUP]
            for j in range(BLOCK):
                sums[j] += (
                    w0 * np.float32(small[0, j])
                    + w1 * np.float32(small[1, j])
                    + w2 * np.float32(small[2, j])
                    + w3 * np.float32(small[3, j])
                    + w4 * np.float32(small[4, j])
                    + w5 * np.float32(small[5, j])
                    + w6 * np.float32(small[6, j])
                    + w7 * np.float32(small[7, j])
                )
        for j in range(BLOCK):
            sums[j] += mean[first + j]
