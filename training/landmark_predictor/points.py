"""The 68 points of rendered heads, chosen on the mean face by its own features alone.

Convention:
    iBUG's order; points 0 to 16 run along the jaw from the image's left (the subject's right). Positions are
    millimetres from the plane of symmetry and from the eye line, in the frontal picture; y points up.

The face model's own landmarks place crops as the usual detector does: where its jaw points lie in depth was
measured with that detector. Labels must owe nothing to it, so they are chosen anew: lids and inner lips on
the seams of the mesh, brows along the upper half of the painted hair, lips on the border of the painted red,
the jaw on the frontal outline, in equal steps, and in depth along the ramus in front of the ear and the edge
of the jaw.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import Float64, Int32

from inversefacenet.camera import CAMERA_DISTANCE
from inversefacenet.morphable_model import MorphableModel
from training.face_model.landmarks import CHIN, JAW_COUNT, MIRRORED, Geometry, contour_strips, lip_halves

SKIN, LID = 0, 1

MARKS: Final[dict[int, tuple[float, float]]] = {
    17: (-52.0, 11.5),
    18: (-43.5, 18.0),
    19: (-33.0, 21.0),
    20: (-21.5, 19.5),
    21: (-10.0, 15.0),
    27: (0.0, 0.0),
    31: (-12.5, -43.0),
    32: (-6.5, -46.0),
    33: (0.0, -47.0),
    48: (-23.0, -66.0),
    49: (-13.5, -60.0),
    50: (-5.5, -56.5),
    51: (0.0, -57.5),
    57: (0.0, -75.5),
    58: (-6.5, -75.2),
    59: (-14.0, -72.5),
}
"""Points of the image's left half that no seam marks."""

EYE_FRACTIONS: Final = {37: (1 / 3, 1), 38: (2 / 3, 1), 40: (2 / 3, -1), 41: (1 / 3, -1)}
"""Lid points: how far from the outer to the inner corner, on the upper (1) or lower (-1) lid."""

TEAR_DUCT: Final = 1.5
"""Millimetres by which the inner corner lies beyond the lid margin's inner end."""

INNER_LIP_X: Final = 6.5
INNER_CORNER_X: Final = 20.0

JAW: Final = (
    (-64.0, 0.0, 90.0),
    (-63.5, -17.0, 90.0),
    (-61.5, -34.0, 88.0),
    (-58.0, -51.0, 84.0),
    (-53.0, -67.0, 76.0),
    (-44.5, -82.0, 62.0),
    (-32.0, -94.5, 48.0),
    (-16.5, -103.0, 38.0),
    (0.0, -106.5, 36.0),
)
"""Points 0 to 8: equal steps along the frontal outline, in the picture, from the eye line to the chin; and
millimetres behind the nose tip: the ramus in front of the ear, the jaw's angle, its edge, the chin."""

FORBIDDEN_DEPTH: Final = 30.0
"""No jaw point slides to what lies less than this behind the nose tip above the lower lip."""


def annotated(model: MorphableModel) -> MorphableModel:
    """Return the face model with the labels' points in place of its own landmarks.

    Everything that projects landmarks then gives labels: `camera.landmark_points`, `rendering.render`.

    Args:
        model: The open face model, or another of its template.
    """
    geometry = Geometry(
        model.mean_geometry.astype(np.float64), model.triangles, np.asarray(model.triangle_part, np.uint8)
    )
    points = _find(geometry)
    candidates, _ = contour_strips(geometry, points, _features(geometry, points))
    outward = _outward(geometry.picture[points[:JAW_COUNT]])
    return replace(
        model,
        landmarks=points,
        contour_candidates=candidates,
        contour_directions=outward.astype(np.float32),
        digest="",
    )


