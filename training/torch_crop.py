"""The face mask on torch tensors, equal to `inversefacenet.crop.face_mask` (Kim et al. 2018, Section 6.1)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inversefacenet.camera import CROP_SIZE
from inversefacenet.crop import INNER_MOUTH, KEPT_LANDMARKS

_HULL_TOLERANCE = 1e-6
"""How far, in areas of the picture, a point may lie outside an edge of the hull. It only has to exceed
float32's rounding: a segment between two landmarks that is wrongly taken for an edge lies inside the
hull and changes nothing."""


@torch.no_grad()
def face_masks(
    landmarks: Float[Tensor, "batch 68 2"], size: int = CROP_SIZE
) -> Bool[Tensor, "batch size size"]:
    """Return the face regions: the 66 points' convex hulls less the mouths' interiors.

    Args:
        landmarks: The 68 landmarks in crop pixels.
        size: Side of the crop in pixels.
    """
    points = landmarks.detach()
    kept = points[:, torch.as_tensor(KEPT_LANDMARKS, device=points.device)]
    mouth = points[:, list(INNER_MOUTH)]
    return _fill_hull(kept, size) & ~_fill_polygon(mouth, size)


def _fill_hull(points: Float[Tensor, "batch points 2"], size: int) -> Bool[Tensor, "batch size size"]:
    """Fill convex hulls: each row is covered from its first to its last crossing with an edge."""
    start, end = _hull_edges(points, size)
    centres = torch.arange(size, device=points.device) + 0.5
    rows, crossing = _crossings(start, end, centres)
    infinite = torch.full_like(crossing, torch.inf)
    left = torch.where(rows, crossing, infinite).amin(dim=1)
    right = torch.where(rows, crossing, -infinite).amax(dim=1)
    return (centres > left[..., None]) & (centres <= right[..., None])


def _hull_edges(
    points: Float[Tensor, "batch points 2"], size: int
) -> tuple[Float[Tensor, "batch edges 2"], Float[Tensor, "batch edges 2"]]:
    """Return the ends of the hull's edges: the pairs that have all points on one side.

    Faces with fewer edges than the batch's greatest number are filled up with other pairs, which lie
    inside the hull.
    """
    first, second = torch.triu_indices(points.shape[1], points.shape[1], 1, device=points.device)
    start, end = points[:, first, :, None], points[:, second, :, None]
    x, y = points[:, None, :, 0], points[:, None, :, 1]
    along = end - start
    side = along[:, :, 0] * (y - start[:, :, 1]) - along[:, :, 1] * (x - start[:, :, 0])
    tolerance = _HULL_TOLERANCE * size**2
    on_hull = (side.amin(dim=2) >= -tolerance) | (side.amax(dim=2) <= tolerance)
    count = max(int(on_hull.sum(dim=1).max()), 1)
    chosen = on_hull.to(torch.uint8).topk(count, dim=1).indices
    return points.gather(1, _pairs(first[chosen])), points.gather(1, _pairs(second[chosen]))


def _pairs(index: Tensor) -> Tensor:
    return index[..., None].expand(-1, -1, 2)


def _fill_polygon(corners: Float[Tensor, "batch corners 2"], size: int) -> Bool[Tensor, "batch size size"]:
    """Fill polygons by the even-odd rule."""
    centres = torch.arange(size, device=corners.device) + 0.5
    rows, crossing = _crossings(corners, corners.roll(-1, dims=1), centres)
    inside = torch.zeros(corners.shape[0], size, size, dtype=torch.bool, device=corners.device)
    for edge in range(corners.shape[1]):
        inside ^= rows[:, edge, :, None] & (centres > crossing[:, edge, :, None])
    return inside


def _crossings(
    start: Float[Tensor, "batch edges 2"],
    end: Float[Tensor, "batch edges 2"],
    centres: Float[Tensor, "size"],
) -> tuple[Bool[Tensor, "batch edges size"], Float[Tensor, "batch edges size"]]:
    """Return which edges cross each row of pixel centres, and where, in double precision.

    A row counts an edge's upper end, not its lower one, as the library does.
    """
    (xa, ya), (xb, yb) = (ends.double()[..., None].unbind(dim=2) for ends in (start, end))
    rows = (centres >= torch.minimum(ya, yb)) & (centres < torch.maximum(ya, yb))
    slope = torch.where(ya == yb, 1.0, yb - ya)
    return rows, xa + (centres - ya) / slope * (xb - xa)
