"""Reads a landmark predictor of dlib's own format into arrays small enough to be fast: moves in 8 bits.

Convention:
    dlib writes whole numbers as a byte of sign and length and so many bytes, and a float as a whole number
    and a power of 2. Worked value: the bytes 0x81 0x05 are -5; 0x01 0x03 0x81 0x01 is 3 * 2^-1 = 1.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, no_type_check

import numpy as np
from jaxtyping import Float32, Int8, UInt8, UInt16

from inversefacenet.compilation import compiled
from inversefacenet.errors import InputError
from inversefacenet.landmark_forest import LandmarkForest

_VERSION: Final = 1
_BROKEN: Final = "This is no landmark predictor of dlib's, or it ends early."
_MOST: Final = 1 << 16
"""No count in such a file is larger."""

_FARTHEST: Final = 1000.0
"""No shape, offset or step of a move is larger, in boxes."""

# Dimensions and NumPy's kind of mean, anchors, offsets, pairs, thresholds, moves and steps.
_KINDS: Final = [(1, "f"), (2, "u"), (3, "f"), (4, "u"), (3, "f"), (4, "i"), (3, "f")]


@dataclass(frozen=True)
class SmallForest:
    """A predictor's content, as `LandmarkForest` but for the moves.

    Attributes:
        mean: The shape that it starts from.
        anchors: The landmark that each looked-at pixel belongs to.
        offsets: Its offset from that landmark, in units of the box.
        pairs: For each split the pixel whose value is taken and the one whose value is subtracted.
        thresholds: The difference above which the left branch is taken.
        moves: The leaves' moves in steps.
        steps: Each leaf's step.
    """

    mean: Float32[np.ndarray, " coordinates"]
    anchors: UInt8[np.ndarray, "levels pool"]
    offsets: Float32[np.ndarray, "levels pool 2"]
    pairs: UInt16[np.ndarray, "levels trees splits 2"]
    thresholds: Float32[np.ndarray, "levels trees splits"]
    moves: Int8[np.ndarray, "levels trees ends coordinates"]
    steps: Float32[np.ndarray, "levels trees ends"]

    def __post_init__(self) -> None:
        """Refuse what kernels, which check no index, would read outside the arrays for.

        Raises:
            InputError: The parts don't fit each other, or hold numbers that lead to no place in a photo.
        """
        parts = (self.mean, self.anchors, self.offsets, self.pairs, self.thresholds, self.moves, self.steps)
        kinds = [(part.ndim, part.dtype.kind) for part in parts]
        if kinds != _KINDS or any(part.size == 0 for part in (self.mean, self.anchors, self.pairs)):
            raise InputError(_BROKEN)
        levels, pool = self.anchors.shape
        _, trees, splits, _ = self.pairs.shape
        fits = (
            len(self.mean) == self.moves.shape[3]
            and self.pairs.shape[3] == 2
            and len(self.mean) % 2 == 0
            and self.offsets.shape == (levels, pool, 2)
            and self.pairs.shape[0] == levels
            and self.thresholds.shape == (levels, trees, splits)
            and self.steps.shape == self.moves.shape[:3] == (levels, trees, splits + 1)
            and splits & (splits + 1) == 0
        )
        if not fits or int(self.pairs.max()) >= pool or 2 * int(self.anchors.max()) >= len(self.mean):
            raise InputError(_BROKEN)
        # Shapes are turned as the mean is, so that must have an extent; and none may grow beyond all photos.
        near = all(np.abs(part).max() < _FARTHEST for part in (self.mean, self.offsets, self.steps))
        apart = (self.mean[2:] != self.mean[:-2]).any()
        if not (near and apart and np.isfinite(self.thresholds).all()):
            raise InputError(_BROKEN)

    @classmethod
    def of(cls, forest: LandmarkForest) -> SmallForest:
        """Make it of one with 32-bit moves.

        Raises:
            InputError: If its parts don't fit each other.
        """
        try:
            steps = np.maximum(np.abs(forest.leaves).max(axis=3), 1e-12) / np.float32(127)
            pairs = np.stack([forest.first, forest.second], axis=-1).astype(np.uint16)
            moves = np.rint(forest.leaves / steps[..., None]).astype(np.int8)
        except ValueError as error:
            raise InputError(_BROKEN) from error
        return cls(forest.mean, forest.anchors, forest.offsets, pairs, forest.thresholds, moves, steps)

    @classmethod
    def read(cls, content: bytes) -> SmallForest:
        """Read dlib's format.

        Raises:
            InputError: If it is something else, or damaged.
        """
        reader = _Reader(np.frombuffer(content, np.uint8))
        if reader.whole() != _VERSION:
            raise InputError(_BROKEN)
        mean = reader.matrix()
        levels = reader.count()
        shape: tuple[int, int, int] | None = None
        for level in range(levels):
            trees = reader.count()
            if shape is None:
                splits, leaves = reader.peek_tree()
                shape = (levels, trees, splits)
                # Each number takes two bytes at least: what a damaged file announces isn't made room for.
                if 2 * levels * trees * (splits + leaves * len(mean)) > len(content):
                    raise InputError(_BROKEN)
                pairs = np.empty((*shape, 2), np.uint16)
                thresholds = np.empty(shape, np.float32)
                moves = np.empty((levels, trees, leaves, len(mean)), np.int8)
                steps = np.empty((levels, trees, leaves), np.float32)
            if trees != shape[1]:
                raise InputError(_BROKEN)
            reader.trees(pairs[level], thresholds[level], moves[level], steps[level])
        if shape is None:
            raise InputError(_BROKEN)
        anchors = [reader.wholes(reader.count()) for _ in range(reader.count())]
        offsets = [reader.floats(2 * reader.count()) for _ in range(reader.count())]
        if {len(one) for one in anchors} != {len(offsets[0]) // 2} or len(anchors) != len(offsets):
            raise InputError(_BROKEN)
        if max(map(max, anchors)) > 255 or min(map(min, anchors)) < 0:
            raise InputError(_BROKEN)
        if {len(one) for one in offsets} != {len(offsets[0])}:
            raise InputError(_BROKEN)
        return cls(
            mean,
            np.array(anchors, np.uint8),
            np.array(offsets).reshape(len(offsets), -1, 2),
            pairs,
            thresholds,
            moves,
            steps,
        )


class _Reader:
    """Walks through a file."""

    def __init__(self, content: UInt8[np.ndarray, " bytes"]) -> None:
        # Whatever a damaged file says, what is read lies inside: 16 zeros follow it.
        self._content = np.concatenate([content, np.zeros(16, np.uint8)])
        self._length = len(content)
        self._place = 0

    def wholes(self, count: int) -> list[int]:
        values = np.empty(count, np.int64)
        self._moved(_wholes(self._content, self._place, self._length, values))
        return [int(value) for value in values]

    def floats(self, count: int) -> Float32[np.ndarray, " count"]:
        values = np.empty(count, np.float32)
        self._moved(_floats(self._content, self._place, self._length, values))
        return values

    def whole(self) -> int:
        return self.wholes(1)[0]

    def count(self) -> int:
        value = self.whole()
        if not 0 < value < _MOST:
            raise InputError(_BROKEN)
        return value

    def matrix(self) -> Float32[np.ndarray, " count"]:
        rows, columns = self.wholes(2)
        if not 0 < rows * columns < _MOST:
            raise InputError(_BROKEN)
        return self.floats(rows * columns)

    def peek_tree(self) -> tuple[int, int]:
        """Return how many splits and leaves the tree that follows has, and stay before it."""
        before = self._place
        splits = self.count()
        for _ in range(splits):
            self.wholes(2)
            self.floats(1)
        leaves = self.count()
        self._place = before
        return splits, leaves

    def trees(self, pairs: Any, thresholds: Any, moves: Any, steps: Any) -> None:
        self._moved(_trees(self._content, self._place, self._length, pairs, thresholds, moves, steps))

    def _moved(self, place: int) -> None:
        if place < 0:
            raise InputError(_BROKEN)
        self._place = place


@compiled
@no_type_check
def _wholes(content: Any, place: int, length: int, values: Any) -> int:
    for i in range(len(values)):
        if place >= length:
            return -1
        head = content[place]
        size = head & 15
        if size > 8:
            return -1
        value = 0
        for j in range(size):
            value |= np.int64(content[place + 1 + j]) << (8 * j)
        values[i] = -value if head & 128 else value
        place += 1 + size
    return place if place <= length else -1


@compiled
@no_type_check
def _floats(content: Any, place: int, length: int, values: Any) -> int:
    pair = np.empty(2, np.int64)
    for i in range(len(values)):
        place = _wholes(content, place, length, pair)
        if place < 0 or pair[1] < -1000 or pair[1] > 100:
            return -1
        values[i] = pair[0] * 2.0 ** pair[1]
    return place


@compiled
@no_type_check
def _trees(content: Any, place: int, length: int, pairs: Any, thresholds: Any, moves: Any, steps: Any) -> int:
    """Read the trees of a level; returns where they end, -1 if they don't fit the arrays."""
    trees, splits = thresholds.shape
    leaves, coordinates = moves.shape[1:]
    two, one = np.empty(2, np.int64), np.empty(1, np.int64)
    limit, leaf = np.empty(1, np.float32), np.empty(coordinates, np.float32)
    for tree in range(trees):
        place = _wholes(content, place, length, one)
        if place < 0 or one[0] != splits:
            return -1
        for split in range(splits):
            place = _wholes(content, place, length, two)
            if place < 0:
                return -1
            place = _floats(content, place, length, limit)
            if place < 0:
                return -1
            pairs[tree, split, 0], pairs[tree, split, 1] = two
            thresholds[tree, split] = limit[0]
        place = _wholes(content, place, length, one)
        if place < 0 or one[0] != leaves:
            return -1
        for end in range(leaves):
            place = _wholes(content, place, length, two)
            if place < 0 or two[0] * two[1] != coordinates:
                return -1
            place = _floats(content, place, length, leaf)
            if place < 0:
                return -1
            most = max(np.abs(leaf).max(), np.float32(1e-12))
            steps[tree, end] = most / np.float32(127)
            for i in range(coordinates):
                moves[tree, end, i] = np.int8(np.rint(leaf[i] / steps[tree, end]))
    return place
