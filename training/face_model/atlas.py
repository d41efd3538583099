"""Build the texture atlas: ``python -m training.face_model.atlas --output FILE``.

The skin and the lids keep MakeHuman's own layout, turned upright and scaled to fill the square. Its
islands of the mouth and the eyeballs are cut up by seams and lack what closes the mouth bag, so these are
flattened here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree

from inversefacenet.texture.atlas import UV_STEPS, FaceAtlas, mesh_digest
from training.face_model.surface import Surface, rim_loops
from training.face_model.template import EYE, EYE_AXIS, LID, MOUTH, PART_NAMES, SKIN, face_surface

DEFAULT_OUTPUT: Final = Path("inversefacenet/assets/face_atlas.npz")

Box = tuple[float, float, float, float]

SKIN_BOX: Final[Box] = (0.006, 0.16, 0.994, 0.994)
"""Left, bottom, right and top of the skin. Below the jaw there is room for the rest."""

EYE_BOX: Final[Box] = (0.006, 0.006, 0.166, 0.166)
LID_BOX: Final[Box] = (0.176, 0.006, 0.3, 0.146)
"""The islands of the subject's right eye; the left one's are their mirror images."""

MOUTH_BOX: Final[Box] = (0.315, 0.006, 0.685, 0.15)

WALL_SHARE: Final = 0.8
"""Size of the mouth bag's back wall in its island."""


def build_atlas() -> FaceAtlas:
    """Lay the template's islands out in the unit square."""
    surface, head = face_surface()
    points = np.asarray(surface.operator @ head)
    part = np.full(len(points), len(PART_NAMES), np.int64)
    np.minimum.at(part, surface.triangles.ravel(), np.repeat(surface.part.astype(np.int64), 3))
    vertex, triangles, island = _split(surface, part)
    mirror = _mirror(points[vertex], island)
    uv = np.zeros((len(vertex), 2))
    corner_uv = np.zeros((len(vertex), 2))
    corner_uv[triangles.ravel()] = surface.uv.reshape(-1, 2)
    right = points[vertex, 0] < 0

    # MakeHuman's face lies on its side, the forehead to the left.
    upright = np.stack([corner_uv[:, 1], -corner_uv[:, 0]], axis=1)
    skin = island == SKIN
    uv[skin] = _fitted(_symmetric(upright, skin, mirror)[skin], SKIN_BOX, stretched=True)
    uv[island == MOUTH] = _fitted(
        _symmetric(_flat_bag(triangles[surface.part == MOUTH], points[vertex]), island == MOUTH, mirror)[
            island == MOUTH
        ],
        MOUTH_BOX,
        stretched=True,
    )
    eye, lid = (island == EYE) & right, (island == LID) & right
    uv[eye] = _fitted(_flat_eye(points[vertex[eye]]), EYE_BOX)
    uv[lid] = _fitted(corner_uv[lid], LID_BOX)
    for mine in (eye, lid):
        uv[mirror[mine]] = uv[mine] * [-1, 1] + [1, 0]
    # Rounded on one side and mirrored exactly to the other.
    uv = np.rint(uv * UV_STEPS) / UV_STEPS
    uv[~right] = (uv[mirror] * [-1, 1] + [1, 0])[~right]
    uv[mirror == np.arange(len(uv)), 0] = 0.5
    return FaceAtlas(
        uv=uv.astype(np.float32),
        vertex=vertex.astype(np.int32),
        triangles=triangles.astype(np.int32),
        mesh_digest=mesh_digest(surface.triangles.astype(np.int32)),
    )


