"""The 68 landmarks of a face by the forests of dlib's predictor, run by kernels of our own.

The answer is the mean over slightly moved boxes, as `DlibAligner`'s is. The first levels of the cascade alone
tell how the face lies in its box; three boxes follow. Where their answers lie apart, all is done once more
and thoroughly: with the whole cascade for the first guesses, and five boxes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from inversefacenet.dlib_models import Forest
from inversefacenet.face_patch import Box
from inversefacenet.forest_kernel import predict
from inversefacenet.landmark_alignment import MOVES, UPRIGHT
from inversefacenet.patch_sampling import Frame, GreyBlocks

FACE_WIDTH: Final = 200.0
"""A box's width in the blocks that the forest looks at, at most about."""

_QUICK_LEVELS: Final = 5
_QUICK_MOVES: Final = MOVES[:3]
_DOUBTFUL: Final = 0.008
"""Answers of the quick way that lie farther apart than this, in box widths, aren't believed."""

# dlib rounds points and boxes to whole pixels of a face 200 pixels wide, which moves its answers apart. The
# spread is to mean the same: medians over photos, by the number of boxes.
_ROUNDING: Final = 0.0022
_GROWTH: Final = {3: 1.2, 5: 1.0}

_REACH: Final = 0.75  # what the forest looks at, from the middle of the box, in its widths
_AROUND: Final = 0.9
_SAMPLES: Final = 2


class ForestAligner:
    """Finds landmarks by a forest; see `landmark_alignment.Aligner`.

    Args:
        load: Loads the forest; called once, when it is first needed.
    """

    def __init__(self, load: Callable[[], Forest]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._forest: Forest | None = None

    def load(self) -> None:
        """Load the forest; see `Aligner.load`."""
        self._loaded()

    def align(
        self, image: UInt8[np.ndarray, "height width 3"], box: Box, roll: float
    ) -> tuple[Float32[np.ndarray, "68 2"], float]:
        """Return the landmarks of a face, in photo pixels, and their spread; see `Aligner.align`."""
        forest = self._loaded()
        size = max(box[2] - box[0], box[3] - box[1])
        frame = Frame((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, size, roll)
        surroundings = _read(image, frame)
        near, surroundings = _settled(forest, image, surroundings, frame, _QUICK_LEVELS)
        points, spread = _mean(forest, surroundings, near, _QUICK_MOVES)
        if spread > _DOUBTFUL:
            near, surroundings = _settled(forest, image, surroundings, frame, None)
            points, spread = _mean(forest, surroundings, near, MOVES)
            growth = _GROWTH[len(MOVES)]
        else:
            growth = _GROWTH[len(_QUICK_MOVES)]
        return points.astype(np.float32), math.hypot(growth * spread, _ROUNDING)

    def _loaded(self) -> Forest:
        if self._forest is None:
            with self._lock:
                if self._forest is None:
                    self._forest = self._load()
        return self._forest


def _settled(
    forest: Forest,
    image: UInt8[np.ndarray, "height width 3"],
    surroundings: GreyBlocks,
    frame: Frame,
    levels: int | None,
) -> tuple[Frame, GreyBlocks]:
    """Bring a box to the form that the forest knows: about the inner points, upright, of their size."""
    for _ in range(2):
        points = predict(forest.arrays, surroundings, [frame], levels)[0].astype(np.float64)
        eyes = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
        turn = math.atan2(eyes[1], eyes[0])
        inner = points[17:]
        centre = inner.mean(axis=0)
        radius = math.sqrt(float(((inner - centre) ** 2).sum(axis=1).mean()))
        # Half way (in the logarithm): profiles are narrower than their boxes, and this is a first guess.
        ratio = min(max(math.sqrt(radius / forest.inner_radius), 0.8), 1.25)
        tilted = abs(turn) > UPRIGHT
        moved = frame.moved(float(centre[0]), float(centre[1]))
        frame = replace(moved, side=frame.side * ratio, roll=frame.roll + (turn if tilted else 0.0))
        if not surroundings.holds(frame, _REACH):
            surroundings = _read(image, frame)
        # The quick way looks again at a tilted face only.
        if not tilted and (levels is not None or abs(ratio - 1) < 0.05):
            break
    return frame, surroundings


def _mean(
    forest: Forest, surroundings: GreyBlocks, frame: Frame, moves: Sequence[tuple[float, float]]
) -> tuple[Float64[np.ndarray, "68 2"], float]:
    """Return the mean answer over moved boxes, in photo pixels, and how far they lie apart in box widths."""
    boxes = [frame.moved(x, y) for x, y in moves]
    answers = predict(forest.arrays, surroundings, boxes) + np.array(moves, np.float32)[:, None]
    mean = answers.mean(axis=0)
    spread = math.sqrt(float(((answers - mean) ** 2).sum(axis=2).mean()))
    return frame.to_photo(mean.astype(np.float64)), spread


def _read(image: UInt8[np.ndarray, "height width 3"], frame: Frame) -> GreyBlocks:
    return GreyBlocks.around(image, frame, _AROUND, FACE_WIDTH, _SAMPLES)
