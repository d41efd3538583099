"""The 68 landmarks on the template and the strips along which jaw points slide.

Convention:
    Landmarks follow iBUG's order; 0-16 run along the jaw from the image's left (the subject's right).
    Pictures in this module are frontal: x right and y up, in millimetres at the depth of the origin.

Lids and inner lips are found on the seams between parts, the rest near positions measured from the
eye line that follow the habits of the 300-W annotations: jaw points on the frontal outline, brow points on
the brow's upper half, nostril points at the nose's base, lip points on the border of the red.
The left side mirrors the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Int32, UInt8
from scipy.spatial import cKDTree

from inversefacenet.camera import CAMERA_DISTANCE
from inversefacenet.rasterizer import rasterize

SKIN, LID, MOUTH = 0, 1, 2
JAW_COUNT: Final = 17
CHIN: Final = 8

MARKS: Final[dict[int, tuple[float, float]]] = {
    17: (-52.5, 11.5),
    18: (-44.0, 17.5),
    19: (-33.5, 19.5),
    20: (-22.0, 17.5),
    21: (-11.5, 13.5),
    27: (0.0, 0.5),
    31: (-12.3, -41.9),
    32: (-7.0, -44.2),
    33: (0.0, -45.4),
    48: (-22.8, -66.4),
    49: (-15.0, -60.2),
    50: (-5.8, -56.2),
    51: (0.0, -57.0),
    57: (0.0, -77.2),
    58: (-6.6, -78.0),
    59: (-15.8, -73.8),
}
"""Right-hand landmarks that no seam marks: millimetres from the middle and from the eye line."""

MIRRORED: Final[dict[int, int]] = (
    {i: 16 - i for i in range(8)}
    | {17 + i: 26 - i for i in range(5)}
    | {31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46}
    | {48: 54, 49: 53, 50: 52, 58: 56, 59: 55, 60: 64, 61: 63, 67: 65}
)

EYE_FRACTIONS: Final = {37: (0.36, 1), 38: (0.68, 1), 40: (0.68, -1), 41: (0.35, -1)}
"""Lid points: how far from the outer to the inner corner, on the upper (1) or lower (-1) lid."""

TEAR_DUCT: Final = (1.4, -0.4)
"""Millimetres from the lid margin's inner end to the eye's inner corner as people mark it."""

INNER_LIP_X: Final = 6.4
INNER_CORNER_X: Final = 19.5

JAW_MARKS: Final = (
    (-66.0, 2.6, -84.2),
    (-65.2, -15.7, -79.1),
    (-63.7, -34.8, -78.9),
    (-60.1, -50.8, -74.8),
    (-55.3, -67.4, -73.1),
    (-46.8, -81.7, -64.2),
    (-32.3, -95.5, -48.5),
    (-17.3, -103.4, -39.3),
    (0.0, -106.9, -40.3),
)
"""Jaw points 0 to 8: millimetres from the middle, from the eye line and from the depth of the nose tip.

They lie on the frontal outline. As the head is nearly flat there along the viewing direction, the
outline leaves their depth open: it is where dlib's points lie on turned heads in photographs, on which
the model was fitted to the other landmarks.
"""

JAW_TILT: Final = (-40.0, -20.0, 12.0, 15.0, 15.0, 20.0, 20.0, 0.0, 0.0)
"""Degrees by which the direction that picks a point of its strip is turned up from the outward one.

A detector keeps the jaw's points at their height in the picture when the face looks up or down,
where the ears and the angle of the jaw go down or up. Measured as above.
"""

STRIP_BACK: Final = 90.0
"""How far behind the nose tip strips begin: what the near side of a turned head shows in front of the ear."""

STRIP_BACK_POINTS: Final = 3
"""How many of the jaw points from the ear down have such a part of their strip."""

STRIP_TURN: Final = 5.0
"""How far inside the frontal outline the part of a strip that lies behind the jaw point may be."""

STRIP_HALF_WIDTH: Final = 1.8
STRIP_SPACING: Final = 2.2
STRIP_LENGTH: Final = (26.0, 26.0, 30.0, 32.0, 32.0, 30.0, 26.0, 24.0, 24.0)
"""How far inward the strips of points 0 to 8 reach in the frontal picture, in millimetres."""

PIXELS_PER_MM: Final = 5.0


@dataclass(frozen=True)
class Geometry:
    """What landmark rules look at: a frontal, mirror-symmetric, neutral head."""

    vertices: Float64[np.ndarray, "vertices 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    triangle_part: UInt8[np.ndarray, " triangles"]

    def seam(self, first: int, second: int) -> Int[np.ndarray, " seam"]:
        """Return the vertices that two parts share."""
        return np.intersect1d(*(self.triangles[self.triangle_part == part] for part in (first, second)))

    @cached_property
    def picture(self) -> Float64[np.ndarray, "vertices 2"]:
        """Perspective frontal positions, scaled to millimetres at the origin's depth."""
        return self.vertices[:, :2] * (CAMERA_DISTANCE / (CAMERA_DISTANCE - self.vertices[:, 2:]))

    @cached_property
    def frontal(self) -> Bool[np.ndarray, " vertices"]:
        """Vertices of skin triangles that are seen from the front."""
        size = 1400
        pixels = self.picture * (PIXELS_PER_MM, -PIXELS_PER_MM) + size / 2
        inverse_depth = 1 / (CAMERA_DISTANCE - self.vertices[:, 2:])
        screen = np.concatenate([pixels, inverse_depth], axis=1).astype(np.float32)
        seen = np.unique(rasterize(screen, self.triangles, size, size).triangle)
        seen = seen[seen >= 0]
        visible = np.zeros(len(self.vertices), bool)
        visible[self.triangles[seen[self.triangle_part[seen] == SKIN]]] = True
        return visible

    @cached_property
    def skin(self) -> Bool[np.ndarray, " vertices"]:
        """Vertices of skin triangles."""
        chosen = np.zeros(len(self.vertices), bool)
        chosen[self.triangles[self.triangle_part == SKIN]] = True
        return chosen

    @cached_property
    def middle(self) -> Bool[np.ndarray, " vertices"]:
        """Vertices in the plane of symmetry."""
        return np.abs(self.vertices[:, 0]) < 0.3

    def mirror(self, vertex: int) -> int:
        """Return the vertex on the other side."""
        surface = np.unique(self.triangles[self.triangle_part <= LID])
        mirrored = self.vertices[vertex] * (-1, 1, 1)
        return int(surface[cKDTree(self.vertices[surface]).query(mirrored)[1]])


