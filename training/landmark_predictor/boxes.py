"""Boxes as the predictor will get them: the frontal detector's, and those that are refined from them.

Convention:
    A box is a centre and a width in continuous pixels, square. `FaceDetector` predicts landmarks first from
    the detector's box, then from boxes about the mean of the points found, slightly moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float64, UInt8

from inversefacenet.dlib_models import DlibModels

THRESHOLD: Final = -0.3
"""Least margin of the detector on rendered heads, which look less like faces than photos do."""

INNER: Final = slice(17, 68)
MOVE: Final = 0.03
"""By how much refined boxes are moved, in box widths: as `FaceDetector` moves them, and as it errs."""


@dataclass(frozen=True)
class BoxModel:
    """How the detector's box lies about the inner points, in the units of their RMS radius.

    Attributes:
        shift: The box's centre less the inner points' mean.
        shift_sd: Its spread.
        width: The box's width.
        width_sd: The spread of the width's logarithm.
    """

    shift: Float64[np.ndarray, "2"]
    shift_sd: Float64[np.ndarray, "2"]
    width: float
    width_sd: float


def inner_frame(points: Float[np.ndarray, "68 2"]) -> tuple[Float64[np.ndarray, "2"], float]:
    """Return mean and RMS radius of the 51 inner points."""
    centre = points[INNER].mean(axis=0).astype(np.float64)
    return centre, float(np.sqrt(((points[INNER] - centre) ** 2).sum(axis=1).mean()))


def find_box(
    models: DlibModels, picture: UInt8[np.ndarray, "height width"], points: Float[np.ndarray, "68 2"]
) -> tuple[Float64[np.ndarray, "3"], float]:
    """Return the detector's box (centre x, y, width) of the labelled face and its margin, or NaN."""
    centre, radius = inner_frame(points)
    boxes, scores, _ = models.frontal().run(picture, 0, THRESHOLD)
    best = (np.full(3, np.nan), float("nan"))
    for box, score in zip(boxes, scores, strict=True):
        width = box.right() + 1 - box.left()
        found = np.array([(box.left() + box.right() + 1) / 2, (box.top() + box.bottom() + 1) / 2, width])
        near = np.linalg.norm(found[:2] - centre) < 1.5 * radius and 2 < width / radius < 5
        if near and not score <= best[1]:
            best = (found, float(score))
    return best


def fit_boxes(points: Float[np.ndarray, "faces 68 2"], boxes: Float64[np.ndarray, "faces 3"]) -> BoxModel:
    """Fit the box model to the faces that the detector found."""
    found = np.isfinite(boxes[:, 2])
    frames = [inner_frame(one) for one in points[found]]
    centres, radii = np.array([c for c, _ in frames]), np.array([r for _, r in frames])
    shift = (boxes[found, :2] - centres) / radii[:, None]
    width = np.log(boxes[found, 2] / radii)
    return BoxModel(
        np.median(shift, axis=0), shift.std(axis=0), float(np.exp(np.median(width))), float(width.std())
    )


def training_boxes(
    points: Float[np.ndarray, "68 2"],
    found: Float64[np.ndarray, "3"],
    model: BoxModel,
    rng: np.random.Generator,
) -> list[Float64[np.ndarray, "3"]]:
    """Return two boxes for one face: the detector's (or one like it), and a refined one.

    Args:
        points: The labels.
        found: The detector's box, NaN where it found none.
        model: How such boxes lie.
        rng: Moves them.
    """
    centre, radius = inner_frame(points)
    if not np.isfinite(found[2]):
        drawn = centre + radius * rng.normal(model.shift, model.shift_sd)
        found = np.array([*drawn, radius * model.width * np.exp(rng.normal(0, model.width_sd))])
    # Refined: about the inner points' mean, its width half way between the first one's and the expected.
    width = np.sqrt(found[2] * radius * model.width) * np.exp(rng.normal(0, 0.03))
    moved = centre + rng.uniform(-1.5 * MOVE, 1.5 * MOVE, 2) * width
    return [found, np.array([*moved, width])]
