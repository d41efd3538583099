"""Landmark predictors as arrays, in a compact file of our own, and as dlib reads them.

A predictor (Kazemi and Sullivan 2014) corrects a mean shape some ten times; each time a forest looks at
differences of pixels, and each tree adds the 68 moves of the leaf that it ends in. The leaves are nearly all
of it: 136 numbers each, which move together. So they are stored as whole multiples of one step along the
principal directions of their level, where small ones are 0, and the whole is packed by LZMA.

Convention:
    Shapes are x0 y0 x1 y1 ..., in units of the box. Pixel differences are whole numbers, so thresholds are
    rounded down without changing any answer.
"""

from __future__ import annotations

import io
import lzma
import zipfile
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8, UInt16

from inversefacenet.errors import InputError

FORMAT: Final = 1
MAGIC: Final = b"IFNLM\x01"

DEFAULT_STEP: Final = 0.08
"""Step of the stored moves, as a share of the RMS length of a level's leaves per coordinate."""


@dataclass(frozen=True)
class LandmarkForest:
    """A predictor's content.

    Attributes:
        mean: The shape that it starts from.
        anchors: The landmark that each looked-at pixel belongs to, by level of the cascade.
        offsets: Its offset from that landmark, in units of the box.
        first: For each split the pixel whose value is taken.
        second: The pixel whose value is subtracted.
        thresholds: The difference above which the left branch is taken.
        leaves: The moves.
        inner_radius: RMS radius of the 51 inner points in widths of the box that it was trained with.
    """

    mean: Float32[np.ndarray, " coordinates"]
    anchors: UInt8[np.ndarray, "levels pool"]
    offsets: Float32[np.ndarray, "levels pool 2"]
    first: UInt16[np.ndarray, "levels trees splits"]
    second: UInt16[np.ndarray, "levels trees splits"]
    thresholds: Float32[np.ndarray, "levels trees splits"]
    leaves: Float32[np.ndarray, "levels trees ends coordinates"]
    inner_radius: float

    def packed(self, step: float = DEFAULT_STEP) -> bytes:
        """Return the compact file.

        Args:
            step: Coarseness of the moves; doubling it takes about a fifth off the file.
        """
        codes, axes, steps = zip(*(_code(level, step) for level in self.leaves), strict=True)
        stream = io.BytesIO()
        np.savez(
            stream,
            mean=self.mean,
            anchors=self.anchors,
            offsets=self.offsets.astype(np.float16),
            first=self.first,
            second=self.second,
            thresholds=np.floor(self.thresholds).astype(np.int8),
            steps=np.array(steps, np.float32),
            inner_radius=np.float32(self.inner_radius),
            axes=np.concatenate(axes).astype(np.float16),
            ranks=np.array([len(one) for one in axes], np.uint8),
            # Low and high bytes apart, direction by direction: far fewer bits after packing.
            low=np.concatenate([(one & 0xFF).astype(np.uint8).ravel() for one in codes]),
            high=np.concatenate([(one >> 8).astype(np.int8).ravel() for one in codes]),
        )
        return MAGIC + lzma.compress(stream.getvalue(), preset=9)

    @classmethod
    def unpacked(cls, content: bytes) -> LandmarkForest:
        """Read what `packed` wrote.

        Raises:
            InputError: If it is damaged or something else.
        """
        if not content.startswith(MAGIC):
            raise InputError("This is no packed landmark predictor of a version that is known here.")
        try:
            with np.load(io.BytesIO(lzma.decompress(content[len(MAGIC) :])), allow_pickle=False) as archive:
                arrays = dict(archive)
            levels, trees, splits = arrays["first"].shape
            codes = arrays["low"].astype(np.int16) + (arrays["high"].astype(np.int16) << 8)
            ranks = arrays["ranks"].astype(int)
            ends = np.cumsum(ranks)
            leaf_count = trees * (splits + 1)
            moves = [
                codes[(end - rank) * leaf_count : end * leaf_count]
                .reshape(rank, leaf_count)
                .T.astype(np.float32)
                @ (arrays["axes"][end - rank : end].astype(np.float32) * step)
                for rank, end, step in zip(ranks, ends, arrays["steps"], strict=True)
            ]
            leaves = np.stack(moves).reshape(levels, trees, splits + 1, -1)
            return cls(
                arrays["mean"],
                arrays["anchors"],
                arrays["offsets"].astype(np.float32),
                arrays["first"],
                arrays["second"],
                arrays["thresholds"].astype(np.float32),
                leaves,
                float(arrays["inner_radius"]),
            )
        except (
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            EOFError,
            NotImplementedError,
            lzma.LZMAError,
            zipfile.BadZipFile,
        ) as error:
            raise InputError(f"The landmark predictor is damaged: {error}.") from error

    def dlib_bytes(self) -> bytes:
        """Return the predictor as dlib's own files have it."""
        levels, trees, splits = self.first.shape
        length = self.leaves.shape[-1]
        pieces = [_whole(np.array([1, -length, -1])), _floats(self.mean), _whole(np.array([levels]))]
        tree_head, leaf_head = _whole(np.array([splits])), _whole(np.array([-length, -1]))
        for level in range(levels):
            pieces.append(_whole(np.array([trees])))
            pixels = np.stack([self.first[level], self.second[level]], axis=-1).astype(np.int64)
            pairs = _records(pixels.reshape(trees, splits * 2)).reshape(trees, splits, -1)
            limits = _float_records(self.thresholds[level].reshape(-1, 1)).reshape(trees, splits, -1)
            nodes = np.concatenate([pairs, limits], axis=-1).reshape(trees, -1)
            moves = _float_records(self.leaves[level].reshape(trees * (splits + 1), -1))
            moves = moves.reshape(trees, splits + 1, -1)
            heads = np.broadcast_to(np.frombuffer(leaf_head, np.uint8), (trees, splits + 1, len(leaf_head)))
            ends = np.concatenate([heads, moves], axis=-1).reshape(trees, -1)
            start = np.broadcast_to(np.frombuffer(tree_head, np.uint8), (trees, len(tree_head)))
            middle = np.frombuffer(_whole(np.array([splits + 1])), np.uint8)
            middles = np.broadcast_to(middle, (trees, len(middle)))
            pieces.append(np.concatenate([start, nodes, middles, ends], axis=-1).tobytes())
        pool = _whole(np.array([self.anchors.shape[1]]))
        pieces.append(_whole(np.array([levels])))
        pieces += [pool + _whole(level.astype(np.int64)) for level in self.anchors]
        pieces.append(_whole(np.array([levels])))
        pieces += [pool + _floats(level.ravel()) for level in self.offsets]
        return b"".join(pieces)


