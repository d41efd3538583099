"""A small face model with everything that a real one has, so that tests need no file and little time.

A bulged sheet with a nose, 68 landmarks at the places where iBUG has them, lids around eyes, a mouth that
is slightly open, smooth random bases and a rig of six units. Nothing in it is random between runs.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import Delaunay

from inversefacenet.morphable_model import MorphableModel

PARTS = ("skin", "lid", "mouth", "eye")
UNITS = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "eyeBlinkLeft", "eyeBlinkRight", "browInnerUp")

_INNER_MOUTH = np.arange(60, 68)
_EYES = (np.arange(36, 42), np.arange(42, 48))


def landmark_layout() -> np.ndarray:
    """Return the 68 points in iBUG order, in millimetres, x right and y up."""
    angle = np.linspace(np.pi + 0.12, 2 * np.pi - 0.12, 17)
    jaw = np.stack([72 * np.cos(angle), 10 + 105 * np.sin(angle)], axis=1)
    brow = np.array([[-60, 34], [-50, 42], [-38, 44], [-26, 42], [-14, 37]], float)
    bridge = np.array([[0, 24], [0, 14], [0, 4], [0, -6]], float)
    nostrils = np.array([[-15, -15], [-8, -17], [0, -19], [8, -17], [15, -15]], float)
    eye = np.array([[-46, 20], [-38, 25], [-28, 25], [-19, 19], [-28, 15], [-38, 15]], float)
    flip = np.array([-1.0, 1.0])
    outer = [[-27, -45], [-18, -38], [-8, -35], [0, -37], [8, -35], [18, -38], [27, -45]]
    outer += [[18, -55], [8, -59], [0, -60], [-8, -59], [-18, -55]]
    inner = [[-22, -45], [-9, -42], [0, -42], [9, -42], [22, -45], [9, -50], [0, -51], [-9, -50]]
    groups = (
        jaw,
        brow,
        brow[::-1] * flip,
        bridge,
        nostrils,
        eye,
        eye[[3, 2, 1, 0, 5, 4]] * flip,
        outer,
        inner,
    )
    return np.concatenate([np.asarray(group, float) for group in groups])


def make_model() -> MorphableModel:
    """Build the model."""
    flat, landmarks = _plane_points()
    triangles = _triangles(flat)
    centres = flat[triangles].mean(axis=1)
    layout = landmark_layout()
    part = np.zeros(len(triangles), np.uint8)
    for eye in _EYES:
        grown = layout[eye].mean(axis=0) + 1.6 * (layout[eye] - layout[eye].mean(axis=0))
        part[_inside(centres, grown)] = PARTS.index("lid")
        part[_inside(centres, layout[eye])] = PARTS.index("eye")
    part[_inside(centres, layout[_INNER_MOUTH])] = PARTS.index("mouth")
    vertex_part = np.zeros(len(flat), np.uint8)
    for kind in (1, 3, 2):
        vertex_part[np.setdiff1d(triangles[part == kind], triangles[part == 0])] = kind
    mean = np.concatenate([flat, _height(flat)[:, None]], axis=1)
    mean -= mean[vertex_part == 0].mean(axis=0)
    hull = Delaunay(layout[np.delete(np.arange(68), (60, 64))])
    candidates, directions = _contour(flat, landmarks, layout)
    rng = np.random.default_rng(2018)
    fields = np.stack([_unit_field(name, flat) for name in UNITS])
    expression, unit_coefficients, expression_sigma = _expression(rng, flat, fields)
    count = len(flat)
    return MorphableModel(
        name="synthetic",
        mean_geometry=mean.astype(np.float32),
        mean_reflectance=_skin(flat, vertex_part),
        shape_basis=_smooth_basis(rng, flat, 128),
        shape_sigma=(2.0 * 0.93 ** np.arange(128) * np.sqrt(count)).astype(np.float32),
        expression_basis=expression,
        expression_sigma=expression_sigma,
        reflectance_basis=_smooth_basis(rng, flat, 128),
        reflectance_sigma=(0.04 * 0.93 ** np.arange(128) * np.sqrt(count)).astype(np.float32),
        triangles=triangles,
        triangle_part=part,
        vertex_part=vertex_part,
        part_names=PARTS,
        painted=hull.find_simplex(centres) >= 0,
        landmarks=landmarks,
        contour_candidates=candidates,
        contour_directions=directions,
        unit_names=UNITS,
        unit_coefficients=unit_coefficients,
    )


def _plane_points() -> tuple[np.ndarray, np.ndarray]:
    layout = landmark_layout()
    x, y = np.meshgrid(np.linspace(-92, 92, 14), np.linspace(-118, 92, 16))
    # Off the lines, so that Delaunay's choice of diagonals doesn't hang on rounding.
    x = x + 1.7 * np.sin(0.11 * y)
    y = y + 1.3 * np.cos(0.13 * x)
    grid = np.stack([x.ravel(), y.ravel()], axis=1)
    middles = np.array([layout[eye].mean(axis=0) for eye in _EYES] + [[-5.0, -46.0], [5.0, -46.5]])
    points = np.concatenate([layout, middles])
    apart = np.linalg.norm(grid[:, None] - points[None], axis=2).min(axis=1) > 5
    points = np.concatenate([points, grid[apart]])
    return points, np.arange(68, dtype=np.int32)


def _triangles(flat: np.ndarray) -> np.ndarray:
    triangles = Delaunay(flat).simplices
    a, b, c = (flat[triangles[:, i]] for i in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    clockwise = area < 0
    triangles[clockwise] = triangles[clockwise][:, ::-1]
    return triangles[np.abs(area) > 1e-6].astype(np.int32)


def _height(flat: np.ndarray) -> np.ndarray:
    x, y = flat[:, 0], flat[:, 1]
    bulge = 90 * np.sqrt(np.maximum(1 - (x / 88) ** 2 - ((y + 10) / 140) ** 2, 0.02))
    return bulge + 20 * np.exp(-((x / 9) ** 2) - ((y + 6) / 14) ** 2)


def _inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    inside = np.zeros(len(points), bool)
    for (xa, ya), (xb, yb) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (ya > points[:, 1]) != (yb > points[:, 1])
        if ya != yb:
            inside ^= crosses & (points[:, 0] < xa + (points[:, 1] - ya) / (yb - ya) * (xb - xa))
    return inside


def _contour(flat: np.ndarray, landmarks: np.ndarray, layout: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    directions = layout[:17] - np.array([0.0, 10.0])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    inward = layout[:17, None] - directions[:, None] * np.array([8.0, 16.0, 24.0])[:, None]
    nearest = np.linalg.norm(inward[:, :, None] - flat, axis=3).argmin(axis=2)
    return (
        np.concatenate([landmarks[:17, None], nearest], axis=1).astype(np.int32),
        directions.astype(np.float32),
    )


def _unit_field(name: str, flat: np.ndarray) -> np.ndarray:
    def blob(x: float, y: float, size: float, move: tuple[float, float, float]) -> np.ndarray:
        weight = np.exp(-((flat[:, 0] - x) ** 2 + (flat[:, 1] - y) ** 2) / (2 * size**2))
        return weight[:, None] * np.array(move)

    below = (flat[:, 1] < -46) * np.exp(-((flat[:, 0] / 60) ** 2))
    return {
        "jawOpen": below[:, None] * np.array([0.0, -22.0, -4.0]),
        "mouthSmileLeft": blob(27, -45, 10, (6, 7, -2)),
        "mouthSmileRight": blob(-27, -45, 10, (-6, 7, -2)),
        "eyeBlinkLeft": blob(33, 26, 6, (0, -8, 0)),
        "eyeBlinkRight": blob(-33, 26, 6, (0, -8, 0)),
        "browInnerUp": blob(0, 40, 16, (0, 8, 0)),
    }[name]


def _expression(
    rng: np.random.Generator, flat: np.ndarray, fields: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stacked = fields.reshape(len(fields), -1).T
    rest = _smooth_basis(rng, flat, 64 - len(fields)).astype(float)
    basis, _ = np.linalg.qr(np.concatenate([stacked, rest], axis=1))
    sigma = 1.0 * 0.95 ** np.arange(64) * np.sqrt(len(flat))
    coefficients = (basis.T @ stacked).T / sigma
    return basis.astype(np.float32), coefficients.astype(np.float32), sigma.astype(np.float32)


def _smooth_basis(rng: np.random.Generator, flat: np.ndarray, count: int) -> np.ndarray:
    distance = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    smooth = np.exp(-((distance / 25) ** 2) / 2)
    fields = np.einsum("vw,wcn->vcn", smooth, rng.normal(size=(len(flat), 3, count)))
    basis, _ = np.linalg.qr(fields.reshape(3 * len(flat), count))
    return basis.astype(np.float32)


def _skin(flat: np.ndarray, vertex_part: np.ndarray) -> np.ndarray:
    skin = np.tile([0.55, 0.36, 0.28], (len(flat), 1))
    lips = np.exp(-((flat[:, 0] / 25) ** 4) - ((flat[:, 1] + 47) / 11) ** 4)[:, None]
    skin = skin * (1 - lips) + np.array([0.45, 0.18, 0.17]) * lips
    skin[vertex_part == PARTS.index("eye")] = (0.7, 0.7, 0.7)
    skin[vertex_part == PARTS.index("mouth")] = (0.05, 0.02, 0.02)
    return skin.astype(np.float32)
