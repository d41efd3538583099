"""Pack a trained predictor into the file that may ship: ``python -m training.landmark_predictor.pack``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.landmark_forest import DEFAULT_STEP, LandmarkForest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.landmark_predictor.pack", description="Pack dlib's .dat into our own format."
    )
    parser.add_argument("--predictor", type=Path, required=True, help="what train wrote")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--step", type=float, default=DEFAULT_STEP, help="coarseness (default: %(default)s)")
    parser.add_argument("--inner-radius", type=float, required=True, help="as train printed it")
    values = parser.parse_args(arguments)
    try:
        forest = read_dlib(values.predictor.read_bytes(), values.inner_radius)
    except (OSError, InverseFaceNetError) as error:
        print(f"pack: {error}", file=sys.stderr)
        return 1
    content = forest.packed(values.step)
    values.output.write_bytes(content)
    print(f"bytes={len(content)} of={values.predictor.stat().st_size} step={values.step}")
    return 0


def read_dlib(content: bytes, inner_radius: float) -> LandmarkForest:
    """Read dlib's own format; takes some seconds for each 10 MB.

    Args:
        content: A `.dat` file.
        inner_radius: See `LandmarkForest`.

    Raises:
        InputError: If it is no such file.
    """
    numbers = _numbers(content)
    try:
        if next(numbers) != 1:
            raise InputError("This is no landmark predictor of dlib's.")
        mean = _matrix(numbers)
        levels = next(numbers)
        first, second, limits, leaves = [], [], [], []
        for _ in range(levels):
            for _ in range(next(numbers)):
                splits = [(next(numbers), next(numbers), _float(numbers)) for _ in range(next(numbers))]
                first.append([one for one, _, _ in splits])
                second.append([two for _, two, _ in splits])
                limits.append([limit for _, _, limit in splits])
                leaves.append([_matrix(numbers) for _ in range(next(numbers))])
        anchors = [[next(numbers) for _ in range(next(numbers))] for _ in range(next(numbers))]
        offsets = [
            [(_float(numbers), _float(numbers)) for _ in range(next(numbers))] for _ in range(next(numbers))
        ]
    except (StopIteration, RuntimeError, IndexError) as error:
        raise InputError("The landmark predictor ends early.") from error
    shape = (levels, len(first) // levels, -1)
    return LandmarkForest(
        mean=np.array(mean, np.float32),
        anchors=np.array(anchors, np.uint8),
        offsets=np.array(offsets, np.float32),
        first=np.array(first, np.uint16).reshape(shape),
        second=np.array(second, np.uint16).reshape(shape),
        thresholds=np.array(limits, np.float32).reshape(shape),
        leaves=np.array(leaves, np.float32).reshape(*shape, len(mean)),
        inner_radius=inner_radius,
    )


def _numbers(content: bytes) -> Iterator[int]:
    """Yield the whole numbers that dlib packed: a byte with sign and length, then the bytes."""
    place = 0
    while place < len(content):
        head = content[place]
        end = place + 1 + (head & 0x0F)
        value = int.from_bytes(content[place + 1 : end], "little")
        yield -value if head & 0x80 else value
        place = end


def _float(numbers: Iterator[int]) -> float:
    return float(next(numbers) * 2.0 ** next(numbers))


def _matrix(numbers: Iterator[int]) -> list[float]:
    rows, columns = -next(numbers), -next(numbers)
    return [_float(numbers) for _ in range(rows * columns)]


if __name__ == "__main__":
    raise SystemExit(main())
