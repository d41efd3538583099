"""The measures of the evaluation and of every answer's quality block (Kim et al. 2018, Section 8).

Convention:
    One forward pass: no light, colour or placement is fitted to the photo. Photometric errors are RMSE
    of 8-bit sRGB (0 to 255) over the three channels. IoU is in [0, 1]. Landmark distances are in
    pixels of the 240x240 crop; NME divides by the distance of the outer eye corners (36 and 45).
    Geometric errors are RMSE in millimetres over vertices: the root of the mean squared distance.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8

from inversefacenet.camera import CROP_SIZE
from inversefacenet.comparison_kernels import count_differences
from inversefacenet.compilation import read_only
from inversefacenet.crop import FaceCrop, face_mask, landmarks66
from inversefacenet.errors import ImageError
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


def check_frame(crop: FaceCrop, rendering: Rendering) -> None:
    """Check that a rendering lies in the frame of a crop: compiled code reads both side by side.

    Raises:
        ImageError: If crop or rendering have another size than crops have.
    """
    square = (CROP_SIZE, CROP_SIZE)
    pictures, masks = (crop.unmasked, rendering.image), (crop.mask, rendering.mask, rendering.model_mask)
    if not all(one.shape == (*square, 3) for one in pictures) or not all(m.shape == square for m in masks):
        raise ImageError(f"A crop and its rendering have {CROP_SIZE} x {CROP_SIZE} pixels: these don't.")


def measure(crop: FaceCrop, rendering: Rendering) -> Quality:
    """Compare a rendering in the crop's frame with the crop.

    Raises:
        ImageError: If the rendering has another size than the crop.
    """
    check_frame(crop, rendering)
    masks = (crop.mask, rendering.mask, rendering.model_mask, face_mask(rendering.landmarks))
    counts = np.empty(8, np.int64)
    pictures = crop.unmasked, rendering.image, *(mask.view(np.uint8) for mask in masks)
    count_differences(*map(read_only, pictures), counts)
    squares, seen_squares, inside, seen, both, either, both_hull, either_hull = counts.tolist()
    landmark = landmark_distance(crop.landmarks, rendering.landmarks)
    left, right = (crop.landmarks[corner] for corner in OUTER_EYE_CORNERS)
    return Quality(
        photometric=_error(squares, inside),
        photometric_visible=_error(seen_squares, seen),
        iou=both / either if either else 0.0,
        iou_hull=both_hull / either_hull if either_hull else 0.0,
        landmark=landmark,
        nme=landmark / max(math.dist(left, right), 1e-6),
    )


def _error(squares: int, pixels: int) -> float:
    return math.sqrt(squares / (3 * pixels)) if pixels else 255.0


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
