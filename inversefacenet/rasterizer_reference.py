"""The slow, plain reference that `inversefacenet.rasterizer` is tested against.

Numpy, every pixel of every triangle, no spans and no early exits.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int32

from inversefacenet.rasterizer import Fragments


def rasterize_reference(
    points: Float32[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    height: int,
    width: int,
) -> Fragments:
    """Do what `rasterize` does, in one pass over the whole picture per triangle."""
    columns = np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5)
    rows = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    triangle = np.full((height, width), -1, np.int32)
    barycentric = np.zeros((height, width, 3), np.float32)
    nearest = np.zeros((height, width), np.float32)
    for t, corners in enumerate(triangles):
        (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = points[corners]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if not area < 0:
            continue
        inverse_area = np.float32(1) / area
        w0 = ((x1 - columns) * (y2 - rows) - (x2 - columns) * (y1 - rows)) * inverse_area
        w1 = ((x2 - columns) * (y0 - rows) - (x0 - columns) * (y2 - rows)) * inverse_area
        w2 = ((x0 - columns) * (y1 - rows) - (x1 - columns) * (y0 - rows)) * inverse_area
        inverse = w0 * z0 + w1 * z1 + w2 * z2
        seen = (w0 >= 0) & (w1 >= 0) & (w2 >= 0) & (inverse > nearest)
        nearest[seen] = inverse[seen]
        triangle[seen] = t
        weights = np.stack([w0 * z0, w1 * z1, w2 * z2], axis=-1) / np.where(seen, inverse, 1)[..., None]
        barycentric[seen] = weights[seen]
    with np.errstate(divide="ignore"):
        return Fragments(triangle, barycentric, np.float32(1) / nearest)
