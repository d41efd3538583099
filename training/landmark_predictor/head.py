"""A whole head around the face model: scalp, ears, neck, shoulders, teeth, from the same CC0 base mesh.

Convention:
    Millimetres in model space. What lies around the face is called the hood: MakeHuman's own skin, cut
    along the very line along which the face model was, so that the two meet. It isn't part of the face model
    and needs no parameters: it follows the face's rim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Int, Int32
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from inversefacenet.morphable_model import MorphableModel
from training.face_model.makehuman import BaseMesh, load_base_mesh, mean_head
from training.face_model.subdivision import catmull_clark, subdivide_corners
from training.face_model.surface import Surface, rim_loops
from training.face_model.template import LID, MOUTH, NOSE_TIP, SKIN, _face_parts, _rim_function

EXTENT: Final = (300.0, 330.0, 330.0)
"""How far from the nose tip the hood reaches: to the sides, up and down, back; millimetres."""

STILL: Final = -150.0
"""Height below which the hood doesn't follow the face: shoulders stay where they are."""

TEETH: Final = ("helper-upper-teeth", "helper-lower-teeth")


@dataclass(frozen=True, eq=False)
class Head:
    """What surrounds the face.

    Attributes:
        model: The face.
        vertices: The hood about the mean face.
        triangles: Its triangles, counter-clockwise from outside.
        rim: Vertices of the face's rim.
        follow: How much each vertex of the hood moves with each vertex of the rim.
        blend: How the rim's skin colour goes on over the hood; rows sum to one.
        teeth: Upper and lower teeth about the mean face.
        teeth_triangles: Their triangles; those of the lower teeth name vertices behind the upper teeth's.
        upper_teeth: How many of the teeth's vertices are upper teeth.
    """

    model: MorphableModel
    vertices: Float32[np.ndarray, "hood 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    rim: Int32[np.ndarray, " rim"]
    follow: Float32[np.ndarray, "hood rim"]
    blend: Float32[np.ndarray, "hood rim"]
    teeth: Float32[np.ndarray, "teeth 3"]
    teeth_triangles: Int32[np.ndarray, "tiles 3"]
    upper_teeth: int

    def moved(self, geometry: Float32[np.ndarray, "vertices 3"]) -> Float32[np.ndarray, "hood 3"]:
        """Return the hood about a face of another shape."""
        shift = geometry[self.rim] - self.model.mean_geometry[self.rim]
        return self.vertices + self.follow @ shift

    def coloured(self, reflectance: Float32[np.ndarray, "vertices 3"]) -> Float32[np.ndarray, "hood 3"]:
        """Return the skin colour of the hood."""
        return self.blend @ reflectance[self.rim]


def build_head(model: MorphableModel) -> Head:
    """Build the hood of the open face model; takes seconds.

    Raises:
        FaceModelError: If the package that carries the MakeHuman data is not installed.
    """
    base = load_base_mesh()
    head = mean_head(base)
    surface = _hood(base, head)
    hood = np.asarray(surface.operator @ head)
    triangles = np.asarray(surface.triangles, np.int32)
    skin = model.triangles[model.triangle_part == model.part_names.index("skin")]
    loop = max(rim_loops(skin), key=len)
    rim = np.array(loop, np.int32)
    # The two meshes share the rim: its centroid tells where the face model's origin lies.
    border = np.concatenate([np.array(one) for one in rim_loops(triangles)])
    border = border[np.abs(_rim_function(hood[border] - head[NOSE_TIP])) < 0.05]
    origin = hood[border].mean(axis=0) - model.mean_geometry[rim].mean(axis=0)
    for _ in range(20):
        pairs = cKDTree(model.mean_geometry[rim]).query(hood[border] - origin)[1]
        origin = (hood[border] - model.mean_geometry[rim][pairs]).mean(axis=0)
    hood = hood - origin
    shift = model.mean_geometry[rim][pairs] - hood[border]
    follow, blend = _extend(hood, triangles, border, pairs, len(rim))
    drag = np.zeros((len(rim), 3))
    drag[pairs] = shift
    teeth, tiles, upper = _teeth(base, head - origin)
    return Head(
        model=model,
        vertices=(hood + follow @ drag).astype(np.float32),
        triangles=triangles,
        rim=rim,
        follow=follow,
        blend=blend,
        teeth=teeth.astype(np.float32),
        teeth_triangles=tiles,
        upper_teeth=upper,
    )


def _hood(base: BaseMesh, head: Float[np.ndarray, "19158 3"]) -> Surface:
    """Return the skin beyond the face's rim."""
    part = _face_parts(base, head)
    near = (np.abs(head[base.quads] - head[NOSE_TIP]) < EXTENT).all(axis=(1, 2))
    chosen = (base.group == "body") & near & (part != LID) & (part != MOUTH)
    operator, quads = catmull_clark(base.quads[chosen], len(head))
    uv = subdivide_corners(base.uv[chosen])
    halves = ([0, 1, 2], [0, 2, 3])
    surface = Surface(
        operator=csr_matrix(operator),
        triangles=np.concatenate([quads[:, half] for half in halves]),
        part=np.full(2 * len(quads), SKIN, np.uint8),
        uv=np.concatenate([uv[:, half] for half in halves]),
    )
    value = _rim_function(np.asarray(surface.operator @ head) - head[NOSE_TIP])
    surface = surface.clip(-value, SKIN)
    crown = int(np.asarray(surface.operator @ head)[:, 1].argmax())
    return surface.keep(surface.component(crown, np.ones(len(surface.part), bool))).compact()


def _extend(
    hood: Float[np.ndarray, "hood 3"],
    triangles: Int[np.ndarray, "triangles 3"],
    border: Int[np.ndarray, " border"],
    pairs: Int[np.ndarray, " border"],
    rim: int,
) -> tuple[Float32[np.ndarray, "hood rim"], Float32[np.ndarray, "hood rim"]]:
    """Extend values from the rim over the hood harmonically: displacements, which fade, and colours."""
    count = len(hood)
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    near = coo_matrix((np.ones(len(sides)), sides.T), shape=(count, count))
    near = ((near + near.T) > 0).astype(float)
    laplacian = (diags(np.asarray(near.sum(axis=1)).ravel()) - near).tocsr()
    known = np.zeros((count, rim))
    known[border, pairs] = 1
    free = np.setdiff1d(np.arange(count), border)
    answers = []
    for still in (np.where(hood[:, 1] < STILL, 1.0, 1e-4), np.full(count, 1e-7)):
        system = (laplacian + diags(still)).tocsr()
        inner = splu(system[free][:, free].tocsc())
        answer = known.copy()
        answer[free] = inner.solve(-(system[free][:, border] @ known[border]))
        answers.append(answer.astype(np.float32))
    return answers[0], answers[1]


def _teeth(
    base: BaseMesh, head: Float[np.ndarray, "19158 3"]
) -> tuple[Float[np.ndarray, "teeth 3"], Int32[np.ndarray, "tiles 3"], int]:
    """Return upper and lower teeth as one mesh, and how many vertices are upper ones."""
    rows, quads, total = [], [], 0
    for group in TEETH:
        own = base.quads[base.group == group]
        used, numbers = np.unique(own, return_inverse=True)
        rows.append(head[used])
        quads.append(numbers.reshape(-1, 4) + total)
        total += len(used)
    corners = np.concatenate(quads)
    tiles = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]]).astype(np.int32)
    return np.concatenate(rows), tiles, len(rows[0])
