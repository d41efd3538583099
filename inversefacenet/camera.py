"""Rotation, full perspective projection and placement in the crop (Kim et al. 2018, Section 4.2).

Convention:
    Camera axes: +x to the image's right, +y up, +z to the viewer; the origin, the model's centroid and
    pivot of rotation, lies 700 mm in front of a pinhole on +z. Rotation is (yaw, pitch, roll) in
    radians and R = Rz(roll) Rx(pitch) Ry(yaw). Positive yaw turns the face to the image's right,
    positive pitch makes it look down, positive roll turns it counter-clockwise in the image.
    Pixel coordinates are continuous, x right and y down; pixel centres lie at half integers.
    Worked values: yaw 0.5 takes the nose direction (0, 0, 1) to (0.479, 0, 0.878); the point
    (70, 35, 0) projects to (0.1, -0.05).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float

from inversefacenet.errors import LandmarkError

if TYPE_CHECKING:
    from inversefacenet.morphable_model import MorphableModel

CAMERA_DISTANCE: Final = 700.0
"""Millimetres from the pinhole to the origin of the model."""

CROP_SIZE: Final = 240
"""Pixels on a side of the network's input (Section 6.1)."""

CROP_MARGIN: Final = 1.0
"""Pixels left free around the landmarks' bounding box."""

JAW_POINTS: Final = 17

SMALLEST_EXTENT: Final = 1e-30
"""Points that lie closer together coincide: what enlarges them to a crop is beyond float32."""


@dataclass(frozen=True)
class Placement:
    """A uniform scale and a shift: pixels = scale * point + offset."""

    scale: float
    offset: tuple[float, float]

    def apply(self, points: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Map points."""
        return self.scale * points + np.asarray(self.offset, points.dtype)

    def inverse(self) -> Placement:
        """Return the mapping back."""
        return Placement(1 / self.scale, (-self.offset[0] / self.scale, -self.offset[1] / self.scale))

    def then(self, outer: Placement) -> Placement:
        """Return the mapping that applies this one first and `outer` to its result."""
        return Placement(
            outer.scale * self.scale,
            (
                outer.scale * self.offset[0] + outer.offset[0],
                outer.scale * self.offset[1] + outer.offset[1],
            ),
        )


def rotation_matrix(angles: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Return R = Rz(roll) Rx(pitch) Ry(yaw) (Section 4.2's Rot_xyz in our axes).

    Args:
        angles: Yaw, pitch, roll in radians.
    """
    cosines, sines = np.cos(angles), np.sin(angles)
    ca, cb, cg = (cosines[..., i] for i in range(3))
    sa, sb, sg = (sines[..., i] for i in range(3))
    matrix = np.empty((*angles.shape, 3), cosines.dtype)
    matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 0, 2] = (
        cg * ca - sg * sb * sa,
        -sg * cb,
        cg * sa + sg * sb * ca,
    )
    matrix[..., 1, 0], matrix[..., 1, 1], matrix[..., 1, 2] = (
        sg * ca + cg * sb * sa,
        cg * cb,
        sg * sa - cg * sb * ca,
    )
    matrix[..., 2, 0], matrix[..., 2, 1], matrix[..., 2, 2] = -cb * sa, sb, cb * ca
    return matrix


def project(rotated: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 2"]:
    """Project points onto the image plane at unit distance (x right, y down).

    Args:
        rotated: Points in camera axes, millimetres from the model's origin.
    """
    depth = CAMERA_DISTANCE - rotated[..., 2:3]
    flipped = rotated[..., :2] * np.asarray([1, -1], rotated.dtype)
    return flipped / depth


def fit_placement(
    points: Float[np.ndarray, "points 2"], size: int = CROP_SIZE, margin: float = CROP_MARGIN
) -> Placement:
    """Fit the points' bounding box uniformly and centred into a square (Section 6.1).

    Args:
        points: The 66 landmarks in any plane with x right and y down.
        size: Side of the square in pixels.
        margin: Free pixels on each side of the longer dimension.

    Raises:
        LandmarkError: If the points aren't finite or span no area.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max())
    if not SMALLEST_EXTENT < extent < np.inf:
        raise LandmarkError("The landmarks must be finite and must not all coincide.")
    scale = (size - 2 * margin) / extent
    centre = (low + high) / 2
    return Placement(scale, (size / 2 - scale * float(centre[0]), size / 2 - scale * float(centre[1])))


def landmark_points(
    model: MorphableModel, rotated: Float[np.ndarray, "vertices 3"], roll: float
) -> Float[np.ndarray, "68 2"]:
    """Project the 68 landmarks; jaw points slide to the visible contour, as a detector's do.

    Each jaw point takes, of its candidate vertices, the one that lies farthest out in its direction.

    Args:
        model: The face model that names landmark and candidate vertices.
        rotated: Vertices in camera axes.
        roll: The head's roll in radians: the outward directions turn with it.

    Returns:
        Points on the image plane at unit distance, x right, y down.
    """
    points = project(rotated[model.landmarks])
    candidates = project(rotated[model.contour_candidates])
    directions = image_directions(model.contour_directions, roll).astype(points.dtype)
    best = np.einsum("jkc,jc->jk", candidates, directions).argmax(axis=1)
    points[:JAW_POINTS] = candidates[np.arange(JAW_POINTS), best]
    return points


def image_directions(directions: Float[np.ndarray, "jaw 2"], roll: float) -> Float[np.ndarray, "jaw 2"]:
    """Turn directions given with y up by the head's roll, and return them with y down."""
    c, s = np.cos(roll), np.sin(roll)
    x, y = directions[:, 0], directions[:, 1]
    return np.stack([c * x - s * y, -(s * x + c * y)], axis=1)
