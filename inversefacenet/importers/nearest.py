"""The nearest of many points, by plain numpy: what imports need now and then isn't worth a dependency."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float, Int64

_BLOCK: Final = 4_000_000


def nearest(
    points: Float[np.ndarray, "points 3"], targets: Float[np.ndarray, "targets 3"]
) -> Int64[np.ndarray, "points"]:
    """Return the number of each point's nearest target."""
    return nearest_few(points, targets, 1)[:, 0]


def nearest_few(
    points: Float[np.ndarray, "points 3"], targets: Float[np.ndarray, "targets 3"], count: int
) -> Int64[np.ndarray, "points {count}"]:
    """Return the numbers of each point's nearest targets, in no order but that the nearest comes first."""
    squares = (targets**2).sum(axis=1)
    step = max(_BLOCK // len(targets), 1)
    found = np.empty((len(points), count), np.int64)
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        # Squared distances, but for the point's own square, which is the same for all targets.
        distance = squares - 2 * (points[part] @ targets.T)
        if count == 1:
            found[part, 0] = distance.argmin(axis=1)
            continue
        few = np.argpartition(distance, count - 1, axis=1)[:, :count]
        order = np.take_along_axis(distance, few, axis=1).argsort(axis=1)
        found[part] = np.take_along_axis(few, order, axis=1)
    return found
