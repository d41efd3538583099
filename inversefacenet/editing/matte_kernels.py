"""Compiled loops over distances in a picture: to the nearest pixel of a mask, and along its colours."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Float32

from inversefacenet.compilation import compiled


def nearest_of(mask: Bool[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width 2"]:
    """Return the vector (x, y) from each pixel to the nearest pixel of a mask (Danielsson 1980).

    Where there is no such pixel at all, the vectors are longer than the picture.
    """
    out = np.empty((*mask.shape, 2), np.float32)
    out[mask] = 0
    out[~mask] = 4.0 * max(mask.shape)
    _propagate(out)
    return out


def matte(
    picture: Float32[np.ndarray, "height width 3"],
    core: Bool[np.ndarray, "height width"],
    inside: Bool[np.ndarray, "height width"],
    likeness: Float32[np.ndarray, "height width"],
    ease: Float32[np.ndarray, "height width"],
    reach: float,
    contrast: float,
) -> Float32[np.ndarray, "height width"]:
    """Return how much of the face's change each pixel of the photo takes part in.

    1 in the core; from there on it falls along the shortest way through the picture, where colour
    differences count as length: skin of neck and ears takes part, what lies behind an edge doesn't.

    Args:
        picture: The photo, sRGB in [0, 1].
        core: Pixels that surely belong to the face.
        inside: Pixels of the face: there, length alone costs nothing.
        likeness: How much a pixel's hue is the skin's: skin goes on behind a fold.
        ease: How much of the way's length likeness takes off, 0 to 1.
        reach: Pixels over which it falls without any edge.
        contrast: Summed difference of the channels that ends it at once.
    """
    cost = np.where(core, np.float32(0), np.float32(4))
    _geodesic(picture, inside, likeness, ease, cost, np.float32(1 / reach), np.float32(1 / contrast))
    left = np.clip(1 - cost, 0, 1)
    return _softened((left * left * (3 - 2 * left)).astype(np.float32))


def _softened(values: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """Take the least of 3 x 3 pixels, then their mean: an edge's own pixels are half background already."""
    padded = np.pad(values, 1, mode="edge")
    rows = np.minimum(np.minimum(padded[:-2], padded[1:-1]), padded[2:])
    least = np.minimum(np.minimum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    padded = np.pad(least, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return ((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9).astype(np.float32)


@compiled
@no_type_check
def _propagate(out: Any) -> None:
    height, width = out.shape[:2]
    for turn in range(2):
        for step in range(height):
            row = step if turn == 0 else height - 1 - step
            up = -1 if turn == 0 else 1
            for sweep in range(2):
                for walk in range(width):
                    column = walk if sweep == 0 else width - 1 - walk
                    back = -1 if sweep == 0 else 1
                    x, y = out[row, column, 0], out[row, column, 1]
                    best = x * x + y * y
                    if best == 0:
                        continue
                    for k in range(4):
                        if k == 0:
                            di, dj = 0, back
                        elif sweep == 1:
                            break
                        else:
                            di, dj = up, k - 2
                        i, j = row + di, column + dj
                        if i < 0 or j < 0 or i >= height or j >= width:
                            continue
                        nx, ny = out[i, j, 0] + np.float32(dj), out[i, j, 1] + np.float32(di)
                        length = nx * nx + ny * ny
                        if length < best:
                            best = length
                            out[row, column, 0] = nx
                            out[row, column, 1] = ny


@compiled
@no_type_check
def _geodesic(
    picture: Any, inside: Any, likeness: Any, ease: Any, cost: Any, per_pixel: Any, per_contrast: Any
) -> None:
    height, width = cost.shape
    diagonal = np.float32(2**0.5)
    for turn in range(6):
        down = turn % 2 == 0
        for step in range(height):
            row = step if down else height - 1 - step
            for walk in range(width):
                column = walk if down else width - 1 - walk
                best = cost[row, column]
                if best == 0:
                    continue
                for k in range(4):
                    di = 0 if k == 0 else (-1 if down else 1)
                    dj = (-1 if down else 1) if k == 0 else k - 2
                    i, j = row + di, column + dj
                    if i < 0 or j < 0 or i >= height or j >= width:
                        continue
                    before = cost[i, j]
                    if before >= best:
                        continue
                    difference = np.float32(0)
                    for c in range(3):
                        difference += abs(picture[row, column, c] - picture[i, j, c])
                    length = diagonal if di != 0 and dj != 0 else np.float32(1)
                    # Noise and pores are no edges.
                    edge = max(difference - np.float32(0.03), np.float32(0)) * per_contrast
                    eased = np.float32(1) - ease[row, column] * min(likeness[row, column], likeness[i, j])
                    if not inside[row, column]:
                        strange = np.float32(1) - likeness[row, column]
                        edge += length * per_pixel * (np.float32(1) + np.float32(2) * strange)
                    step_cost = eased * edge
                    best = min(best, before + step_cost)
                cost[row, column] = best
