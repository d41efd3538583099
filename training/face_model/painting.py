"""Where on the face things are: soft masks, painted along the landmarks of the neutral face.

Convention:
    Masks lie in [0, 1], one value a vertex. Distances are millimetres on the neutral face; "across" is
    the distance |x| from the plane of symmetry. Edges fall off over more than a triangle's edge (about
    2 mm), or the mesh would show as saw teeth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

from training.face_model.hair_painting import paint_beard, paint_brows, paint_lashes
from training.face_model.occlusion import ambient_visibility
from training.face_model.soft_shapes import along_lines, bump, polyline_distance, smoothstep
from training.face_model.template import EYE, LID, MOUTH, SKIN, Template

_LIP_LINES: Final = ((60, 61, 62, 63, 64), (60, 67, 66, 65, 64))
_IRIS_RADIUS: Final = 6.0
_PUPIL_RADIUS: Final = 2.0


@dataclass(frozen=True)
class Painting:
    """Soft masks of the face's regions, and how much sky each vertex sees.

    Attributes:
        skin: True on skin and lid rims; False on the eyeballs and inside the mouth.
        eye: True on the eyeballs.
        mouth: True inside the mouth.
        visibility: Ambient visibility relative to open skin, in [0, 1].
        brow: The brow's middle, where every brow is dense.
        brow_rim: Around it: thick brows reach there.
        lashes: Upper and, fainter, lower lash lines.
        lips: Both lips.
        lip_line: Where the lips meet.
        moustache: Between nose and upper lip.
        goatee: Chin and below the lower lip.
        jaw: The rest of the beard, up to the sideburns.
        cheeks: Where cheeks blush.
        nose: The nose's tip and wings.
        sockets: The eye's whole surroundings, as far as dark glasses reach.
        hollows: Between the eye's inner corner and the nose, and under the brow.
        under_eye: Where tired eyes darken.
        eyelids: The upper lid, where make-up goes.
        folds: The crease from the nose's wing past the mouth's corner.
        shine: Forehead, ridge of the nose, cheekbones, chin.
        iris: Iris with pupil.
        pupil: Pupil.
        limbus: The dark ring around the iris.
    """

    skin: Bool[np.ndarray, " vertices"]
    eye: Bool[np.ndarray, " vertices"]
    mouth: Bool[np.ndarray, " vertices"]
    visibility: Float[np.ndarray, " vertices"]
    brow: Float[np.ndarray, " vertices"]
    brow_rim: Float[np.ndarray, " vertices"]
    lashes: Float[np.ndarray, " vertices"]
    lips: Float[np.ndarray, " vertices"]
    lip_line: Float[np.ndarray, " vertices"]
    moustache: Float[np.ndarray, " vertices"]
    goatee: Float[np.ndarray, " vertices"]
    jaw: Float[np.ndarray, " vertices"]
    cheeks: Float[np.ndarray, " vertices"]
    nose: Float[np.ndarray, " vertices"]
    sockets: Float[np.ndarray, " vertices"]
    hollows: Float[np.ndarray, " vertices"]
    under_eye: Float[np.ndarray, " vertices"]
    eyelids: Float[np.ndarray, " vertices"]
    folds: Float[np.ndarray, " vertices"]
    shine: Float[np.ndarray, " vertices"]
    iris: Float[np.ndarray, " vertices"]
    pupil: Float[np.ndarray, " vertices"]
    limbus: Float[np.ndarray, " vertices"]


def paint(template: Template) -> Painting:
    """Paint the regions of a template."""
    vertices = template.vertices.astype(np.float64)
    points = vertices[template.landmarks]
    part = template.vertex_part
    skin = (part == SKIN) | (part == LID)
    lips = np.clip(template.masks["lips"], 0, 1) * skin
    brow, brow_rim = paint_brows(vertices, points)
    moustache, goatee, jaw = paint_beard(vertices, points)
    hairy = skin * (1 - lips)
    iris, pupil, limbus = _eyes(vertices, points, part == EYE)
    sockets, hollows, under_eye = _eye_surroundings(vertices, points)
    cheek_height = 0.45 * points[[31, 35], 1].mean() + 0.55 * points[[40, 47], 1].mean()
    cheek_across = 0.92 * np.abs(points[[36, 45], 0]).mean()
    across, height = np.abs(vertices[:, 0]), vertices[:, 1]
    upper = _upper_side(vertices, points)
    lids = np.clip(template.masks["eyelids"], 0, 1) * upper
    return Painting(
        skin=skin,
        eye=part == EYE,
        mouth=part == MOUTH,
        visibility=_visibility(template, skin),
        brow=brow * skin,
        brow_rim=brow_rim * skin,
        lashes=paint_lashes(template, upper) * skin,
        lips=lips,
        lip_line=along_lines(vertices, points, _LIP_LINES, 0.6, 2.4) * skin,
        moustache=moustache * hairy,
        goatee=goatee * hairy,
        jaw=jaw * hairy,
        cheeks=bump(across - cheek_across, height - cheek_height, 14, 12) * skin,
        nose=np.exp(-0.5 * ((vertices - points[30] + [0, 0, 4]) ** 2).sum(axis=1) / 11**2) * skin,
        sockets=sockets * skin,
        hollows=hollows * skin,
        under_eye=under_eye * skin,
        eyelids=smoothstep(lids, 0.1, 0.9) * skin,
        folds=_folds(vertices, points) * skin,
        shine=_shine(vertices, points, cheek_across) * skin,
        iris=iris,
        pupil=pupil,
        limbus=limbus,
    )


def _upper_side(
    vertices: Float[np.ndarray, "vertices 3"], points: Float[np.ndarray, "68 3"]
) -> Float[np.ndarray, " vertices"]:
    """Return 1 above the line through each eye's corners."""
    across = np.abs(vertices[:, 0])
    inner, outer = points[[39, 42]], points[[36, 45]]
    x = [np.abs(inner[:, 0]).mean(), np.abs(outer[:, 0]).mean()]
    line = np.interp(across, x, [inner[:, 1].mean(), outer[:, 1].mean()])
    return smoothstep(vertices[:, 1] - line, -1.0, 2.0)


