"""What the open face model knows and others don't say, carried over: points, strips, reflectance.

The open face model's landmarks are moved onto the other model's by a similarity, and what is left between
them is spread by a smooth warp (polyharmonic splines of the distance). What lies between landmarks on the
one face then lies between the same ones on the other, and the nearest vertex is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Float, Float64, Int32, Int64

from inversefacenet.camera import JAW_POINTS
from inversefacenet.errors import FaceModelError
from inversefacenet.importers.nearest import nearest, nearest_few
from inversefacenet.importers.raw_model import RawModel
from inversefacenet.morphable_model import MorphableModel

FEWEST: Final = 8
"""Known landmarks below which no warp is trusted."""

SMOOTHING: Final = 1.0
"""How much of a landmark's own offset, in millimetres, the warp may leave out."""

BLENDED: Final = 3


@dataclass(frozen=True)
class Warp:
    """A similarity and a spline from one face onto another.

    Attributes:
        scale: Factor.
        rotation: Rotation.
        shift: Shift after both.
        anchors: Points, after the similarity, at which the rest is known.
        weights: The spline's weights.
        constant: Its constant.
    """

    scale: float
    rotation: Float64[np.ndarray, "3 3"]
    shift: Float64[np.ndarray, "3"]
    anchors: Float64[np.ndarray, "anchors 3"]
    weights: Float64[np.ndarray, "anchors 3"]
    constant: Float64[np.ndarray, "3"]

    @classmethod
    def fit(cls, source: Float[np.ndarray, "anchors 3"], target: Float[np.ndarray, "anchors 3"]) -> Warp:
        """Fit the warp that takes the source's points to the target's."""
        source, target = source.astype(np.float64), target.astype(np.float64)
        a, b = source - source.mean(axis=0), target - target.mean(axis=0)
        # Umeyama 1991.
        u, values, vt = np.linalg.svd(b.T @ a)
        flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
        rotation = (u * flip) @ vt
        scale = float((values * flip).sum() / (a**2).sum())
        shift = target.mean(axis=0) - scale * source.mean(axis=0) @ rotation.T
        anchors = scale * source @ rotation.T + shift
        count = len(anchors)
        # -r is conditionally positive definite: with the constant beside it the system has one solution.
        system = np.zeros((count + 1, count + 1))
        system[:count, :count] = -_distances(anchors, anchors) + SMOOTHING * np.eye(count)
        system[:count, count] = system[count, :count] = 1
        solution = np.linalg.solve(system, np.concatenate([target - anchors, np.zeros((1, 3))]))
        return cls(scale, rotation, shift, anchors, solution[:count], solution[count])

    def __call__(self, points: Float[np.ndarray, "points 3"]) -> Float64[np.ndarray, "points 3"]:
        """Move points."""
        moved = self.scale * points.astype(np.float64) @ self.rotation.T + self.shift
        return moved + self.constant - _distances(moved, self.anchors) @ self.weights


def _distances(
    points: Float64[np.ndarray, "points 3"], targets: Float64[np.ndarray, "targets 3"]
) -> Float64[np.ndarray, "points targets"]:
    return np.linalg.norm(points[:, None] - targets[None], axis=2)


def warp_onto(model: RawModel, reference: MorphableModel) -> Warp:
    """Return the warp from the reference onto the model, by the landmarks that the model knows.

    Raises:
        FaceModelError: If it knows too few.
    """
    known = model.landmarks >= 0
    if known.sum() < FEWEST:
        raise FaceModelError(
            f"{model.name}: only {known.sum()} of the 68 landmarks are known, {FEWEST} are needed: name them "
            "with --landmarks."
        )
    places = reference.mean_geometry[reference.landmarks].astype(np.float64)
    between = places[model.between[:, :2]].mean(axis=1)
    vertices = np.append(model.landmarks[known], model.between[:, 2])
    return Warp.fit(np.concatenate([places[known], between]), model.geometry[vertices])


def complete_landmarks(model: RawModel, reference: MorphableModel) -> RawModel:
    """Add the landmarks that nobody has published for a model, where the reference has them.

    Raises:
        FaceModelError: If too few are known.
    """
    missing = model.landmarks < 0
    if not missing.any():
        return model
    warp = warp_onto(model, reference)
    skin = np.flatnonzero(model.skin)
    landmarks = model.landmarks.copy()
    places = warp(reference.mean_geometry[reference.landmarks[missing]])
    landmarks[missing] = skin[nearest(places, model.geometry[skin])]
    return replace(model, landmarks=landmarks)


def contour_strips(model: RawModel, reference: MorphableModel) -> Int32[np.ndarray, "17 candidates"]:
    """Return the vertices along which jaw points slide, where the reference has them; itself comes first."""
    warp = warp_onto(model, reference)
    skin = np.flatnonzero(model.skin)
    strips = reference.contour_candidates[:, 1:]
    places = warp(reference.mean_geometry[strips.ravel()])
    found = skin[nearest(places, model.geometry[skin])].reshape(strips.shape)
    # Where the reference's strip is padded by its own first vertex, so is this one.
    padded = np.where(
        strips == reference.contour_candidates[:, :1], model.landmarks[:JAW_POINTS, None], found
    )
    return np.concatenate([model.landmarks[:JAW_POINTS, None], padded], axis=1).astype(np.int32)


def reflectance_of(model: RawModel, reference: MorphableModel) -> RawModel:
    """Give a model without colours the reference's: at each vertex the blend of the nearest few's."""
    warp = warp_onto(model, reference)
    index, share = (
        np.zeros((len(model.geometry), BLENDED), np.int64),
        np.zeros((len(model.geometry), BLENDED)),
    )
    warped = warp(reference.mean_geometry)
    part = _vertex_part(model)
    for number, name in enumerate(model.part_names):
        mine = np.flatnonzero(part == number)
        theirs = np.flatnonzero(reference.vertex_part == reference.part_names.index(name))
        if len(mine) == 0:
            continue
        few = theirs[nearest_few(model.geometry[mine], warped[theirs], BLENDED)]
        gap = np.linalg.norm(warped[few] - model.geometry[mine][:, None], axis=2)
        weight = 1 / np.maximum(gap, 0.1)
        index[mine], share[mine] = few, weight / weight.sum(axis=1, keepdims=True)
    mean = np.einsum("vk,vkc->vc", share, reference.mean_reflectance[index].astype(np.float64))
    columns = (reference.reflectance_basis * reference.reflectance_sigma).reshape(
        reference.vertex_count, 3, -1
    )
    blended = np.einsum("vk,vkcn->vcn", share.astype(np.float32), columns[index], optimize=True)
    return replace(model, reflectance_mean=mean, reflectance=blended.reshape(3 * len(mean), -1))


def _vertex_part(model: RawModel) -> Int64[np.ndarray, "vertices"]:
    """Return each vertex's part; between two parts, the skin's."""
    part = np.full(len(model.geometry), len(model.part_names), np.int64)
    for corner in range(3):
        np.minimum.at(part, model.triangles[:, corner], model.triangle_part.astype(np.int64))
    return part