def _split(
    surface: Surface, part: Int[np.ndarray, " vertices"]
) -> tuple[Int[np.ndarray, " split"], Int[np.ndarray, "triangles 3"], Int[np.ndarray, " split"]]:
    """Give each island vertices of its own.

    Returns:
        The vertex that each new one was, the triangles over the new ones, and the new ones' islands.
    """
    count = len(part)
    corner_part = np.repeat(surface.part.astype(np.int64), 3)
    key = surface.triangles.ravel() * len(PART_NAMES) + corner_part
    foreign = np.unique(key[corner_part != part[surface.triangles.ravel()]])
    number = np.full(count * len(PART_NAMES), -1)
    number[np.arange(count) * len(PART_NAMES) + part] = np.arange(count)
    number[foreign] = count + np.arange(len(foreign))
    vertex = np.concatenate([np.arange(count), foreign // len(PART_NAMES)])
    island = np.concatenate([part, foreign % len(PART_NAMES)])
    return vertex, number[key].reshape(-1, 3), island


def _mirror(
    points: Float[np.ndarray, "split 3"], island: Int[np.ndarray, " split"]
) -> Int[np.ndarray, " split"]:
    """Return each vertex's partner on the other side: the base mesh is symmetric."""
    place = np.concatenate([points, 1000.0 * island[:, None]], axis=1)
    distance, partner = cKDTree(place).query(place * [-1, 1, 1, 1])
    if distance.max() > 1e-6 or (partner[partner] != np.arange(len(partner))).any():
        raise ValueError("The template isn't symmetric: its atlas can't be.")
    return np.asarray(partner)


def _symmetric(
    uv: Float[np.ndarray, "split 2"], mine: Bool[np.ndarray, " split"], mirror: Int[np.ndarray, " split"]
) -> Float64[np.ndarray, "split 2"]:
    """Average a layout with its mirror image about u = 0."""
    middle = (uv[mine, 0].min() + uv[mine, 0].max()) / 2
    shifted = uv - [middle, 0]
    return np.asarray((shifted + shifted[mirror] * [-1, 1]) / 2)


def _fitted(
    uv: Float[np.ndarray, "vertices 2"], box: Box, stretched: bool = False
) -> Float64[np.ndarray, "vertices 2"]:
    """Fit a layout into the middle of a box, each direction by itself if it may be stretched."""
    low, high = uv.min(axis=0), uv.max(axis=0)
    corner, opposite = np.array(box[:2]), np.array(box[2:])
    scale = (opposite - corner) / (high - low)
    if not stretched:
        scale = np.full(2, scale.min())
    return np.asarray((uv - (low + high) / 2) * scale + (corner + opposite) / 2)


def _flat_eye(points: Float[np.ndarray, "vertices 3"]) -> Float64[np.ndarray, "vertices 2"]:
    """Flatten the front of the subject's right eyeball: distance and direction from its pole."""
    axis = np.array([-np.sin(EYE_AXIS), 0, np.cos(EYE_AXIS)])
    # The kept half ends at the ball's centre.
    across = points - points @ axis[:, None] * axis
    centre = (across.min(axis=0) + across.max(axis=0)) / 2 + axis * (points @ axis).min()
    offset = points - centre
    side = np.array([axis[2], 0, -axis[0]])
    x, y, depth = offset @ side, offset[:, 1], offset @ axis
    radius = np.hypot(x, y)
    angle = np.arctan2(radius, depth)
    return np.stack([x, y], axis=1) * (angle / np.maximum(radius, 1e-9))[:, None]


def _flat_bag(
    triangles: Int[np.ndarray, "triangles 3"], points: Float[np.ndarray, "split 3"]
) -> Float64[np.ndarray, "split 2"]:
    """Flatten the mouth bag onto a disc (Tutte 1963).

    The lips' rim is the circle; the wall at the back, which is what an open mouth shows, is a disc in the
    middle; the sides lie between.
    """
    rim, lip_angle = _lip_angles(triangles, points)
    # The wall is a fan around its middle.
    middle = np.bincount(triangles.ravel()).argmax()
    wall = np.setdiff1d(triangles[(triangles == middle).any(axis=1)], middle)
    weights = _mean_value_weights(triangles, points)
    disc = np.zeros((len(points), 2))
    disc[rim] = np.stack([np.cos(lip_angle), np.sin(lip_angle)], axis=1)
    _relax(disc, weights, np.setdiff1d(triangles, rim))

    # In that layout the wall is a speck. Solved for again as radius and angle, the sides leave it room.
    offset = disc - disc[middle]
    rough = np.arctan2(offset[:, 1], offset[:, 0])
    polar = np.zeros((len(points), 2))
    polar[rim] = np.stack([np.ones(len(rim)), rough[rim] + _wrapped(lip_angle - rough[rim])], axis=1)
    toward = (points[wall, :2] - points[middle, :2]) / np.ptp(points[wall, :2], axis=0)
    wall_angle = np.arctan2(toward[:, 1], toward[:, 0])
    polar[wall] = np.stack(
        [np.full(len(wall), WALL_SHARE), rough[wall] + _wrapped(wall_angle - rough[wall])], axis=1
    )
    # Where a side of a triangle crosses the angle's jump, its two ends count a turn apart.
    pairs = weights.tocoo()
    turns = np.rint((rough[pairs.row] - rough[pairs.col]) / (2 * np.pi)) * 2 * np.pi
    jump = np.zeros((len(points), 2))
    jump[:, 1] = np.bincount(pairs.row, pairs.data * turns, len(points))
    _relax(polar, weights, np.setdiff1d(triangles, np.concatenate([rim, wall, [middle]])), jump)
    return polar[:, :1] * np.stack([np.cos(polar[:, 1]), np.sin(polar[:, 1])], axis=1)


def _wrapped(angle: Float[np.ndarray, " angles"]) -> Float64[np.ndarray, " angles"]:
    return np.asarray(angle - np.rint(angle / (2 * np.pi)) * 2 * np.pi)


def _relax(
    layout: Float[np.ndarray, "split 2"],
    weights: csr_matrix,
    free: Int[np.ndarray, " free"],
    jump: Float[np.ndarray, "split 2"] | None = None,
) -> None:
    """Move each free vertex to the weighted mean of its neighbours, in place.

    Args:
        layout: The vertices; those that aren't free stay.
        weights: Of each vertex's neighbours.
        free: The vertices that move; they must start at 0.
        jump: Added to each vertex's weighted sum.
    """
    total = np.asarray(weights.sum(axis=1)).ravel()[free]
    sums = weights[free] @ layout + (0 if jump is None else jump[free])
    layout[free] = spsolve((diags(total) - weights[free][:, free]).tocsc(), sums)


def _lip_angles(
    triangles: Int[np.ndarray, "triangles 3"], points: Float[np.ndarray, "split 3"]
) -> tuple[Int[np.ndarray, " rim"], Float64[np.ndarray, " rim"]]:
    """Spread the mouth's rim over a circle by its length, the corners of the mouth at left and right."""
    (loop,) = rim_loops(triangles)
    rim = np.array(loop)
    rim = np.roll(rim, -int(points[rim, 0].argmin()))
    other = int(points[rim, 0].argmax())
    length = np.linalg.norm(np.diff(points[np.append(rim, rim[0])], axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(length)])
    halves = np.where(
        np.arange(len(rim)) < other,
        along[:-1] / along[other],
        1 + (along[:-1] - along[other]) / (along[-1] - along[other]),
    )
    # Seen from outside, the rim runs counter-clockwise in the direction of the triangles' own sides.
    return rim, np.pi * (1 + halves)


def _mean_value_weights(
    triangles: Int[np.ndarray, "triangles 3"], points: Float[np.ndarray, "split 3"]
) -> csr_matrix:
    """Return the mean value weights of each vertex's neighbours (Floater 2003), which are positive."""
    rows, columns, values = [], [], []
    for corner in range(3):
        a, b, c = (triangles[:, (corner + k) % 3] for k in range(3))
        to_b, to_c = points[b] - points[a], points[c] - points[a]
        cross = np.linalg.norm(np.cross(to_b, to_c), axis=1)
        half_tangent = np.tan(np.arctan2(cross, (to_b * to_c).sum(axis=1)) / 2)
        for end, offset in ((b, to_b), (c, to_c)):
            rows.append(a)
            columns.append(end)
            values.append(half_tangent / np.linalg.norm(offset, axis=1))
    ends = (np.concatenate(rows), np.concatenate(columns))
    return coo_matrix((np.concatenate(values), ends), shape=(len(points), len(points))).tocsr()


def main() -> None:
    """Build the atlas and save it."""
    parser = argparse.ArgumentParser(prog="python -m training.face_model.atlas", description=__doc__)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    output: Path = parser.parse_args().output
    atlas = build_atlas()
    content = atlas.to_bytes()
    output.write_bytes(content)
    print(f"{output}: {len(atlas.uv)} texture coordinates, {len(content) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
