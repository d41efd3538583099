"""Train the predictor with dlib's trainer: ``python -m training.landmark_predictor.train``.

Gradient-boosted trees of pixel differences (Kazemi and Sullivan 2014). The same pictures, seed and options
give the same predictor.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from inversefacenet.dlib_models import import_dlib
from inversefacenet.errors import InputError, InverseFaceNetError
from training.landmark_predictor.boxes import BoxModel, fit_boxes, training_boxes

MARGIN: Final = 40
"""Pixels cut off all around a rendered picture: the predictor never looks so far from the face."""


@dataclass(frozen=True)
class TrainingOptions:
    """dlib's options, named as dlib names them.

    Attributes:
        cascade: Times that the shape is corrected, each by a forest.
        trees: Trees of a forest.
        depth: Splits from a root to a leaf.
        nu: Share of a tree's answer that is added.
        oversampling: Starting shapes for each box.
        pool: Pixels of a cascade level among which trees choose.
        padding: How far beyond the mean shape's box such pixels may lie, in its sides.
        splits: Random splits tried at each node.
        spread: dlib's lambda: pairs of pixels are drawn near each other, nearer if it is smaller.
        seed: Seed of the trainer and of the boxes' moves.
        threads: Of the trainer.
    """

    cascade: int = 10
    trees: int = 200
    depth: int = 4
    nu: float = 0.1
    oversampling: int = 5
    pool: int = 400
    padding: float = 0.0
    splits: int = 20
    spread: float = 0.1
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True)
class Pictures:
    """Grey pictures of faces with labels and boxes."""

    pictures: UInt8[np.ndarray, "faces side side"]
    points: Float32[np.ndarray, "faces 68 2"]
    boxes: Float32[np.ndarray, "faces 3"]

    @classmethod
    def load(cls, path: Path, margin: int = 0) -> Pictures:
        """Read what `render` or `label_photos` wrote.

        Raises:
            InputError: If the file isn't there or isn't such a file.
        """
        try:
            with np.load(path) as archive:
                pictures, points, boxes = (archive[name] for name in ("pictures", "points", "boxes"))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} holds no labelled pictures: render them first.") from error
        end = pictures.shape[1] - margin
        boxes[:, :2] -= margin
        return cls(np.ascontiguousarray(pictures[:, margin:end, margin:end]), points - margin, boxes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.landmark_predictor.train", description="Train the 68-point predictor."
    )
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="what render wrote")
    parser.add_argument("--photos", type=Path, default=None, help="what label_photos wrote")
    parser.add_argument("--output", type=Path, required=True, help="dlib's format, .dat")
    parser.add_argument("--limit", type=int, default=None, help="use so many rendered pictures")
    for name, value in vars(TrainingOptions()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    values = parser.parse_args(arguments)
    options = TrainingOptions(**{name: getattr(values, name) for name in vars(TrainingOptions())})
    started = time.monotonic()
    try:
        files = [vars(Pictures.load(path, MARGIN)) for path in values.pictures]
        joined = {name: np.concatenate([one[name] for one in files])[: values.limit] for name in files[0]}
        sets = [Pictures(**joined)]
        if values.photos is not None:
            sets.append(Pictures.load(values.photos))
        predictor, samples = train(sets, options)
    except InverseFaceNetError as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    values.output.parent.mkdir(parents=True, exist_ok=True)
    predictor.save(str(values.output))
    radius = 1 / fit_boxes(sets[0].points, sets[0].boxes.astype(np.float64)).width
    seconds, size = time.monotonic() - started, values.output.stat().st_size / 1e6
    print(f"samples={samples} seconds={seconds:.0f} megabytes={size:.1f} inner_radius={radius:.4f}")
    return 0


def train(sets: Sequence[Pictures], options: TrainingOptions) -> tuple[Any, int]:
    """Train on labelled pictures.

    Args:
        sets: Rendered pictures, and self-labelled photos if there are any; the first tells how boxes lie.
        options: The trainer's.

    Returns:
        dlib's predictor, and the number of boxes that it was trained on.
    """
    dlib = import_dlib()
    rng = np.random.default_rng(options.seed)
    boxes = fit_boxes(sets[0].points, sets[0].boxes.astype(np.float64))
    images: list[UInt8[np.ndarray, "side side"]] = []
    labels: list[list[Any]] = []
    for one in sets:
        for picture, points, found in zip(one.pictures, one.points, one.boxes, strict=True):
            images.append(picture)
            labels.append(_labelled(points, found.astype(np.float64), boxes, rng))
    chosen = dlib.shape_predictor_training_options()
    chosen.cascade_depth = options.cascade
    chosen.num_trees_per_cascade_level = options.trees
    chosen.tree_depth = options.depth
    chosen.nu = options.nu
    chosen.oversampling_amount = options.oversampling
    chosen.feature_pool_size = options.pool
    chosen.feature_pool_region_padding = options.padding
    chosen.num_test_splits = options.splits
    chosen.lambda_param = options.spread
    chosen.random_seed = str(options.seed)
    chosen.num_threads = options.threads
    return dlib.train_shape_predictor(images, labels, chosen), sum(map(len, labels))


def _labelled(
    points: Float[np.ndarray, "68 2"],
    found: Float64[np.ndarray, "3"],
    boxes: BoxModel,
    rng: np.random.Generator,
) -> list[Any]:
    dlib = import_dlib()
    # dlib's integer index (x, y) is the point (x + 0.5, y + 0.5).
    parts = [dlib.point(int(x), int(y)) for x, y in np.floor(points)]
    answers = []
    for x, y, width in training_boxes(points, found, boxes, rng):
        left, top, side = round(x - width / 2), round(y - width / 2), round(width)
        rectangle = dlib.rectangle(left, top, left + side - 1, top + side - 1)
        answers.append(dlib.full_object_detection(rectangle, parts))
    return answers


if __name__ == "__main__":
    raise SystemExit(main())