def _find(geometry: Geometry) -> Int32[np.ndarray, " 68"]:
    found: dict[int, int] = _eye(geometry)
    eye_line = float(geometry.vertices[[found[36], found[39]], 1].mean())
    for number, (x, y) in MARKS.items():
        allowed = geometry.frontal & (geometry.middle if x == 0 else ~geometry.middle)
        found[number] = _nearest(geometry.vertices[:, :2], (x, y + eye_line), allowed)
    found |= _bridge(geometry, found[27])
    upper, lower = lip_halves(geometry)
    found[60] = int(lower[np.abs(geometry.vertices[lower, 0] + INNER_CORNER_X).argmin()])
    for half, numbers in ((upper, (61, 62)), (lower, (67, 66))):
        for number, place in zip(numbers, (-INNER_LIP_X, 0.0), strict=True):
            found[number] = int(half[np.abs(geometry.vertices[half, 0] - place).argmin()])
    found |= _jaw(geometry, eye_line)
    found |= {left: geometry.mirror(found[right]) for right, left in MIRRORED.items()}
    return np.array([found[number] for number in range(68)], np.int32)


def _nearest(points: np.ndarray, place: tuple[float, ...], allowed: np.ndarray) -> int:
    chosen = np.flatnonzero(allowed)
    return int(chosen[((points[chosen] - place) ** 2).sum(axis=1).argmin()])


def _eye(geometry: Geometry) -> dict[int, int]:
    """Mark the right eye on the seam between skin and lid."""
    margin = geometry.seam(SKIN, LID)
    margin = margin[geometry.vertices[margin, 0] < 0]
    x, y = geometry.vertices[margin, 0], geometry.vertices[margin, 1]
    outer, inner = int(x.argmin()), int(x.argmax())
    found = {36: int(margin[outer])}
    for number, (fraction, side) in EYE_FRACTIONS.items():
        place = x[outer] + fraction * (x[inner] - x[outer])
        line = y[outer] + fraction * (y[inner] - y[outer])
        on_lid = (y - line) * side > 0
        found[number] = int(margin[on_lid][np.abs(x[on_lid] - place).argmin()])
    corner = (x[inner] + TEAR_DUCT, y[inner])
    return found | {39: _nearest(geometry.vertices[:, :2], corner, geometry.frontal)}


def _bridge(geometry: Geometry, top: int) -> dict[int, int]:
    """Mark the nose's tip and divide the bridge above it into thirds."""
    allowed = geometry.middle & geometry.frontal
    tip = int(np.flatnonzero(allowed)[geometry.vertices[allowed, 2].argmax()])
    heights = np.linspace(geometry.vertices[top, 1], geometry.vertices[tip, 1], 4)
    return {27 + i: _nearest(geometry.vertices[:, :2], (0.0, heights[i]), allowed) for i in (1, 2)} | {
        30: tip
    }


def _jaw(geometry: Geometry, eye_line: float) -> dict[int, int]:
    """Mark points 0 to 8."""
    nose = float(geometry.vertices[:, 2].max())
    found = {}
    for number, (x, y, depth) in enumerate(JAW):
        nearer = (CAMERA_DISTANCE - nose + depth) / CAMERA_DISTANCE
        place = (x * nearer, (y + eye_line) * nearer, nose - depth)
        allowed = geometry.skin & (geometry.middle if number == CHIN else ~geometry.middle)
        found[number] = _nearest(geometry.vertices, place, allowed)
    return found


def _features(geometry: Geometry, points: Int32[np.ndarray, " 68"]) -> np.ndarray:
    """Return the vertices that no jaw point may slide to: about eyes, nose and mouth."""
    depth = geometry.vertices[:, 2].max() - geometry.vertices[:, 2]
    lip = geometry.vertices[points[57], 1]
    return np.asarray((depth < FORBIDDEN_DEPTH) & (geometry.vertices[:, 1] > lip))


def _outward(jaw: Float64[np.ndarray, "17 2"]) -> Float64[np.ndarray, "17 2"]:
    """Return the outline's unit normals at the jaw points, x right and y up."""
    tangent = np.gradient(jaw, axis=0)
    outward = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    outward = (outward + outward[::-1] * (-1, 1)) / 2
    return np.asarray(outward / np.linalg.norm(outward, axis=1, keepdims=True))
