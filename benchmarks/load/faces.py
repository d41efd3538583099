"""Photos of nobody: rendered faces over noise, each different, with their landmarks known."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from inversefacenet.crop import masked_crop
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import NATURAL

BORDER: Final = 40


@dataclass(frozen=True)
class RenderedFace:
    """One face.

    Attributes:
        crop: The masked crop, as the network takes it.
        photo: The face in the middle of noise.
        landmarks: Its 68 points in the photo's pixels.
    """

    crop: UInt8[np.ndarray, "240 240 3"]
    photo: UInt8[np.ndarray, "height width 3"]
    landmarks: Float32[np.ndarray, "68 2"]


def rendered_faces(count: int, seed: int) -> Iterator[RenderedFace]:
    """Render faces of random parameters, the same for the same seed."""
    rng = np.random.default_rng(seed)
    model = MorphableModel.load_default()
    for theta in NATURAL.sample(rng, count, model):
        rendering = render(model, Parameters.from_vector(theta))
        height, width = (edge + 2 * BORDER for edge in rendering.image.shape[:2])
        photo = rng.integers(60, 200, (height, width, 3), np.uint8)
        inside = photo[BORDER:-BORDER, BORDER:-BORDER]
        inside[rendering.mask] = rendering.image[rendering.mask]
        crop = masked_crop(rendering.image, rendering.landmarks).image
        yield RenderedFace(crop, photo, rendering.landmarks + np.float32(BORDER))


def image_file(pixels: UInt8[np.ndarray, "height width 3"], form: str = "PNG") -> bytes:
    """Return a picture as a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()
