"""Measures of one reconstruction that say without the truth whether it is usable.

They come from the detector, from the landmarks and how far the model can follow them, and from the pixels
beside the rendering. Of some sixty that were tried these carry over best to kinds of failure, and to cameras,
that the calibration hasn't seen; measures of the parameters, of pose, sharpness and brightness don't.

Convention:
    Pixels are averaged over cells of 5x5 crop pixels first, so that the photo's resolution hardly counts.
    Grey levels are 8-bit sRGB. Lengths are in distances of the outer eye corners. Measures without an upper
    bound are natural logarithms.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Bool

from inversefacenet.comparison_kernels import measure_cells, measure_landmarks, region_size
from inversefacenet.compilation import read_only
from inversefacenet.metrics import check_frame

if TYPE_CHECKING:
    from inversefacenet.crop import FaceCrop
    from inversefacenet.landmarks import Face
    from inversefacenet.metrics import Quality
    from inversefacenet.rendering import Rendering


def evidence(face: Face, crop: FaceCrop, rendering: Rendering, quality: Quality) -> dict[str, float]:
    """Return all measures by name; those of `DETECTION` are NaN where no detector was asked.

    Args:
        face: What was found in the photo.
        crop: What the network saw; its landmarks must be known.
        rendering: The answer in the crop's frame.
        quality: How well that explains the crop.

    Raises:
        ImageError: If the rendering has another size than the crop.
    """
    check_frame(crop, rendering)
    points, model = crop.landmarks.astype(np.float64), rendering.landmarks.astype(np.float64)
    eyes = max(math.dist(points[36], points[45]), 1e-3)
    followed, pixels = np.empty(len(_FOLLOWED)), np.empty(len(_NOTHING_SEEN))
    measure_landmarks(points, model, eyes, followed)
    masks = (mask.view(np.uint8)[..., None] for mask in (crop.mask, rendering.mask))
    pictures = map(read_only, (crop.unmasked, rendering.image, *masks))
    compared = measure_cells(*pictures, points, eyes, pixels)
    return {
        "score": face.score,
        "spread": math.log(face.spread + 0.002),
        "photometric": math.log(quality.photometric_visible + 1),
        "hull_overlap": math.log(1.005 - quality.iou_hull),
        "nme": math.log(quality.nme + 0.005),
        **dict(zip(_FOLLOWED, followed.tolist(), strict=True)),
        **(dict(zip(_NOTHING_SEEN, pixels.tolist(), strict=True)) if compared else _NOTHING_SEEN),
    }


def largest_region(marked: Bool[np.ndarray, "rows columns"]) -> int:
    """Return the number of cells of the largest region that is connected by sides."""
    return int(region_size(marked.copy(order="C")))


_FOLLOWED: Final = ("inner_points", "jaw_points", "model_turned")

_NOTHING_SEEN: Final = {
    "likeness": -1.0,
    "unexplained": 1.0,
    "odd_region": 1.0,
    "hue": 4.0,
    "hue_region": 1.0,
    "least_likeness": -1.0,
    "eye_darkness": -1.0,
    "edges": -2.0,
    "edge_likeness": -1.0,
}

DETECTION: Final = ("score", "spread")
"""Names of the measures that come from the detector."""

EVIDENCE: Final = (
    *DETECTION,
    "photometric",
    "hull_overlap",
    "nme",
    *_FOLLOWED,
    *_NOTHING_SEEN,
)
"""Names of all measures."""
