"""Which photographed faces are good enough to learn from: large, sure, whole, with plausible landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from inversefacenet.camera import CROP_SIZE, Placement
from inversefacenet.landmarks import Face

_LARGEST_ROLL = np.radians(60.0)


@dataclass(frozen=True)
class PhotoFilter:
    """Thresholds of the filter.

    Attributes:
        minimum_size: Least width of the detector's box in photo pixels.
        minimum_score: Least score of the detector; its clear faces have 0.25 and more.
        minimum_inside: Least share of the crop's square that lies inside the photo.
        plausible: Leave faces out whose landmarks don't lie like a face's.
    """

    minimum_size: float = 48.0
    minimum_score: float = 0.2
    minimum_inside: float = 0.9
    plausible: bool = True

    def problem(self, face: Face, placement: Placement, height: int, width: int) -> tuple[str, str] | None:
        """Say why a face is left out: a slug and a sentence; None if it is good.

        Args:
            face: The face, in photo pixels.
            placement: Photo pixels to crop pixels.
            height: Of the photo in pixels.
            width: Of the photo in pixels.
        """
        size = face.box[2] - face.box[0]
        if size < self.minimum_size:
            return "small-face", f"The face is {size:.0f} pixels wide, less than {self.minimum_size:g}."
        # Not `score < minimum`: NaN, a score that nobody knows, is no good score.
        if not face.score >= self.minimum_score:
            return "low-score", f"The detector's score is {face.score:.2f}, less than {self.minimum_score:g}."
        inside = inside_share(placement, height, width)
        if inside < self.minimum_inside:
            return (
                "cut-off",
                f"{inside:.0%} of the crop lie in the photo, less than {self.minimum_inside:.0%}.",
            )
        if self.plausible and (reason := implausible(face.landmarks, face.box)):
            return "implausible-landmarks", reason
        return None


def inside_share(placement: Placement, height: int, width: int) -> float:
    """Return the share of the crop's square that lies inside a photo of height x width pixels."""
    corners = placement.inverse().apply(np.array([[0.0, 0.0], [CROP_SIZE, CROP_SIZE]]))
    low, high = np.maximum(corners[0], 0), np.minimum(corners[1], [width, height])
    extent = np.maximum(high - low, 0) / (corners[1] - corners[0])
    return float(extent[0] * extent[1])


def implausible(landmarks: Float32[np.ndarray, "68 2"], box: tuple[float, float, float, float]) -> str | None:
    """Say what about landmarks is unlike a face, in a sentence; None if nothing is.

    Looked at in the frame in which the eyes are level: the order of brows, eyes, nose, mouth and chin, their
    distances against each other and against the detector's box.
    """
    points = landmarks.astype(np.float64)
    across = _centre(points, 42, 48) - _centre(points, 36, 42)
    distance = float(np.hypot(*across))
    width = box[2] - box[0]
    if distance < 0.15 * width or distance > 0.8 * width:
        return f"The eyes are {distance / width:.2f} box widths apart."
    if abs(np.arctan2(across[1], across[0])) > _LARGEST_ROLL:
        return "The head is rolled by more than 60 degrees."
    c, s = across / distance
    upright = (points - _centre(points, 27, 48)) @ np.array([[c, -s], [s, c]]) / distance
    brows, eyes, nose, mouth, chin = (
        float(np.mean(upright[part, 1])) for part in (slice(17, 27), slice(36, 48), 33, slice(48, 68), 8)
    )
    if not brows < eyes < nose < mouth < chin:
        return "Brows, eyes, nose, mouth and chin aren't below each other."
    if not 0.4 < mouth - eyes < 2.5 or not 0.8 < chin - eyes < 4.0:
        return f"The mouth is {mouth - eyes:.2f} eye distances below the eyes, the chin {chin - eyes:.2f}."
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    if np.hypot(*(_centre(points, 17, 68) - middle)) > 0.4 * width:
        return "The landmarks lie beside the detector's box."
    return None


def _centre(points: Float[np.ndarray, "68 2"], first: int, end: int) -> Float[np.ndarray, "2"]:
    return points[first:end].mean(axis=0)