def _eye_surroundings(
    vertices: Float[np.ndarray, "vertices 3"], points: Float[np.ndarray, "68 3"]
) -> tuple[Float[np.ndarray, " vertices"], ...]:
    """Return sockets, hollows and the skin under the eyes."""
    across, height = np.abs(vertices[:, 0]), vertices[:, 1]
    inner = np.abs(points[[39, 42], 0]).mean()
    outer = np.abs(points[[36, 45], 0]).mean()
    centre = (inner + outer) / 2
    level = points[[36, 39, 42, 45], 1].mean()
    lower = points[[40, 41, 46, 47], 1].mean()
    radius = np.sqrt(((across - centre) / 25) ** 2 + ((height - level) / 17) ** 2)
    sockets = 1 - smoothstep(radius, 0.45, 1.25)
    hollows = np.maximum(
        bump(across - inner + 4, height - level - 2, 5, 8),
        0.7 * bump(across - centre + 4, height - level - 8, 13, 4.5),
    )
    # A crescent: its outer end rises with the lid.
    droop = -5.5 + 0.012 * (across - centre) ** 2
    under_eye = bump(across - centre + 3, height - lower - droop, 11, 4.0)
    return sockets, hollows, under_eye


def _folds(
    vertices: Float[np.ndarray, "vertices 3"], points: Float[np.ndarray, "68 3"]
) -> Float[np.ndarray, " vertices"]:
    """Return the nasolabial folds."""
    folds = np.zeros(len(vertices))
    for wing, corner, sign in ((31, 48, -1), (35, 54, 1)):
        a, b = points[wing, :2], points[corner, :2]
        middle = 0.5 * (a + b)
        steps = np.array([[5 * sign, 4], [8.5 * sign, 1], [9 * sign, 0], [9 * sign, -9]])
        line = np.stack([a, middle, b, b]) + steps
        distance, along = polyline_distance(vertices[:, :2], line)
        strength = np.interp(along, [0, 0.15, 0.6, 1], [0.6, 1, 0.7, 0])
        folds = np.maximum(folds, strength * np.exp(-0.5 * (distance / 2.6) ** 2))
    return folds


def _shine(
    vertices: Float[np.ndarray, "vertices 3"], points: Float[np.ndarray, "68 3"], cheek: float
) -> Float[np.ndarray, " vertices"]:
    """Return where skin is oily or catches the light."""
    across, height = np.abs(vertices[:, 0]), vertices[:, 1]
    brows = points[17:27, 1].mean()
    below = points[[40, 41, 46, 47], 1].mean()
    ridge = (1 - smoothstep(across, 2, 7)) * smoothstep(height, points[33, 1] + 2, points[30, 1] + 2)
    ridge = ridge * (1 - smoothstep(height, points[27, 1], brows))
    forehead = bump(across, height - brows - 24, 28, 14)
    cheekbone = 0.8 * bump(across - cheek, height - below + 14, 10, 6)
    chin = 0.6 * bump(across, height - 0.6 * points[8, 1] - 0.4 * points[57, 1], 9, 6)
    return np.maximum.reduce([0.9 * ridge, forehead, cheekbone, chin])


def _eyes(
    vertices: Float[np.ndarray, "vertices 3"],
    points: Float[np.ndarray, "68 3"],
    eye: Bool[np.ndarray, " vertices"],
) -> tuple[Float[np.ndarray, " vertices"], ...]:
    """Return iris, pupil and limbus, for eyes that look to the front."""
    iris, pupil, limbus = np.zeros((3, len(vertices)))
    for sign in (-1, 1):
        ball: Int[np.ndarray, " n"] = np.flatnonzero(eye & (np.sign(vertices[:, 0]) == sign))
        centre = _sphere_centre(vertices[ball])
        radius = np.hypot(*(vertices[ball, :2] - centre[:2]).T)
        iris[ball] = 1 - smoothstep(radius, _IRIS_RADIUS - 0.7, _IRIS_RADIUS + 0.7)
        pupil[ball] = 1 - smoothstep(radius, _PUPIL_RADIUS - 0.6, _PUPIL_RADIUS + 0.7)
        limbus[ball] = np.exp(-0.5 * ((radius - _IRIS_RADIUS + 0.3) / 0.7) ** 2)
    return iris, pupil, limbus


def _sphere_centre(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "3"]:
    """Fit a sphere by least squares."""
    system = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    return np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0][:3]


def _visibility(template: Template, skin: Bool[np.ndarray, " vertices"]) -> Float[np.ndarray, " vertices"]:
    visible = ambient_visibility(template.vertices.astype(np.float64), template.triangles)
    return np.clip(visible / np.percentile(visible[skin], 60), 0, 1)
