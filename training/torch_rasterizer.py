"""Batched z-buffer rasterization in plain torch: the same picture on a CPU and on a GPU.

Convention:
    Points, facing, pixel centres, coverage and the rule for equal depths are those of
    `inversefacenet.rasterizer`. Triangles are sorted into classes by the size of their bounding boxes;
    the pixels of one class's boxes are tested together, so a triangle's cost follows its pixels. The
    z-test is a maximum over 64-bit keys (inverse depth, then the earlier triangle), which doesn't depend
    on the order of execution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int, Int32, Int64
from torch import Tensor

BOX_SIDES: Final = (2, 4, 8, 16, 32, 64, 128, 256)
"""Sides of the box classes in pixels; larger pictures add their own size."""

COARSE_SIDES: Final = (8, 32, 128)
"""The same for few faces on a GPU, where starting the work on a class takes longer than the work."""

FEW_FACES: Final = {"cuda": 64}
"""Up to how many faces are few, where any are."""

CANDIDATES_AT_ONCE: Final = {"cpu": 1 << 17, "cuda": 1 << 23}
"""Candidate pixels tested together: what fits a core's cache, or what fills a GPU."""

_LOW_BITS: Final = (1 << 32) - 1
_LAST_ID: Final = (1 << 31) - 1
_NOTHING: Final = 1 << 31  # decodes to index -1; every key of a positive depth is greater


@dataclass(frozen=True)
class _Boxes:
    """Front-facing triangles whose boxes hold a pixel centre, sorted by class.

    Attributes:
        values: x0 y0 z0 x1 y1 z1 x2 y2 z2 and the inverse area, one row each.
        left: First column of the box.
        top: First row of the box.
        pixel: Index of the box's first pixel in the batch's pictures.
        tie: The low half of the key: greater for earlier triangles.
        classes: Width, height and number of triangles of each class, in order.
    """

    values: Float[Tensor, "10 boxes"]
    left: Float[Tensor, "boxes"]
    top: Float[Tensor, "boxes"]
    pixel: Int64[Tensor, "boxes"]
    tie: Int64[Tensor, "boxes"]
    classes: list[tuple[int, int, int]]


