"""Photos of textured faces, drawn and read by slow plain code of their own."""

from __future__ import annotations

import numpy as np

from inversefacenet.camera import Placement
from inversefacenet.crop import crop_face
from inversefacenet.landmarks import Face
from inversefacenet.metrics import measure
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.reconstruction import Reconstruction
from inversefacenet.rendering import render
from inversefacenet.texture import load_atlas

WIDTH, HEIGHT = 420, 500
SCALE = 1.75 * 700
"""Pixels at unit distance: 1.75 pixels a millimetre."""


def at(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Look a picture up at continuous pixels, bilinearly."""
    x, y = (
        np.clip(np.asarray(v, float) - 0.5, 0, n - 1)
        for v, n in zip((x, y), picture.shape[1::-1], strict=True)
    )
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    right, below = np.minimum(column + 1, picture.shape[1] - 1), np.minimum(row + 1, picture.shape[0] - 1)
    a, b = (x - column)[..., None], (y - row)[..., None]
    values = picture.astype(float)
    upper = values[row, column] * (1 - a) + values[row, right] * a
    return upper * (1 - b) + (values[below, column] * (1 - a) + values[below, right] * a) * b


def pattern(size: int = 1024) -> np.ndarray:
    """Return an sRGB texture of soft spots on skin colour, its own mirror image."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    x = np.abs(x - 0.5)
    spots = np.sin(40 * x) * np.sin(37 * y)
    tint = np.stack([np.cos(23 * x), np.sin(21 * y), np.cos(17 * x)], axis=-1)
    return np.clip(np.array([170, 135, 115]) + 12 * spots[..., None] + 3 * tint, 0, 255).astype(np.uint8)


def parameters(yaw: float = 0.0, pitch: float = 0.0) -> Parameters:
    """Return a face with an expression in plain frontal light."""
    vector = Parameters.neutral().vector()
    vector[:2] = yaw, pitch
    vector[3:20] = np.random.default_rng(5).normal(0, 0.5, 17)
    return Parameters.from_vector(vector)


def photo_of(
    model: MorphableModel,
    face: Parameters,
    texture: np.ndarray | None,
    *,
    background: tuple[int, int, int] = (40, 90, 200),
    scale: float = 1.0,
    shift: tuple[float, float] = (0, 0),
) -> tuple[np.ndarray, Reconstruction]:
    """Photograph a face that wears a texture; without one it is the model's own skin.

    Returns:
        The photo and what a perfect network would have made of it.
    """
    shape = (round(HEIGHT * scale), round(WIDTH * scale))
    placement = Placement(SCALE * scale, ((WIDTH / 2 + shift[0]) * scale, (HEIGHT / 2 + shift[1]) * scale))
    drawn = render(model, face, placement=placement, shape=shape)
    seen = drawn.mask
    if texture is None:
        colours = drawn.image[seen].astype(float)
    else:
        atlas = load_atlas(model)
        corners = atlas.uv[atlas.triangles[drawn.fragments.triangle[seen]]].astype(float)
        uv = (corners * drawn.fragments.barycentric[seen][..., None]).sum(axis=1)
        colours = at(texture, uv[:, 0] * texture.shape[1], (1 - uv[:, 1]) * texture.shape[0])
    photo = np.empty((*shape, 3), np.uint8)
    photo[:] = background
    photo[seen] = np.rint(colours)
    return photo, reconstruction_of(model, face, photo, drawn.landmarks)


def reconstruction_of(
    model: MorphableModel, face: Parameters, photo: np.ndarray, landmarks: np.ndarray
) -> Reconstruction:
    """Return the reconstruction that a perfect network makes."""
    crop, rendering = crop_face(photo, landmarks), render(model, face)
    quality = measure(crop, rendering)
    return Reconstruction(Face.known(landmarks), crop, face, model, rendering, quality)