def find_landmarks(geometry: Geometry) -> Int32[np.ndarray, " 68"]:
    """Return the landmarks' vertices in iBUG order."""
    found: dict[int, int] = {}
    found |= _eye(geometry)
    eye_line = geometry.vertices[[found[36], found[39]], 1].mean()
    for number, (x, y) in MARKS.items():
        allowed = geometry.frontal & (geometry.middle if x == 0 else ~geometry.middle)
        found[number] = _nearest(geometry.vertices[:, :2], (x, y + eye_line), allowed)
    found |= _nose_bridge(geometry, found[27])
    found |= _inner_lips(geometry)
    found |= dict(enumerate(_jaw(geometry, float(eye_line))))
    found |= {left: geometry.mirror(found[right]) for right, left in MIRRORED.items()}
    return np.array([found[number] for number in range(68)], np.int32)


def _nearest(
    points: Float[np.ndarray, "vertices axes"],
    place: tuple[float, ...],
    allowed: Bool[np.ndarray, " vertices"],
) -> int:
    chosen = np.flatnonzero(allowed)
    return int(chosen[((points[chosen] - place) ** 2).sum(axis=1).argmin()])


def _eye(geometry: Geometry) -> dict[int, int]:
    """Mark the right eye on the seam between skin and lid: the lid margin."""
    margin = geometry.seam(SKIN, LID)
    margin = margin[geometry.vertices[margin, 0] < 0]
    x, y = geometry.vertices[margin, 0], geometry.vertices[margin, 1]
    outer, inner = int(x.argmin()), int(x.argmax())
    found = {36: int(margin[outer]), 39: int(margin[inner])}
    for number, (fraction, side) in EYE_FRACTIONS.items():
        place = x[outer] + fraction * (x[inner] - x[outer])
        line = y[outer] + fraction * (y[inner] - y[outer])
        on_lid = (y - line) * side > 0
        found[number] = int(margin[on_lid][np.abs(x[on_lid] - place).argmin()])
    corner = geometry.vertices[found[39], :2] + TEAR_DUCT
    found[39] = _nearest(geometry.vertices[:, :2], tuple(corner), geometry.frontal)
    return found


def _nose_bridge(geometry: Geometry, top: int) -> dict[int, int]:
    """Mark the tip and divide the bridge above it into thirds."""
    allowed = geometry.middle & geometry.frontal
    tip = int(np.flatnonzero(allowed)[geometry.vertices[allowed, 2].argmax()])
    heights = np.linspace(geometry.vertices[top, 1], geometry.vertices[tip, 1], 4)
    bridge = {27 + i: _nearest(geometry.vertices[:, :2], (0, heights[i]), allowed) for i in (1, 2)}
    return bridge | {30: tip}


def _inner_lips(geometry: Geometry) -> dict[int, int]:
    """Mark the inner lips."""
    upper, lower = lip_halves(geometry)
    found = {60: int(lower[np.abs(geometry.vertices[lower, 0] + INNER_CORNER_X).argmin()])}
    for half, numbers in ((upper, (61, 62)), (lower, (67, 66))):
        for number, place in zip(numbers, (-INNER_LIP_X, 0.0), strict=True):
            found[number] = int(half[np.abs(geometry.vertices[half, 0] - place).argmin()])
    return found