@torch.no_grad()
def rasterize_batch(
    points: Float[Tensor, "batch vertices 3"], triangles: Int[Tensor, "triangles 3"], size: int
) -> Int32[Tensor, "batch size size"]:
    """Find the nearest front-facing triangle of every pixel.

    Args:
        points: Pixel coordinates (x right, y down) and inverse depth (1/mm).
        triangles: Vertex indices.
        size: Side of the square pictures.

    Returns:
        Triangle indices, -1 where none is seen.
    """
    batch = points.shape[0]
    boxes = _collect(points.detach().float(), triangles, size)
    keys = torch.full((batch * size * size,), _NOTHING, dtype=torch.int64, device=points.device)
    budget = CANDIDATES_AT_ONCE.get(points.device.type, CANDIDATES_AT_ONCE["cpu"])
    start = 0
    for width, height, count in boxes.classes:
        step = max(budget // (width * height), 1)
        for first in range(start, start + count, step):
            _test(boxes, slice(first, min(first + step, start + count)), width, height, size, keys)
        start += count
    ids = keys.bitwise_and_(_LOW_BITS).neg_().add_(_LAST_ID)
    return ids.to(torch.int32).view(batch, size, size)


def _collect(points: Float[Tensor, "batch vertices 3"], triangles: Tensor, size: int) -> _Boxes:
    count = triangles.shape[0]
    corners = triangles.T.reshape(-1)
    planes = points.permute(2, 1, 0)
    (x0, x1, x2), (y0, y1, y2) = (
        planes[axis].index_select(0, corners).view(3, count, -1).unbind() for axis in (0, 1)
    )
    # With y down a triangle that faces the camera has negative area.
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    left, right = _extent(x0, x1, x2, size)
    top, bottom = _extent(y0, y1, y2, size)
    alive = ((area < 0) & (right >= left) & (bottom >= top)).view(-1).nonzero().squeeze(1)
    left, right, top, bottom = (bound.view(-1)[alive] for bound in (left, right, top, bottom))
    few = points.shape[0] <= FEW_FACES.get(points.device.type, 0)
    lengths = [side for side in (COARSE_SIDES if few else BOX_SIDES) if side < size] + [size]
    sides = torch.tensor(lengths, dtype=points.dtype, device=points.device)
    wide = torch.bucketize(right - left + 1, sides)
    high = torch.bucketize(bottom - top + 1, sides)
    kind, order = torch.sort(high * len(sides) + wide, stable=True)
    alive, left, top = alive[order], left[order], top[order]
    wide, high = sides[wide[order]], sides[high[order]]
    # A box of a class may be wider than its triangle's: it is kept inside the picture.
    left = torch.minimum(left, size - wide)
    top = torch.minimum(top, size - high)
    face, triangle = alive % points.shape[0], alive // points.shape[0]
    z0, z1, z2 = planes[2].index_select(0, corners).view(3, count, -1).unbind()
    values = [plane.reshape(-1)[alive] for plane in (x0, y0, z0, x1, y1, z1, x2, y2, z2)]
    values.append(1 / area.view(-1)[alive])
    present, counts = torch.unique_consecutive(kind, return_counts=True)
    classes = [
        (lengths[k % len(lengths)], lengths[k // len(lengths)], n)
        for k, n in zip(present.tolist(), counts.tolist(), strict=True)
    ]
    pixel = (face * size + top.long()) * size + left.long()
    return _Boxes(torch.stack(values), left, top, pixel, _LAST_ID - triangle, classes)


def _extent(a: Tensor, b: Tensor, c: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the first and last pixel whose centre lies between the least and greatest coordinate."""
    low, high = torch.minimum(torch.minimum(a, b), c), torch.maximum(torch.maximum(a, b), c)
    return (low - 0.5).ceil_().clamp_(min=0), (high - 0.5).floor_().clamp_(max=size - 1)


def _test(boxes: _Boxes, part: slice, width: int, height: int, size: int, keys: Tensor) -> None:
    """Test the pixels of equal boxes and enter the covered ones into the z-buffer.

    The triangles run along the last, contiguous dimension; rows and columns of the box come before it.
    """
    device = keys.device
    x0, y0, z0, x1, y1, z1, x2, y2, z2, inverse_area = boxes.values[:, part]
    columns = torch.arange(width, device=device)[None, :, None]
    rows = torch.arange(height, device=device)[:, None, None]
    px = boxes.left[part] + (columns + 0.5)
    py = boxes.top[part] + (rows + 0.5)
    dx1, dy1, dx2, dy2 = x1 - px, y1 - py, x2 - px, y2 - py
    w0 = (dx1 * dy2).sub_(dx2 * dy1).mul_(inverse_area)
    w1 = (dx2 * (y0 - py)).sub_((x0 - px) * dy2).mul_(inverse_area)
    w2 = ((x0 - px) * dy1).sub_(dx1 * (y0 - py)).mul_(inverse_area)
    covered = torch.minimum(torch.minimum(w0, w1), w2) >= 0
    inverse_depth = w0.mul_(z0).add_(w1.mul_(z1)).add_(w2.mul_(z2))
    index = covered.view(-1).nonzero().squeeze(1)
    # Positive floats compare as their bits do.
    bits = inverse_depth.view(-1)[index].view(torch.int32).to(torch.int64)
    pixels = (boxes.pixel[part] + (rows * size + columns)).view(-1)[index]
    ties = boxes.tie[part][index % w0.shape[2]]
    keys.scatter_reduce_(0, pixels, bits << 32 | ties, "amax")


def barycentric_weights(
    x: Float[Tensor, "3 pixels"],
    y: Float[Tensor, "3 pixels"],
    inverse_depth: Float[Tensor, "3 pixels"],
    px: Float[Tensor, "pixels"],
    py: Float[Tensor, "pixels"],
) -> Float[Tensor, "3 pixels"]:
    """Return perspective-correct barycentric weights; differentiable in the corners.

    Args:
        x: Columns, in pixels, of the corners of the triangle that each pixel sees.
        y: Their rows.
        inverse_depth: Their inverse depths.
        px: Column of each pixel's centre.
        py: Its row.
    """
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    w0 = ((x[1] - px) * (y[2] - py) - (x[2] - px) * (y[1] - py)) / area
    w1 = ((x[2] - px) * (y[0] - py) - (x[0] - px) * (y[2] - py)) / area
    w2 = ((x[0] - px) * (y[1] - py) - (x[1] - px) * (y[0] - py)) / area
    weights = torch.stack([w0, w1, w2]) * inverse_depth
    return weights / weights.sum(dim=0)
