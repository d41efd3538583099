"""The masked 240x240 crop around 66 landmarks, and its exact inverse (Kim et al. 2018, Section 6.1).

Convention:
    The 66 landmarks are the 68 of iBUG less 60 and 64, the inner lip corners. Their bounding box is
    fitted uniformly and centred into 240x240 pixels with a margin of 1. The mask is their convex hull
    less the mouth's interior, the polygon of the inner lip points 61, 62, 63, 65, 66, 67; a pixel
    belongs to it when its centre lies inside. Photos and rendered faces go through this same code.
    Worked value: a box from (100, 50) to (219, 130) maps with scale 2 and offset (-199, -60).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from inversefacenet.camera import CROP_SIZE, Placement, fit_placement
from inversefacenet.crop_kernels import filled_region, masked_square, resampled_square
from inversefacenet.errors import ImageError, LandmarkError

LANDMARK_COUNT: Final = 68
DROPPED_LANDMARKS: Final = (60, 64)
INNER_MOUTH: Final = (61, 62, 63, 65, 66, 67)
KEPT_LANDMARKS: Final = np.delete(np.arange(LANDMARK_COUNT), DROPPED_LANDMARKS)

LARGEST_FACE: Final = 2.0
"""A face that spans more than this many times the photo's longer side, or whose square has more than this
many times its area, isn't in the photo."""

_ALWAYS_ALLOWED: Final = 2048.0**2  # area of a square that is read whatever the photo's


@dataclass(frozen=True)
class FaceCrop:
    """A face cut out of a photo.

    Attributes:
        image: The masked sRGB crop that the network sees; black outside the mask.
        unmasked: The same crop before masking.
        mask: True inside the face region.
        placement: Photo pixels to crop pixels; `placement.inverse()` leads back.
        landmarks: The 68 points in crop pixels; NaN where nobody knows them.
    """

    image: UInt8[np.ndarray, "240 240 3"]
    unmasked: UInt8[np.ndarray, "240 240 3"]
    mask: Bool[np.ndarray, "240 240"]
    placement: Placement
    landmarks: Float32[np.ndarray, "68 2"]


def landmarks66(points: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "66 2"]:
    """Drop the two inner lip corners, which the paper's tracker doesn't have."""
    return points[KEPT_LANDMARKS]


def check_landmarks(points: Float[np.ndarray, "..."]) -> Float32[np.ndarray, "68 2"]:
    """Return the landmarks as float32 after checking them.

    Raises:
        LandmarkError: If there aren't 68 finite points.
    """
    array = np.asarray(points, np.float32)
    if array.shape != (LANDMARK_COUNT, 2):
        raise LandmarkError(f"Landmarks have shape (68, 2), but these have {array.shape}.")
    if not np.isfinite(array).all():
        raise LandmarkError("Landmarks must be finite, but these hold NaN or infinity.")
    return array


def crop_face(image: UInt8[np.ndarray, "height width 3"], points: Float[np.ndarray, "68 2"]) -> FaceCrop:
    """Cut the face out of a photo, fitted into 240x240 and masked (Section 6.1).

    Pixels outside the photo are black, as is everything outside the mask.

    Args:
        image: An sRGB photo.
        points: The 68 landmarks in the photo's continuous pixel coordinates.

    Raises:
        LandmarkError: If the landmarks are no 68 finite points, coincide, or span far more than the photo.
    """
    checked = check_landmarks(points)
    placement = fit_placement(landmarks66(checked))
    span, (height, width) = CROP_SIZE / placement.scale, image.shape[:2]
    largest = max(LARGEST_FACE * height * width, _ALWAYS_ALLOWED)
    if span > LARGEST_FACE * max(height, width) or span * span > largest:
        raise LandmarkError("The landmarks span far more than the photo: give them in the photo's pixels.")
    landmarks = placement.apply(checked)
    mask = face_mask(landmarks)
    back = placement.inverse()
    unmasked, masked = masked_square(image, back.offset, back.scale * CROP_SIZE, mask, CROP_SIZE)
    return FaceCrop(masked, unmasked, mask, placement, landmarks)


def masked_crop(
    image: UInt8[np.ndarray, "height width 3"], points: Float[np.ndarray, "68 2"] | None = None
) -> FaceCrop:
    """Take a picture that is such a crop already.

    Args:
        image: 240x240 sRGB pixels as `crop_face` gives them.
        points: The 68 landmarks in the crop's pixels; the mask is then theirs. Without them the face region
            is what isn't black, and the landmarks of the result are NaN.

    Raises:
        ImageError: If the picture isn't 240x240, or is black where landmarks would have to tell the mask.
        LandmarkError: If the landmarks are no 68 finite points.
    """
    if image.shape != (CROP_SIZE, CROP_SIZE, 3):
        raise ImageError(
            f"A crop has {CROP_SIZE} x {CROP_SIZE} pixels; this one has {image.shape[1]} x {image.shape[0]}."
        )
    whole = Placement(1.0, (0.0, 0.0))
    if points is not None:
        landmarks = check_landmarks(points)
        mask = face_mask(landmarks)
    else:
        landmarks = np.full((LANDMARK_COUNT, 2), np.nan, np.float32)
        mask = image.max(axis=2) > 0
    if not mask.any():
        raise ImageError("The crop shows no face: it is black outside the face region, not inside it.")
    return FaceCrop(image * mask[..., None], image, mask, whole, landmarks)


def resample(
    image: UInt8[np.ndarray, "height width 3"], placement: Placement, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """Resample the square of the photo that `placement` maps onto `size` pixels, with antialiasing.

    The photo is read in place, and black around its edges.

    Raises:
        LandmarkError: If the square isn't finite, or far larger than the photo.
    """
    back = placement.inverse()
    return resampled_square(image, back.offset, back.scale * size, size)


def face_mask(points: Float[np.ndarray, "68 2"], size: int = CROP_SIZE) -> Bool[np.ndarray, "size size"]:
    """Return the face region: the 66 points' convex hull less the mouth's interior.

    Args:
        points: The 68 landmarks in crop pixels.
        size: Side of the crop in pixels.
    """
    return filled_region(landmarks66(points), points[list(INNER_MOUTH)], size)


def convex_hull(points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "corners 2"]:
    """Return the corners of the convex hull in turn (Andrew's monotone chain)."""
    ordered = sorted({(float(x), float(y)) for x, y in points})
    if len(ordered) < 3:
        return np.array(ordered, np.float64)

    def chain(sequence: list[tuple[float, float]]) -> list[tuple[float, float]]:
        corners: list[tuple[float, float]] = []
        for point in sequence:
            while len(corners) > 1 and _turn(corners[-2], corners[-1], point) <= 0:
                corners.pop()
            corners.append(point)
        return corners[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]), np.float64)


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def fill_polygon(corners: Float[np.ndarray, "corners 2"], size: int) -> Bool[np.ndarray, "size size"]:
    """Return the pixels whose centres lie inside a polygon, by the even-odd rule."""
    centres = np.arange(size) + 0.5
    inside = np.zeros((size, size), bool)
    following = np.roll(corners, -1, axis=0)
    for (xa, ya), (xb, yb) in zip(corners, following, strict=True):
        if ya == yb:
            continue
        # A row counts an edge that crosses its centre line, the upper end included, the lower not;
        # each crossing flips all pixels to its right.
        rows = np.nonzero((centres >= min(ya, yb)) & (centres < max(ya, yb)))[0]
        crossing = xa + (centres[rows] - ya) / (yb - ya) * (xb - xa)
        inside[rows] ^= centres[None, :] > crossing[:, None]
    return inside