def lip_halves(geometry: Geometry) -> tuple[Int[np.ndarray, " upper"], Int[np.ndarray, " lower"]]:
    """Return the seam between lips and mouth as upper and lower lip, both from right to left corner."""
    loop = _ordered(geometry, geometry.seam(SKIN, MOUTH))
    loop = np.roll(loop, -int(geometry.vertices[loop, 0].argmin()))
    end = int(geometry.vertices[loop, 0].argmax())
    halves = [loop[: end + 1], np.concatenate([loop[end:], loop[:1]])[::-1]]
    upper, lower = sorted(halves, key=lambda half: -float(geometry.vertices[half, 1].mean()))
    return upper, lower


def _ordered(geometry: Geometry, seam: Int[np.ndarray, " seam"]) -> Int[np.ndarray, " seam"]:
    """Walk a closed seam in the order of the mouth's sides."""
    triangles = geometry.triangles[geometry.triangle_part == MOUTH]
    sides = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2)
    sides = sides[np.isin(sides, seam).all(axis=1)]
    have = {(int(a), int(b)) for a, b in sides}
    ahead = {a: b for a, b in have if (b, a) not in have}
    walk = [next(iter(sorted(ahead)))]
    while len(walk) < len(ahead):
        walk.append(ahead[walk[-1]])
    return np.array(walk)


def _jaw(geometry: Geometry, eye_line: float) -> list[int]:
    """Return points 0 to 8, from the image's left of the eyes to the chin."""
    origin = np.array([0, eye_line, geometry.vertices[:, 2].max()])
    on_side = geometry.skin & ~geometry.middle
    allowed = [on_side] * CHIN + [geometry.skin & geometry.middle]
    return [
        _nearest(geometry.vertices - origin, mark, chosen)
        for mark, chosen in zip(JAW_MARKS, allowed, strict=True)
    ]


def contour_strips(
    geometry: Geometry, landmarks: Int32[np.ndarray, " 68"], forbidden: Bool[np.ndarray, " vertices"]
) -> tuple[Int32[np.ndarray, "17 candidates"], Float32[np.ndarray, "17 2"]]:
    """Return each jaw point's candidates for the visible contour, and its outward direction.

    A strip runs through the jaw point in the plane of the outward and the viewing direction along the
    surface inward; the upper ones begin in front of the ear. When the head turns, the far side's
    strip rolls over the horizon, and its farthest vertex is on the visible outline. The near side's
    strip rolls inward, and its hindmost vertex, along the ear and the edge of the jaw, lies farthest out.

    Args:
        geometry: The frontal mean head.
        landmarks: Its landmarks.
        forbidden: Vertices that no jaw point may slide to, such as lids and lips.

    Returns:
        Candidate vertices, padded by repeating the first, and unit directions (x right, y up).
    """
    jaw = geometry.picture[landmarks[:JAW_COUNT]]
    tangent = np.gradient(jaw, axis=0)
    outward = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    strips = [
        _strip(geometry, int(landmarks[i]), outward[i], STRIP_LENGTH[i], forbidden, i < STRIP_BACK_POINTS)
        for i in range(CHIN + 1)
    ]
    strips += [[geometry.mirror(vertex) for vertex in strips[16 - i]] for i in range(CHIN + 1, JAW_COUNT)]
    tilt = np.radians(JAW_TILT)
    cosine, sine = np.cos(tilt), np.sin(tilt)
    x, y = outward[: CHIN + 1].T
    outward[: CHIN + 1] = np.stack([cosine * x + sine * y, cosine * y - sine * x], axis=1)
    outward[CHIN + 1 :] = outward[:CHIN][::-1] * (-1, 1)
    longest = max(len(strip) for strip in strips)
    padded = [strip + [strip[0]] * (longest - len(strip)) for strip in strips]
    return np.array(padded, np.int32), outward.astype(np.float32)


def _strip(
    geometry: Geometry,
    start: int,
    outward: Float64[np.ndarray, " 2"],
    reach: float,
    forbidden: Bool[np.ndarray, " vertices"],
    backward: bool,
) -> list[int]:
    offset = geometry.picture - geometry.picture[start]
    inward, across = -(offset @ outward), offset @ (-outward[1], outward[0])
    depth = geometry.vertices[:, 2]
    ahead = geometry.frontal & (inward > 0) & (inward < reach) & (depth >= depth[start])
    deepest = depth[geometry.frontal].max() - STRIP_BACK
    behind = geometry.skin & (np.abs(inward) < STRIP_TURN) & (depth < depth[start]) & (depth > deepest)
    near = (ahead | (behind & backward)) & ~forbidden & (np.abs(across) < STRIP_HALF_WIDTH)
    order = np.flatnonzero(near)
    order = order[np.abs(across[order]).argsort()]
    chosen = [start]
    for vertex in order:
        gap = np.linalg.norm(geometry.vertices[chosen] - geometry.vertices[vertex], axis=1).min()
        if gap > STRIP_SPACING:
            chosen.append(int(vertex))
    return [start, *sorted(chosen[1:], key=lambda vertex: float(depth[vertex]))]
