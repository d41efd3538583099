"""Faces in profile: the photo's own turned by its reconstruction, and rendered ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageFilter

from inversefacenet.camera import Placement, fit_placement, landmark_points, project, rotation_matrix
from inversefacenet.colour import srgb_decode, to_uint8
from inversefacenet.crop import landmarks66
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import Fragments, interpolate
from inversefacenet.rendering import render
from inversefacenet.sampling import DISTRIBUTIONS
from training.failures.drawing import any_colour, hair_colour, texture
from training.failures.subject import Case, Generator, Maker, Photo, Subject


def backdrop(subject: Subject, generator: Generator) -> Photo:
    """Return the photo with its large face gone: a corner enlarged, or a plain surface."""
    height, width = subject.image.shape[:2]
    if generator.random() < 0.5:
        return texture(generator, height, width, any_colour(generator)).astype(np.uint8)
    left, top, right, _ = (int(edge) for edge in subject.face.box)
    strips = [subject.image[:, : max(left - 8, 8)], subject.image[:, min(right + 8, width - 8) :]]
    strip = strips[int(generator.integers(2))] if top < height else subject.image
    enlarged = Image.fromarray(np.ascontiguousarray(strip)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(enlarged)


def _profile(turned: bool) -> Maker:
    """Make a kind of a face in profile: the photo's own face turned, or a rendered one."""

    def make(subject: Subject, generator: Generator) -> Case:
        yaw = generator.choice([-1, 1]) * math.radians(generator.uniform(55, 88))
        vector = subject.parameters.vector()
        if not turned:
            vector = DISTRIBUTIONS["natural"].sample(generator, 1, subject.model)[0]
        before = Parameters.from_vector(vector)
        vector = vector.copy()
        vector[:3] = (yaw, generator.uniform(-0.25, 0.25), generator.uniform(-0.2, 0.2))
        after = Parameters.from_vector(vector)
        geometry = subject.model.geometry(before.shape, before.expression)
        rotated = geometry @ rotation_matrix(after.rotation.astype(np.float64)).T.astype(np.float32)
        left, top, right, bottom = subject.face.box
        side = max(right - left, bottom - top) * generator.uniform(0.9, 1.15)
        own = fit_placement(landmarks66(landmark_points(subject.model, rotated, float(vector[2]))), 100, 0)
        shift = (own.offset[0] * side / 100, own.offset[1] * side / 100)
        placement = Placement(own.scale * side / 100, (left + shift[0], top + shift[1]))
        height, width = subject.image.shape[:2]
        rendering = render(subject.model, after, placement=placement, shape=(height, width))
        picture = rendering.image
        if turned:
            picture = _retextured(subject, rendering.fragments, before)
        seen = Image.fromarray((255 * rendering.mask).astype(np.uint8))
        opacity = np.asarray(seen.filter(ImageFilter.GaussianBlur(0.8)), np.float32)[..., None] / 255
        image = np.clip(backdrop(subject, generator) * (1 - opacity) + picture * opacity, 0, 255)
        box = (left, top, left + side, top + side)
        return Case(_with_head(image.astype(np.uint8), rendering.mask, generator), known=box)

    return make


def _retextured(subject: Subject, fragments: Fragments, before: Parameters) -> Photo:
    """Draw the turned face in the colours that the photo shows at each vertex."""
    model = subject.model
    vertices = model.geometry(before.shape, before.expression) @ rotation_matrix(before.rotation).T.astype(
        np.float32
    )
    points = subject.placement.apply(project(vertices))
    height, width = subject.image.shape[:2]
    columns = np.clip(points[:, 0], 0, width - 1).astype(int)
    rows = np.clip(points[:, 1], 0, height - 1).astype(int)
    colours = srgb_decode(subject.image[rows, columns] / np.float32(255)).astype(np.float32)
    return to_uint8(interpolate(fragments, model.triangles, colours))


def _with_head(image: Photo, face: Bool[np.ndarray, "height width"], generator: Generator) -> Photo:
    """Put hair behind a rendered face, which has neither a back of the head nor hair."""
    rows, columns = np.nonzero(face)
    if rows.size == 0:
        return image
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    wide, tall = 0.62 * (right - left) + 8, 0.62 * (bottom - top)
    oval = ((x - (left + right) / 2) / wide) ** 2 + ((y - (0.55 * top + 0.45 * bottom)) / tall) ** 2 < 1
    hair = texture(generator, height, width, hair_colour(generator))
    return np.where((oval & ~face)[..., None], hair, image).astype(np.uint8)


PROFILES: Final[Mapping[str, Maker]] = MappingProxyType(
    {"profile-turned": _profile(turned=True), "profile-rendered": _profile(turned=False)}
)
