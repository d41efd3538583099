"""Compiled loops that find what becomes of each pixel of a picture in which a face is edited.

Convention:
    A field is float32 [height, width, 9] of frame pixels: where a pixel's photo colour lies relative to it
    (x, y, in frame pixels), the factor on its linear RGB, the share of the fill, and the fill's linear RGB.
    Coarse grids have half of the frame's resolution, rounded up.
"""

from __future__ import annotations

from typing import Any, Final, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Int32

from inversefacenet.compilation import compiled

FIELDS: Final = 9


def gather(
    triangle: Int32[np.ndarray, "height width"],
    barycentric: Float32[np.ndarray, "height width 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    mouth: Bool[np.ndarray, "triangles"],
    attributes: Float32[np.ndarray, "vertices 10"],
    teeth: Float32[np.ndarray, "vertices 2"],
    mouth_seen: Float32[np.ndarray, "height width"],
    moved: bool,
) -> tuple[Float32[np.ndarray, "height width 9"], Bool[np.ndarray, "height width"]]:
    """Return the field of the pixels that see the face, zero elsewhere, and which these are.

    Args:
        triangle: Triangle that each pixel sees, or -1.
        barycentric: Where in it.
        triangles: Vertex indices.
        mouth: True for triangles of the mouth's interior.
        attributes: Per vertex: its place in the photo (frame pixels), ratio, share of the fill, fill, and
            whether it is to be left out, from one half on.
        teeth: The same place for the mouth's interior, which moves with the skull.
        mouth_seen: How much of the mouth's interior the photo shows at each pixel.
        moved: Whether the face moved at all; otherwise places and the fill aren't looked at.
    """
    field = np.zeros((*triangle.shape, FIELDS), np.float32)
    mask = triangle >= 0
    _gather(triangle, barycentric, triangles, mouth, attributes, teeth, mouth_seen, moved, field, mask)
    return field, mask


def rim_values(
    field: Float32[np.ndarray, "height width 9"],
    mask: Bool[np.ndarray, "height width"],
    outwards: Float32[np.ndarray, "height width 2"],
    moved: bool,
    slack: float,
) -> tuple[Float32[np.ndarray, "half_height half_width 5"], Float32[np.ndarray, "half_height half_width"]]:
    """Collect displacement and ratio along the face's rim, on the coarse grid.

    A rim pixel whose photo colour lies inside the old face, because the head turned away, stands beside what
    lies beside the *old* rim: its displacement is led on to there.

    Args:
        field: What `gather` returned.
        mask: Pixels that see the face.
        outwards: Vector from each pixel to the nearest one that the old face didn't cover.
        moved: Whether there is any displacement.
        slack: Pixels by which rims may differ without being led on.
    """
    height, width = mask.shape
    grid = ((height + 1) // 2, (width + 1) // 2)
    values, weights = np.zeros((*grid, 5), np.float32), np.zeros(grid, np.float32)
    _rim(field, mask, outwards, moved, np.float32(slack), values, weights)
    return values, weights


def coarse_mask(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "half_height half_width"]:
    """Return the cells of the coarse grid that hold a pixel of the mask."""
    height, width = mask.shape
    padded = np.zeros((height + height % 2, width + width % 2), bool)
    padded[:height, :width] = mask
    return np.asarray(padded.reshape(padded.shape[0] // 2, 2, -1, 2).any(axis=(1, 3)))


def complete(
    field: Float32[np.ndarray, "height width 9"],
    mask: Bool[np.ndarray, "height width"],
    around: Float32[np.ndarray, "half_height half_width 5"],
    share: Float32[np.ndarray, "half_height half_width"],
    matte: Float32[np.ndarray, "height width"],
    moved: bool,
) -> None:
    """Write the field of the pixels around the face, and let the matte dampen all ratios.

    Args:
        field: What `gather` returned.
        mask: Pixels that see the face.
        around: Displacement and ratio around the face, on the coarse grid.
        share: How much of the displacement a cell takes part in.
        matte: How much of the ratio each pixel of the photo takes part in.
        moved: Whether there is any displacement.
    """
    _complete(field, mask, around, share, matte, moved)


@compiled
@no_type_check
def _gather(
    triangle: Any,
    barycentric: Any,
    triangles: Any,
    mouth: Any,
    attributes: Any,
    teeth: Any,
    mouth_seen: Any,
    moved: Any,
    field: Any,
    mask: Any,
) -> None:
    height, width = triangle.shape
    half = np.float32(0.5)
    for row in range(height):
        for column in range(width):
            t = triangle[row, column]
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            wa, wb, wc = barycentric[row, column, 0], barycentric[row, column, 1], barycentric[row, column, 2]
            if moved and wa * attributes[a, 9] + wb * attributes[b, 9] + wc * attributes[c, 9] > half:
                mask[row, column] = False
                continue
            for k in range(2, 5):
                field[row, column, k] = wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]
            if not moved:
                continue
            for k in range(5, 9):
                field[row, column, k] = wa * attributes[a, k] + wb * attributes[b, k] + wc * attributes[c, k]
            if mouth[t]:
                x = wa * teeth[a, 0] + wb * teeth[b, 0] + wc * teeth[c, 0]
                y = wa * teeth[a, 1] + wb * teeth[b, 1] + wc * teeth[c, 1]
                i, j = int(np.floor(y)), int(np.floor(x))
                if i >= 0 and j >= 0 and i < height and j < width:
                    field[row, column, 5] = np.float32(1) - mouth_seen[i, j]
            else:
                x = wa * attributes[a, 0] + wb * attributes[b, 0] + wc * attributes[c, 0]
                y = wa * attributes[a, 1] + wb * attributes[b, 1] + wc * attributes[c, 1]
            field[row, column, 0] = x - (np.float32(column) + half)
            field[row, column, 1] = y - (np.float32(row) + half)


@compiled
@no_type_check
def _rim(field: Any, mask: Any, outwards: Any, moved: Any, slack: Any, values: Any, weights: Any) -> None:
    height, width = mask.shape
    half = np.float32(0.5)
    for row in range(height):
        for column in range(width):
            if not mask[row, column]:
                continue
            open_side = False
            if row > 0 and not mask[row - 1, column]:
                open_side = True
            if column > 0 and not mask[row, column - 1]:
                open_side = True
            if row + 1 < height and not mask[row + 1, column]:
                open_side = True
            if column + 1 < width and not mask[row, column + 1]:
                open_side = True
            if not open_side:
                continue
            i, j = row // 2, column // 2
            if moved:
                dx, dy = field[row, column, 0], field[row, column, 1]
                y, x = int(np.floor(row + half + dy)), int(np.floor(column + half + dx))
                if x >= 0 and y >= 0 and x < width and y < height:
                    ox, oy = outwards[y, x, 0], outwards[y, x, 1]
                    far = np.sqrt(ox * ox + oy * oy)
                    if far > slack:
                        share = (far - slack) / far
                        dx += share * ox
                        dy += share * oy
                values[i, j, 0] += dx
                values[i, j, 1] += dy
            for k in range(2, 5):
                values[i, j, k] += field[row, column, k]
            weights[i, j] += np.float32(1)


@compiled
@no_type_check
def _complete(field: Any, mask: Any, around: Any, share: Any, matte: Any, moved: Any) -> None:
    height, width = mask.shape
    rows, columns = share.shape
    one, half = np.float32(1), np.float32(0.5)
    near, far = np.float32(0.75), np.float32(0.25)
    for row in range(height):
        ci = row // 2
        oi = min(max(ci + (1 if row % 2 else -1), 0), rows - 1)
        for column in range(width):
            if not mask[row, column]:
                cj = column // 2
                oj = min(max(cj + (1 if column % 2 else -1), 0), columns - 1)
                a, b, c, d = near * near, near * far, far * near, far * far
                if moved:
                    part = a * share[ci, cj] + b * share[ci, oj] + c * share[oi, cj] + d * share[oi, oj]
                    for k in range(2):
                        field[row, column, k] = part * (
                            a * around[ci, cj, k]
                            + b * around[ci, oj, k]
                            + c * around[oi, cj, k]
                            + d * around[oi, oj, k]
                        )
                for k in range(2, 5):
                    field[row, column, k] = (
                        a * around[ci, cj, k]
                        + b * around[ci, oj, k]
                        + c * around[oi, cj, k]
                        + d * around[oi, oj, k]
                    )
            i, j = row, column
            if moved:
                i = min(max(int(np.floor(row + half + field[row, column, 1])), 0), height - 1)
                j = min(max(int(np.floor(column + half + field[row, column, 0])), 0), width - 1)
            m = matte[i, j]
            for k in range(2, 5):
                field[row, column, k] = one + m * (field[row, column, k] - one)
