"""A network in one file with its mirror: each answer is the mean of those to a crop and to its mirror image.

What `inversefacenet.mirroring.MirrorAveraging` does around a network, done by the ONNX graph itself: whoever
runs the file needs to know nothing of it. It doubles the work; for a small network that is little beside the
rest of a photo.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from inversefacenet.mirroring import FaceMirror
from inversefacenet.parameters import PARAMETER_COUNT
from training.onnx_graph import Graph

_ACROSS: Final = 2  # the axis of a crop's columns
_TO_THE_FIRST: Final = np.iinfo(np.int64).min  # where a slice that runs backwards ends


class MirroredGraph(Graph):
    """A graph whose network takes crops and, behind them, their mirror images."""

    def __init__(self, mirror: FaceMirror) -> None:
        """Begin a graph.

        Args:
            mirror: Of the face model that the network was trained for.

        Raises:
            MissingDependencyError: If `onnx` isn't installed.
        """
        super().__init__()
        self._mirror = mirror
        bounds = [self.constant(np.array([number], np.int64)) for number in (-1, _TO_THE_FIRST, _ACROSS, -1)]
        flipped = self.node("Slice", ["crops", *bounds])
        self.taken = self.node("Concat", ["crops", flipped], axis=0)

    def answer(self, value: str) -> None:
        """End with the mean of both answers, the second one mirrored back."""
        halves = self.node("Reshape", [value, self.constant(np.array([2, -1, PARAMETER_COUNT], np.int64))])
        own, other = (self.node("Gather", [halves, self.constant(np.int64(k))], axis=0) for k in (0, 1))
        half = np.float32(0.5)
        matrix, offset = (
            self.constant(half * array.astype(np.float32))
            for array in (self._mirror.matrix.T, self._mirror.offset)
        )
        back = self.node("Gemm", [other, matrix, offset])
        self.node("Add", [self.node("Mul", [own, self.constant(half)]), back], output="parameters")
