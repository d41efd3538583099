"""The face template: the part of MakeHuman's head that the face model keeps, as a linear operator.

Convention:
    Millimetres, +x to the subject's left, +y up, +z to the front; the origin is the centroid of the
    mean head's skin vertices.

The base mesh is refined by one step of Catmull-Clark subdivision (two for the eyeballs), then cut along
a smooth curve in front of the ears. Every vertex is a fixed linear combination of base vertices, so
morph targets of the base mesh map to the template exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32, UInt8
from PIL import Image
from scipy.sparse import csr_matrix, vstack

from training.face_model.landmarks import Geometry, find_landmarks
from training.face_model.makehuman import BaseMesh, data_folder, load_base_mesh, mean_head
from training.face_model.subdivision import catmull_clark, subdivide_corners
from training.face_model.surface import Surface, rim_loops, triangle_sides

PART_NAMES: Final = ("skin", "lid", "mouth", "eye")
SKIN, LID, MOUTH, EYE = range(4)

NOSE_TIP: Final = 5054
"""The base vertex at the tip of the nose."""

EYE_GROUPS: Final = ("helper-l-eye", "helper-r-eye")
MASKS: Final = ("lips", "eyelids", "face", "inside-mouth")

RIM_CENTRE: Final = (30.0, -3.0)
"""Height above and depth before the nose tip of the rim curve's centre, in millimetres."""

RIM_EXTENT: Final = (66.0, 116.0, 94.0)
"""The rim curve's half axes: up, down and back, in millimetres."""

RIM_EXPONENT: Final = (2.5, 2.6, 2.8)

LID_RINGS: Final = 5
"""Rings of triangles behind the lid margin: its thickness."""

MOUTH_DEPTH: Final = 28.0
"""How far behind the nose tip the dark mouth bag ends, in millimetres."""


EYE_AXIS: Final = np.radians(20.0)
"""How far outward the kept half of an eyeball is turned: an eye that looks inward shows its outer side."""


