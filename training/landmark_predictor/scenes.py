"""Rendered heads with their labels: random faces with hair, neck and clothes, in front of something.

Convention:
    Pictures are linear RGB, squares of `SIDE` pixels, not clipped; labels are 68 points in continuous pixels,
    pixel centres at half integers. The points' bounding box is in the middle of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32

from inversefacenet.camera import Placement, fit_placement, landmark_points, rotation_matrix
from inversefacenet.crop import landmarks66
from inversefacenet.illumination import irradiance
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import interpolate, rasterize, vertex_normals
from inversefacenet.rendering import screen_points
from inversefacenet.sampling import NATURAL, Distribution
from training.face_model.hair_painting import paint_beard
from training.face_model.soft_shapes import smoothstep
from training.landmark_predictor.hair import draw_hair, hair_colour
from training.landmark_predictor.head import Head

SIDE: Final = 288
FACE: Final = (100.0, 128.0)
"""Range of the longer side of the points' bounding box in pixels."""

HEADS: Final[Distribution] = replace(
    NATURAL, yaw=50.0, pitch=28.0, roll=14.0, frontal_share=0.5, shape_sd=1.15, expression_amplitude=1.1
)

NECK: Final = np.array([0.0, -95.0, -95.0])
"""Where the head turns on the neck, in model space."""

NECK_HEIGHTS: Final = (-170.0, -85.0)
"""Below the first the body doesn't turn with the head, above the second all does."""

_BEARD_SHARE: Final = 0.22
_CLOTHES_SHARE: Final = 0.9


@dataclass(frozen=True)
class Scene:
    """One rendered head.

    Attributes:
        linear: Linear RGB.
        covered: Where there is a head; the rest is to be filled.
        points: The labels.
        yaw: Degrees.
    """

    linear: Float32[np.ndarray, "288 288 3"]
    covered: Bool[np.ndarray, "288 288"]
    points: Float32[np.ndarray, "68 2"]
    yaw: float


def draw_scene(head: Head, parameters: Parameters, rng: np.random.Generator) -> Scene:
    """Dress a face with a head and render it.

    Args:
        head: Whose model names the labels' points (`points.annotated`).
        parameters: The face.
        rng: Draws everything else.
    """
    model = head.model
    geometry = model.geometry(parameters.shape, parameters.expression)
    colour = hair_colour(rng)
    face_skin = model.reflectance(parameters.reflectance)
    hood = head.moved(geometry)
    hood_skin = _shaded_neck(head, np.clip(head.coloured(face_skin), 0.005, 1), hood, rng)
    face_skin = _bearded(model, face_skin, colour, rng)
    meshes = [
        (geometry, model.triangles, face_skin),
        (hood, head.triangles, _clothed(hood, hood_skin, rng)),
        _teeth(head, geometry, parameters, rng),
    ]
    hair = draw_hair(rng, colour)
    if hair is not None:
        size = np.ptp(geometry[:, 0]) / np.ptp(model.mean_geometry[:, 0])
        meshes.append((hair.vertices * np.float32(size), hair.triangles, hair.reflectance))
    rotation = rotation_matrix(parameters.rotation).astype(np.float32)
    body = _body_rotation(parameters, rng)
    posed = [_posed(vertices, rotation, body) for vertices, _, _ in meshes]
    # The face keeps to its own pose: labels are its projection.
    posed[0] = geometry @ rotation.T
    points = landmark_points(model, posed[0], float(parameters.rotation[2]))
    face = rng.uniform(*FACE)
    border = (SIDE - face) / 2
    placement = fit_placement(landmarks66(points), 1, margin=0).then(Placement(face, (border, border)))
    starts = np.cumsum([0] + [len(vertices) for vertices in posed])
    triangles = np.concatenate(
        [mesh[1] + np.int32(start) for mesh, start in zip(meshes, starts, strict=False)]
    )
    vertices = np.concatenate(posed).astype(np.float32)
    skin = np.concatenate([mesh[2] for mesh in meshes])
    colours = skin * irradiance(vertex_normals(vertices, triangles), parameters.illumination)
    fragments = rasterize(screen_points(vertices, placement), triangles, SIDE, SIDE)
    return Scene(
        linear=interpolate(fragments, triangles, colours.astype(np.float32)),
        covered=fragments.mask,
        points=placement.apply(points).astype(np.float32),
        yaw=float(np.degrees(parameters.rotation[0])),
    )


def _body_rotation(parameters: Parameters, rng: np.random.Generator) -> Float32[np.ndarray, "3 3"]:
    """Draw how the body is turned: a part of the head's way, or its own."""
    share = rng.uniform(0, 1, 3) * (1.0, 0.5, 0.8)
    angles = share * parameters.rotation + rng.normal(0, 0.08, 3)
    return rotation_matrix(angles).astype(np.float32)


