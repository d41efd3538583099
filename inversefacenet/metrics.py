"""The measures of the evaluation and of every answer's quality block (Kim et al. 2018, Section 8).

Convention:
    One forward pass: no light, colour or placement is fitted to the photo. Photometric errors are RMSE
    of 8-bit sRGB (0 to 255) over the three channels. IoU is in [0, 1]. Landmark distances are in
    pixels of the 240x240 crop; NME divides by the distance of the outer eye corners (36 and 45).
    Geometric errors are RMSE in millimetres over vertices: the root of the mean squared distance.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8

from inversefacenet.crop import FaceCrop, face_mask, landmarks66
from inversefacenet.rendering import Rendering

OUTER_EYE_CORNERS: Final = (36, 45)


@dataclass(frozen=True)
class Quality:
    """How well a reconstruction explains the crop that it was made from.

    Attributes:
        photometric: RMSE over all pixels of the input mask; pixels that the mesh leaves uncovered count
            as black.
        photometric_visible: RMSE over the pixels that the mesh covers.
        iou: Intersection over union of input mask and model mask.
        iou_hull: The same of the two landmark polygons.
        landmark: Mean distance of the 66 points in crop pixels; NaN where the crop's are not known.
        nme: `landmark` over the distance of the outer eye corners; NaN likewise.
    """

    photometric: float
    photometric_visible: float
    iou: float
    iou_hull: float
    landmark: float
    nme: float

    def to_dict(self) -> dict[str, float]:
        """Return the measures by name, ready for JSON."""
        return asdict(self)


def measure(crop: FaceCrop, rendering: Rendering) -> Quality:
    """Compare a rendering in the crop's frame with the crop."""
    visible = crop.mask & rendering.mask
    landmark = landmark_distance(crop.landmarks, rendering.landmarks)
    left, right = crop.landmarks[list(OUTER_EYE_CORNERS)]
    return Quality(
        photometric=photometric_error(crop.unmasked, rendering.image, crop.mask),
        photometric_visible=photometric_error(crop.unmasked, rendering.image, visible),
        iou=intersection_over_union(crop.mask, rendering.model_mask),
        iou_hull=intersection_over_union(crop.mask, face_mask(rendering.landmarks)),
        landmark=landmark,
        nme=landmark / max(float(np.linalg.norm(left - right)), 1e-6),
    )


def photometric_error(
    photo: UInt8[np.ndarray, "height width 3"],
    picture: UInt8[np.ndarray, "height width 3"],
    mask: Bool[np.ndarray, "height width"],
) -> float:
    """RMSE of 8-bit sRGB over the mask's pixels; 255 if the mask is empty, as nothing is explained."""
    if not mask.any():
        return 255.0
    difference = photo[mask].astype(np.float64) - picture[mask]
    return float(np.sqrt(np.mean(difference**2)))


def intersection_over_union(
    first: Bool[np.ndarray, "height width"], second: Bool[np.ndarray, "height width"]
) -> float:
    """Overlap of two masks; 0 if both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 0.0


def landmark_distance(first: Float[np.ndarray, "68 2"], second: Float[np.ndarray, "68 2"]) -> float:
    """Mean distance of the paper's 66 points, in the points' unit."""
    return float(np.linalg.norm(landmarks66(first) - landmarks66(second), axis=1).mean())


def geometric_error(
    geometry: Float[np.ndarray, "vertices 3"], truth: Float[np.ndarray, "vertices 3"]
) -> float:
    """RMSE in millimetres between corresponding vertices in model space, nothing aligned."""
    return float(np.sqrt(((geometry - truth) ** 2).sum(axis=1).mean()))


def geometric_error_aligned(
    geometry: Float[np.ndarray, "vertices 3"], truth: Float[np.ndarray, "vertices 3"]
) -> float:
    """RMSE in millimetres after the best rigid alignment, scale kept (Kabsch 1976)."""
    source = geometry - geometry.mean(axis=0)
    target = truth - truth.mean(axis=0)
    u, _, vt = np.linalg.svd(source.T @ target)
    handedness = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return geometric_error(source @ (u @ handedness @ vt), target)


def rotation_error(rotation: Float[np.ndarray, "3 3"], truth: Float[np.ndarray, "3 3"]) -> float:
    """Angle in degrees of the rotation that leads from one to the other."""
    cosine = (np.trace(rotation @ truth.T) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