@dataclass(frozen=True)
class Template:
    """The mesh that the face model is built on.

    Attributes:
        operator: Weights of the 19,158 base vertices in each vertex; rows sum to one.
        vertices: The mean head, in millimetres.
        triangles: Vertex numbers, counter-clockwise seen from outside.
        triangle_part: Index into `PART_NAMES` of each triangle.
        vertex_part: Index into `PART_NAMES` of each vertex; shared vertices belong to the first part.
        uv: MakeHuman's texture coordinates, v up.
        masks: Painted regions in [0, 1]: ``lips``, ``eyelids``, ``face`` and ``inside_mouth``.
        landmarks: The vertices of the 68 landmarks in iBUG order.
    """

    operator: csr_matrix
    vertices: Float64[np.ndarray, "vertices 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    triangle_part: UInt8[np.ndarray, " triangles"]
    vertex_part: UInt8[np.ndarray, " vertices"]
    uv: Float64[np.ndarray, "vertices 2"]
    masks: dict[str, Float64[np.ndarray, " vertices"]]
    landmarks: Int32[np.ndarray, " 68"]

    @property
    def geometry(self) -> Geometry:
        """The neutral mean head, for rules that mark features."""
        return Geometry(self.vertices, self.triangles, self.triangle_part)

    def displacement(self, target: Float[np.ndarray, "19158 3"]) -> Float[np.ndarray, "vertices 3"]:
        """Map a morph target of the base mesh to the template."""
        return np.asarray(self.operator @ target)


def build_template() -> Template:
    """Build the template from the MakeHuman data."""
    surface, head = face_surface()
    part = _vertex_part(surface)
    uv, masks = _texture(surface, part)
    vertices = np.asarray(surface.operator @ head)
    vertices -= vertices[part == SKIN].mean(axis=0)
    triangles = surface.triangles.astype(np.int32)
    return Template(
        operator=surface.operator,
        vertices=vertices,
        triangles=triangles,
        triangle_part=surface.part,
        vertex_part=part,
        uv=uv,
        masks=masks,
        landmarks=find_landmarks(Geometry(vertices, triangles, surface.part)),
    )


def face_surface() -> tuple[Surface, Float[np.ndarray, "19158 3"]]:
    """Refine and cut the base mesh's face.

    Returns:
        The template's surface with MakeHuman's texture coordinates at its corners, and the mean head.
    """
    base = load_base_mesh()
    head = mean_head(base)
    return _crop(_refined_parts(base, head), head, head[NOSE_TIP]), head


def _refined_parts(base: BaseMesh, head: Float[np.ndarray, "19158 3"]) -> Surface:
    """Sort the head's faces into parts and subdivide them."""
    part = _face_parts(base, head)
    quads, uv, part = base.quads[part >= 0], base.uv[part >= 0], part[part >= 0]
    operator, quads = catmull_clark(quads, len(head))
    uv, part = subdivide_corners(uv), np.repeat(part, 4)
    eye = part == EYE
    kept = eye | _lid_rings(quads, part) | (part == SKIN) | (part == MOUTH)
    quads, uv, part, eye = quads[kept], uv[kept], part[kept], eye[kept]
    finer, eye_quads = catmull_clark(quads[eye], operator.shape[0])
    quads = np.concatenate([quads[~eye], eye_quads + operator.shape[0]])
    uv = np.concatenate([uv[~eye], subdivide_corners(uv[eye])])
    part = np.concatenate([part[~eye], np.full(len(eye_quads), EYE)])
    halves = ([0, 1, 2], [0, 2, 3])
    return Surface(
        operator=csr_matrix(vstack([operator, finer @ operator])),
        triangles=np.concatenate([quads[:, half] for half in halves]),
        part=np.concatenate([part, part]).astype(np.uint8),
        uv=np.concatenate([uv[:, half] for half in halves]),
    )


def _face_parts(base: BaseMesh, head: Float[np.ndarray, "19158 3"]) -> Int[np.ndarray, " faces"]:
    """Return the part of each base face, -1 for those that are not near the face.

    MakeHuman gives the cavities of eyes and mouth texture islands of their own.
    """
    part = np.full(len(base.quads), -1)
    near = (np.abs(head[base.quads] - head[NOSE_TIP]) < (110, 170, 190)).all(axis=(1, 2))
    body = base.group == "body"
    part[body & near] = SKIN
    mouth_mask = _sample_mask("inside-mouth", base.uv).mean(axis=1)
    eyes = np.isin(base.group, EYE_GROUPS)
    centres = [head[np.unique(base.quads[base.group == group])].mean(axis=0) for group in EYE_GROUPS]
    for island in np.unique(base.island[body]):
        faces = body & (base.island == island)
        middle = head[np.unique(base.quads[faces])].mean(axis=0)
        if mouth_mask[faces].mean() > 0.5:
            part[faces] = MOUTH
        elif min(np.linalg.norm(middle - centre) for centre in centres) < 20:
            part[faces] = LID
    part[eyes] = EYE
    return part


def _crop(surface: Surface, head: Float[np.ndarray, "19158 3"], nose: Float[np.ndarray, " 3"]) -> Surface:
    """Keep the face's skin, the lids' thickness, a short mouth bag and the eyeballs' fronts."""
    vertices = np.asarray(surface.operator @ head)
    surface = surface.clip(_rim_function(vertices - nose), SKIN)
    skin = surface.component(NOSE_TIP, surface.part == SKIN)
    surface = surface.keep(skin | (surface.part != SKIN))

    vertices = np.asarray(surface.operator @ head)
    eye = surface.part == EYE
    middle = vertices[surface.triangles].mean(axis=1)
    front = np.zeros_like(eye)
    for sign in (-1, 1):
        side = eye & (middle[:, 0] * sign > 0)
        axis = np.array([sign * np.sin(EYE_AXIS), 0, np.cos(EYE_AXIS)])
        centre = vertices[np.unique(surface.triangles[side])].mean(axis=0)
        front |= side & ((middle - centre) @ axis > 0)
    surface = surface.keep(front | ~eye)

    vertices = np.asarray(surface.operator @ head)
    surface = surface.clip(nose[2] - MOUTH_DEPTH - vertices[:, 2], MOUTH)
    mouth = surface.part == MOUTH
    lips = np.intersect1d(surface.triangles[mouth], surface.triangles[surface.part == SKIN])
    surface = surface.keep(surface.component(int(lips[0]), mouth) | ~mouth)
    loops = rim_loops(surface.triangles[surface.part == MOUTH])
    for loop in loops:
        if not np.isin(loop, lips).any():
            surface = surface.close(loop, MOUTH)

    return surface.compact()


def _rim_function(offset: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, " vertices"]:
    """Return a superellipse's value less one: negative for the face, positive beyond its rim.

    Args:
        offset: Positions from the nose tip.
    """
    height = offset[:, 1] - RIM_CENTRE[0]
    depth = RIM_CENTRE[1] - offset[:, 2]
    up, down, back = (
        np.clip(value, 0, None) / extent
        for value, extent in zip((height, -height, depth), RIM_EXTENT, strict=True)
    )
    power = RIM_EXPONENT
    total = up ** power[0] + down ** power[1] + back ** power[2]
    return np.asarray(total ** (1 / power[2]) - 1)


def _lid_rings(
    quads: Int[np.ndarray, "faces 4"], part: Int[np.ndarray, " faces"]
) -> Bool[np.ndarray, " faces"]:
    """Mark the faces of the eye cavities within some rings of the skin: the lids' thickness."""
    lid = part == LID
    reached = np.zeros(quads.max() + 1, bool)
    reached[quads[part == SKIN]] = True
    kept = np.zeros(len(lid), bool)
    for _ in range(LID_RINGS):
        kept |= lid & reached[quads].any(axis=1)
        reached[quads[kept]] = True
    return kept


def _vertex_part(surface: Surface) -> UInt8[np.ndarray, " vertices"]:
    part = np.full(surface.operator.shape[0], len(PART_NAMES), np.uint8)
    np.minimum.at(part, surface.triangles.ravel(), np.repeat(surface.part, 3))
    return part


def _texture(
    surface: Surface, part: UInt8[np.ndarray, " vertices"]
) -> tuple[Float64[np.ndarray, "vertices 2"], dict[str, Float64[np.ndarray, " vertices"]]]:
    """Average texture coordinates and masks over the corners of each vertex's own part."""
    own = surface.part[:, None] == part[surface.triangles]
    count = np.maximum(np.bincount(surface.triangles[own], minlength=len(part)), 1)

    def average(corner: Float[np.ndarray, "triangles 3"]) -> Float64[np.ndarray, " vertices"]:
        total = np.bincount(surface.triangles[own], weights=corner[own], minlength=len(part))
        return total / count

    uv = np.stack([average(surface.uv[..., 0]), average(surface.uv[..., 1])], axis=1)
    masks = {name.replace("-", "_"): average(_sample_mask(name, surface.uv)) for name in MASKS}
    return uv, masks


def _sample_mask(name: str, uv: Float[np.ndarray, "*corners 2"]) -> Float[np.ndarray, "*corners"]:
    """Look up one of MakeHuman's texture masks; the nearest texel is fine enough for vertices."""
    with Image.open(data_folder() / f"mpfb2/textures/mpfb_{name}.jpg") as picture:
        texels = np.asarray(picture.convert("L"), np.float64) / 255
    height, width = texels.shape
    column = np.clip(uv[..., 0] * width, 0, width - 1).astype(int)
    row = np.clip((1 - uv[..., 1]) * height, 0, height - 1).astype(int)
    return np.asarray(texels[row, column])


__all__ = [
    "EYE",
    "LID",
    "MOUTH",
    "PART_NAMES",
    "SKIN",
    "Template",
    "build_template",
    "face_surface",
    "triangle_sides",
]