def _code(
    leaves: Float32[np.ndarray, "trees ends coordinates"], step: float
) -> tuple[Int[np.ndarray, "rank leaves"], Float32[np.ndarray, "rank coordinates"], float]:
    """Express a level's moves as whole multiples of a step along their principal directions."""
    moves = leaves.reshape(-1, leaves.shape[-1]).astype(np.float64)
    axes = np.linalg.eigh(moves.T @ moves)[1].T[::-1]
    # Coded along the rounded axes that the file has.
    axes = axes.astype(np.float16).astype(np.float64)
    width = step * float(np.sqrt((moves**2).mean()))
    width = max(width, float(np.abs(moves @ axes.T).max()) / 30_000, 1e-12)
    codes = np.rint(moves @ axes.T / width).astype(np.int16).T
    used = int(np.flatnonzero(codes.any(axis=1)).max(initial=-1)) + 1
    return codes[:used], axes[:used].astype(np.float32), width


# dlib writes a whole number as a byte, its count of bytes with the sign in the highest bit, and the bytes; a
# float as two such numbers, mantissa and exponent of two. It reads longer numbers than need be.


def _records(values: Int[np.ndarray, "rows n"], size: int = 4) -> UInt8[np.ndarray, "rows octets"]:
    """Write whole numbers with a fixed count of bytes."""
    rows, count = values.shape
    records = np.empty((rows, count, size + 1), np.uint8)
    records[..., 0] = size + 0x80 * (values < 0)
    size_of = np.abs(values.astype(np.int64))
    for byte in range(size):
        records[..., byte + 1] = (size_of >> (8 * byte)) & 0xFF
    return records.reshape(rows, -1)


def _float_records(values: Float[np.ndarray, "rows n"]) -> UInt8[np.ndarray, "rows octets"]:
    rows, count = values.shape
    fraction, exponent = np.frexp(values.astype(np.float32))
    mantissa = np.rint(fraction.astype(np.float64) * 2**24).astype(np.int64)
    power = np.where(mantissa == 0, 0, exponent.astype(np.int64) - 24)
    first = _records(mantissa).reshape(rows, count, -1)
    second = _records(power, size=2).reshape(rows, count, -1)
    return np.concatenate([first, second], axis=-1).reshape(rows, -1)


def _whole(values: Int[np.ndarray, " n"]) -> bytes:
    return _records(np.asarray(values, np.int64)[None]).tobytes()


def _floats(values: Float[np.ndarray, " n"]) -> bytes:
    return _float_records(values[None]).tobytes()