def _posed(
    vertices: Float32[np.ndarray, "n 3"],
    head: Float32[np.ndarray, "3 3"],
    body: Float32[np.ndarray, "3 3"],
) -> Float32[np.ndarray, "n 3"]:
    """Turn what is above the neck with the head and what is below with the body."""
    neck = NECK.astype(np.float32)
    share = smoothstep(vertices[:, 1].astype(np.float64), *NECK_HEIGHTS)[:, None].astype(np.float32)
    return share * (vertices @ head.T) + (1 - share) * (head @ neck + (vertices - neck) @ body.T)


def _shaded_neck(
    head: Head,
    skin: Float32[np.ndarray, "hood 3"],
    hood: Float32[np.ndarray, "hood 3"],
    rng: np.random.Generator,
) -> Float32[np.ndarray, "hood 3"]:
    """Darken what the chin keeps light from; the smooth light knows no shadows."""
    chin = head.model.mean_geometry[head.model.landmarks[8], 1]
    below = smoothstep(chin + 12 - hood[:, 1], 0, 14) * np.exp(-np.clip(chin - hood[:, 1], 0, None) / 45)
    front = smoothstep(hood[:, 2], -90, -40)
    return np.asarray(skin * (1 - rng.uniform(0.05, 0.75) * below * front)[:, None], np.float32)


def _clothed(
    hood: Float32[np.ndarray, "hood 3"], skin: Float32[np.ndarray, "hood 3"], rng: np.random.Generator
) -> Float32[np.ndarray, "hood 3"]:
    """Paint clothes below a neckline."""
    if rng.random() > _CLOTHES_SHARE:
        return skin
    line = rng.uniform(-200, -115) + rng.uniform(-0.5, 0.1) * hood[:, 2]
    opening = rng.uniform(0, 90) * np.exp(-np.abs(hood[:, 0]) / rng.uniform(10, 40)) * (hood[:, 2] > -60)
    cloth = rng.uniform(0, 1) ** 2 * (1 + rng.uniform(-0.8, 0.4, 3))
    pattern = 1 + rng.choice([0.0, 0.4]) * np.sign(np.sin(hood[:, 1] / rng.uniform(2, 12)))
    worn = hood[:, 1] < line - opening
    return np.where(worn[:, None], np.clip(cloth * pattern[:, None], 0.01, 0.95), skin).astype(np.float32)


def _bearded(
    model: MorphableModel,
    skin: Float32[np.ndarray, "vertices 3"],
    colour: Float[np.ndarray, " 3"],
    rng: np.random.Generator,
) -> Float32[np.ndarray, "vertices 3"]:
    """Grow moustache, goatee and jaw beard on some faces; the model's own beards are mere stubble."""
    if rng.random() > _BEARD_SHARE:
        return skin
    mean = model.mean_geometry.astype(np.float64)
    parts = paint_beard(mean, mean[model.landmarks])
    amounts = rng.uniform(0.3, 1.0) * (rng.random(3) < (0.8, 0.8, 0.6))
    skin_only = model.vertex_part == model.part_names.index("skin")
    cover = sum(part * amount for part, amount in zip(parts, amounts, strict=True)) * skin_only
    cover = np.clip(cover * rng.normal(1, 0.15, len(skin)), 0, 1)[:, None]
    return np.asarray(skin * (1 - cover) + cover * colour * 1.2, np.float32)


def _teeth(
    head: Head,
    geometry: Float32[np.ndarray, "vertices 3"],
    parameters: Parameters,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place the teeth behind the lips: the upper ones by the skull, the lower ones by the chin."""
    model = head.model
    marks = model.landmarks
    still = model.geometry(parameters.shape, np.zeros_like(parameters.expression))
    upper = (still - model.mean_geometry)[marks[[33, 51]]].mean(axis=0)
    lower = upper + (geometry - still)[marks[[7, 8, 9]]].mean(axis=0)
    teeth = head.teeth.copy()
    teeth[: head.upper_teeth] += upper
    teeth[head.upper_teeth :] += lower
    middle = teeth.mean(axis=0)
    teeth = (teeth - middle) * (0.85, 1, 0.9) + middle - (0, 0, rng.uniform(2, 5))
    white = rng.uniform(0.35, 0.75) * np.array([1.0, 0.95, 0.85])
    # Dark between and beside the teeth, and mostly dark where somebody shows none.
    depth = smoothstep(teeth[:, 2], teeth[:, 2].max() - 22, teeth[:, 2].max() - 4)
    shade = (0.15 + 0.85 * depth) * (1.0 if rng.random() < 0.85 else 0.05)
    return teeth.astype(np.float32), head.teeth_triangles, (white * shade[:, None]).astype(np.float32)
