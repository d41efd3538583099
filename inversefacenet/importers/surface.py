"""The mesh put right: which way triangles turn, and what of it belongs to the face."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import Float64

from inversefacenet.errors import FaceModelError
from inversefacenet.importers.raw_model import RawModel

EYE_CORNERS: Final = (60.0, 130.0)
"""Millimetres between the outer corners of a face's eyes; people's are 80 to 100."""

MARGIN: Final = 20.0
"""Millimetres around the sphere through the outermost landmark that still count as the face's region."""

NOSE_TIP: Final = 30
CHIN: Final = 8
RIGHT_EYE: Final = 36
LEFT_EYE: Final = 45


def check_head(model: RawModel) -> None:
    """Check by the landmarks that the model is a head of human size that looks along +z, upright.

    Raises:
        FaceModelError: If it isn't; the message says in which respect.
    """
    right, left, chin, tip = model.geometry[model.landmarks[[RIGHT_EYE, LEFT_EYE, CHIN, NOSE_TIP]]]
    width = float(np.linalg.norm(left - right))
    low, high = EYE_CORNERS
    if not low < width < high:
        raise FaceModelError(
            f"{model.name}: the outer eye corners are {width:.3g} mm apart, a face's are 80 to 100: the file "
            "has another unit, or the landmarks are another mesh's (see --landmarks)."
        )
    if not (left[0] > right[0] and chin[1] < min(left[1], right[1]) and tip[2] > max(left[2], right[2])):
        raise FaceModelError(
            f"{model.name}: the landmarks don't belong to a head that looks along +z with +y up: they are "
            "another mesh's, or counted from 1 instead of 0 (see --landmarks)."
        )


def face_region(model: RawModel) -> RawModel:
    """Cut off what lies far from the face: neck and back of the head.

    The region is a sphere around the nose tip that reaches beyond the outermost landmark.
    """
    centre = model.geometry[model.landmarks[NOSE_TIP]]
    distance = np.linalg.norm(model.geometry - centre, axis=1)
    inside = distance < distance[model.landmarks].max() + MARGIN
    return model.with_triangles(inside[model.triangles].all(axis=1)).compact()


def outward(model: RawModel) -> RawModel:
    """Turn all triangles if they turn clockwise seen from outside, as BFM 2009's do.

    A face is an open surface before the head: the sum of its triangles' areas as vectors points forward.
    """
    corners = model.geometry[model.triangles[model.triangle_part == 0]]
    if area_vectors(corners)[:, 2].sum() > 0:
        return model
    return replace(model, triangles=np.ascontiguousarray(model.triangles[:, ::-1]))


def area_vectors(corners: Float64[np.ndarray, "triangles 3 3"]) -> Float64[np.ndarray, "triangles 3"]:
    """Return each triangle's normal, as long as twice its area."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
