"""Predicts landmarks by a forest, as dlib does, at any roll and straight from a photo.

Convention:
    As in `inversefacenet.patch_sampling`. A frame here is the predictor's box. Where dlib reads the nearest
    pixel of a picture in which the face is upright, the photo's blocks are interpolated, so that the photo
    needs neither turning nor scaling; and the answer isn't rounded to whole pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float32

from inversefacenet.compilation import compiled
from inversefacenet.forest_file import SmallForest
from inversefacenet.patch_sampling import Frame, GreyBlocks


def predict(
    forest: SmallForest, blocks: GreyBlocks, frames: Sequence[Frame], levels: int | None = None
) -> Float32[np.ndarray, "frames points 2"]:
    """Return the landmarks that a forest finds from each of some boxes, in the coordinates of each.

    Args:
        forest: The predictor.
        blocks: The photo around the boxes.
        frames: The boxes.
        levels: How many levels of the cascade to go; None is all.
    """
    # Box coordinates, 0 to 1, to blocks, as complex numbers: start + step * u.
    places = np.empty((len(frames), 4), np.float32)
    for place, frame in zip(places, frames, strict=True):
        start, step = blocks.place(frame)
        place[:] = start.real, start.imag, step.real, step.imag
    shapes = np.empty((len(frames), len(forest.mean)), np.float32)
    _predict(
        forest.mean,
        forest.anchors[:levels],
        forest.offsets,
        forest.pairs,
        forest.thresholds,
        forest.moves,
        forest.steps,
        blocks.values,
        places,
        shapes,
    )
    points: Float32[np.ndarray, "frames points 2"] = shapes.reshape(len(frames), -1, 2)
    return points - np.float32(0.5)


@compiled
@no_type_check
def _predict(
    mean: Any,
    anchors: Any,
    offsets: Any,
    pairs: Any,
    thresholds: Any,
    moves: Any,
    steps: Any,
    grey: Any,
    boxes: Any,
    shapes: Any,
) -> None:
    levels, pool = anchors.shape
    trees, splits = thresholds.shape[1:]
    depth = 0
    while (1 << depth) - 1 < splits:
        depth += 1
    values = np.empty(pool, np.float32)
    leaves = np.empty(trees, np.uintp)
    for box in range(len(boxes)):
        shapes[box] = mean
    # Level by level, so that what the boxes have in common is in the cache.
    for level in range(levels):
        for box in range(len(boxes)):
            shape = shapes[box]
            _look(mean, shape, anchors[level], offsets[level], grey, boxes[box], values)
            _descend(pairs[level], thresholds[level], depth, values, leaves)
            _add(moves[level], steps[level], leaves, shape)


@compiled
@no_type_check
def _descend(pairs: Any, thresholds: Any, depth: int, values: Any, leaves: Any) -> None:
    """Find the leaf that each tree of a level ends in, without branches, which can't be foreseen."""
    # Unsigned, since an index that may be negative is looked at twice.
    splits, one, two = np.uintp(thresholds.shape[1]), np.uintp(1), np.uintp(2)
    for number in range(len(thresholds)):
        tree, split = np.uintp(number), np.uintp(0)
        for _ in range(depth):
            first, second = np.uintp(pairs[tree, split, 0]), np.uintp(pairs[tree, split, 1])
            left = values[first] - values[second] > thresholds[tree, split]
            split = (split << one) + two - np.uintp(left)
        leaves[tree] = split - splits


@compiled
@no_type_check
def _add(moves: Any, steps: Any, leaves: Any, shape: Any) -> None:
    """Add the leaves' moves to a shape, four trees at a time: then it is read and written less often."""
    trees = len(leaves)
    tree = 0
    while tree + 4 <= trees:
        a, b, c, d = leaves[tree], leaves[tree + 1], leaves[tree + 2], leaves[tree + 3]
        p, q = steps[tree, a], steps[tree + 1, b]
        r, s = steps[tree + 2, c], steps[tree + 3, d]
        for i in range(len(shape)):
            shape[i] += (
                p * np.float32(moves[tree, a, i])
                + q * np.float32(moves[tree + 1, b, i])
                + r * np.float32(moves[tree + 2, c, i])
                + s * np.float32(moves[tree + 3, d, i])
            )
        tree += 4
    while tree < trees:
        end = leaves[tree]
        for i in range(len(shape)):
            shape[i] += steps[tree, end] * np.float32(moves[tree, end, i])
        tree += 1


@compiled
@no_type_check
def _look(mean: Any, shape: Any, anchors: Any, offsets: Any, grey: Any, box: Any, values: Any) -> None:
    """Fill in the pixels beside the points of a shape; offsets turn and grow as the mean shape does."""
    points = len(mean) // 2
    mx, my, sx, sy = 0.0, 0.0, 0.0, 0.0
    for i in range(points):
        mx += mean[2 * i]
        my += mean[2 * i + 1]
        sx += shape[2 * i]
        sy += shape[2 * i + 1]
    mx, my, sx, sy = mx / points, my / points, sx / points, sy / points
    along, across, norm = 0.0, 0.0, 0.0
    for i in range(points):
        ax, ay = mean[2 * i] - mx, mean[2 * i + 1] - my
        bx, by = shape[2 * i] - sx, shape[2 * i + 1] - sy
        along += ax * bx + ay * by
        across += ax * by - ay * bx
        norm += ax * ax + ay * ay
    c, s = np.float32(along / norm), np.float32(across / norm)
    right, bottom = grey.shape[1] - 1, grey.shape[0] - 1
    one = np.uintp(1)
    for i in range(len(anchors)):
        dx, dy = offsets[i, 0], offsets[i, 1]
        anchor = np.uintp(anchors[i]) << one
        u = shape[anchor] + c * dx - s * dy
        v = shape[anchor + one] + s * dx + c * dy
        x = box[0] + box[2] * u - box[3] * v
        y = box[1] + box[3] * u + box[2] * v
        if not (x >= 0 and y >= 0 and x < right and y < bottom):  # numbers that are none, too
            values[i] = 0.0
            continue
        column, row = np.uintp(x), np.uintp(y)
        p, q = x - np.float32(column), y - np.float32(row)
        above, below = grey[row, column], grey[row + one, column]
        above += p * (grey[row, column + one] - above)
        below += p * (grey[row + one, column + one] - below)
        values[i] = above + q * (below - above)
