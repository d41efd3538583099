"""Round things before a face, in the face's own light: what makes a hand look like one.

A thing is a height over the photo, in photo pixels towards the viewer. Its slopes give normals, the light of
the face's reconstruction (Kim et al. 2018, Eq. 4) shades them, and what lies behind is darkened beside it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageFilter

from inversefacenet.colour import srgb_decode, srgb_encode
from inversefacenet.illumination import irradiance
from training.failures.subject import Generator, Photo, Subject

_DIMMEST: Final = 0.05  # irradiance that a reflectance is divided by at least


class Solid:
    """A height over the photo that round limbs are added to; NaN where there is nothing."""

    def __init__(self, subject: Subject) -> None:
        """Start empty."""
        self.subject = subject
        rows, columns = subject.image.shape[:2]
        self._y, self._x = np.mgrid[0:rows, 0:columns] + 0.5
        self.height = np.full((rows, columns), -np.inf)
        self._outside = np.full((rows, columns), np.inf)

    def limb(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        thickness: tuple[float, float],
        lift: float = 0.0,
        flat: float = 1.0,
    ) -> None:
        """Add a limb with round ends, given in photo pixels.

        Args:
            start: Where its axis begins.
            end: Where it ends.
            thickness: Radius at the beginning and at the end.
            lift: How far its axis lies before the others'.
            flat: Its depth over its width.
        """
        along = np.subtract(end, start)
        length = max(float(along @ along), 1e-6)
        t = np.clip(((self._x - start[0]) * along[0] + (self._y - start[1]) * along[1]) / length, 0, 1)
        away = np.hypot(self._x - start[0] - t * along[0], self._y - start[1] - t * along[1])
        radius = thickness[0] + t * (thickness[1] - thickness[0])
        round_ = flat * np.sqrt(np.maximum(radius**2 - away**2, 0)) + lift
        self.height = np.where(away < radius + 1, np.maximum(self.height, round_), self.height)
        self._outside = np.minimum(self._outside, away - radius)

    def opacity(self, softness: float = 0.7) -> Float[np.ndarray, "height width"]:
        """Return the opacity, 0 to 1; edges are as soft as the photo's, in pixels."""
        return 1 / (1 + np.exp(np.clip(self._outside / (0.4 * softness), -30, 30)))

    def shaded(self, reflectance: Float[np.ndarray, "3"] | Float[np.ndarray, "height width 3"]) -> np.ndarray:
        """Return the thing in the face's light, linear RGB."""
        solid = np.where(np.isfinite(self.height), self.height, 0.0)
        return reflectance * lit(solid, self.subject)

    def before(self, photo: Photo, picture: np.ndarray, generator: Generator, softness: float = 0.7) -> Photo:
        """Return the photo with the thing, a linear picture, before it, and its shadow beside it."""
        unit = self.subject.unit
        opacity = self.opacity(softness)
        shift = generator.normal(0, 0.04 * unit, 2)
        shadow = blurred(np.roll(opacity, np.rint(shift).astype(int), (0, 1)), 0.06 * unit)
        linear = srgb_decode(photo / 255.0) * (1 - generator.uniform(0.2, 0.6) * shadow[..., None])
        mixed = linear * (1 - opacity[..., None]) + np.clip(picture, 0, 1) * opacity[..., None]
        return np.rint(255 * srgb_encode(np.clip(mixed, 0, 1))).astype(np.uint8)


def lit(height: Float[np.ndarray, "height width"], subject: Subject) -> Float[np.ndarray, "height width 3"]:
    """Return the face's light on a surface that is so high, in photo pixels: linear RGB irradiance."""
    down, right = np.gradient(height)
    normals = np.stack([-right, down, np.ones_like(height)], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return irradiance(normals, subject.parameters.illumination.astype(np.float64))


def skin_reflectance(subject: Subject, generator: Generator) -> Float[np.ndarray, "3"]:
    """Return what the cheeks' skin reflects, a little lighter or darker: linear RGB."""
    towards = np.array([0.0, 0.0, 1.0])
    light = irradiance(towards, subject.parameters.illumination.astype(np.float64))
    skin = srgb_decode(subject.skin() / 255.0) / np.maximum(light, _DIMMEST)
    return skin * generator.uniform(0.75, 1.2) * (1 + generator.normal(0, 0.03, 3))


def mottled(
    generator: Generator, height: int, width: int, strength: float
) -> Float[np.ndarray, "height width 1"]:
    """Return factors about 1 that vary smoothly, coarse and fine."""
    factor = np.ones((height, width))
    for cells, share in ((6, 1.0), (20, 0.7), (60, 0.5)):
        coarse = generator.normal(0, 1, (cells, cells)).astype(np.float32)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        factor = factor + strength * share * np.asarray(smooth)
    return np.clip(factor, 0.3, 1.7)[..., None]


def blurred(values: Float[np.ndarray, "height width"], radius: float) -> Float[np.ndarray, "height width"]:
    """Return values between 0 and 1, blurred by so many pixels."""
    picture = Image.fromarray((255 * np.clip(values, 0, 1)).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float64) / 255
