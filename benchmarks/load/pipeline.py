"""The pipeline without a service: decode, reconstruct and measure, in processes of their own."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
from jaxtyping import Float32

from benchmarks.load.children import Child, answer_tasks

_START_SECONDS = 300.0
_SLACK_SECONDS = 120.0
_WARM_UP_TURNS = 3


@dataclass(frozen=True)
class _Turn:
    """Photos to reconstruct: so many, or as many as come within a window of `time.perf_counter`."""

    answers: bool = False
    count: int = 0
    begin: float = 0.0
    end: float = 0.0


class Pipelines:
    """Some processes, each with a `Reconstructor` on one thread and so many threads for its network."""

    def __init__(self, photos: Sequence[bytes], processes: int, threads: int) -> None:
        """Start and warm them up.

        Args:
            photos: Image files, each with a face.
            processes: How many.
            threads: Threads of one inference.

        Raises:
            ChildError: If a photo can't be reconstructed.
        """
        self._children = [Child(serve, list(photos), threads) for _ in range(processes)]
        try:
            for child in self._children:
                child.wait(_START_SECONDS)
        except BaseException:
            self.close()
            raise

    def answers(self) -> list[Float32[np.ndarray, "350"]]:
        """Return the parameters of each photo's largest face."""
        found: list[Float32[np.ndarray, "350"]] = self._children[0].ask(_Turn(answers=True), _SLACK_SECONDS)
        return found

    def times(self, count: int) -> list[float]:
        """Return the seconds of so many photos, one after another in one process."""
        seconds: list[float] = self._children[0].ask(_Turn(count=count), _SLACK_SECONDS + count)
        return seconds

    def throughput(self, seconds: float, warm_up: float = 0.0) -> float:
        """Return photos a second of all processes together, each in a closed loop."""
        begin = time.perf_counter() + warm_up
        turn = _Turn(begin=begin, end=begin + seconds)
        for child in self._children:
            child.tell(turn)
        done = [len(child.wait(warm_up + seconds + _SLACK_SECONDS)) for child in self._children]
        return sum(done) / seconds

    def close(self) -> None:
        """End them."""
        for child in self._children:
            child.close()


def serve(connection: Connection, photos: list[bytes], threads: int) -> None:
    """Run in a pipeline's process: answer turns with seconds a photo, or with parameters."""

    def prepare() -> Callable[[_Turn], object]:
        from inversefacenet.backends.onnx import OnnxBackend
        from inversefacenet.image import decode_photo
        from inversefacenet.landmarks import FaceDetector
        from inversefacenet.networks import REFERENCE  # what Triton serves: all run the same network
        from inversefacenet.reconstruction import Reconstructor

        reconstructor = Reconstructor(FaceDetector(), OnnxBackend(REFERENCE, threads=threads))
        turns = itertools.cycle(photos)

        def one() -> float:
            content = next(turns)
            started = time.perf_counter()
            reconstructor.reconstruct(decode_photo(content))
            return time.perf_counter() - started

        def answer(turn: _Turn) -> object:
            if turn.answers:
                results = [reconstructor.reconstruct(decode_photo(content)) for content in photos]
                return [faces[0].parameters.vector() for faces in results]
            return [one() for _ in range(turn.count)] if turn.count else _within(turn.begin, turn.end, one)

        for _ in range(_WARM_UP_TURNS * len(photos)):
            one()
        return answer

    answer_tasks(connection, prepare)


def _within(begin: float, end: float, one: Callable[[], float]) -> list[float]:
    """Call until the window is over; return the times of those calls that ended within it."""
    kept = []
    while time.perf_counter() < end:
        seconds = one()
        if begin <= time.perf_counter() < end:
            kept.append(seconds)
    return kept
