"""Surfaces, and shapes laid over a photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFilter

from inversefacenet.crop import convex_hull, landmarks66
from training.failures.subject import Generator, Photo, Subject

_SHARPER: Final = 3  # masks are drawn so many times larger, and reduced: soft edges


def texture(
    generator: Generator, height: int, width: int, colour: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "height width 3"]:
    """Return a surface of about one colour: shaded, mottled, sometimes striped or printed; 0 to 255."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    angle = generator.uniform(0, 2 * math.pi)
    ramp = (x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle)
    light = 1 + generator.uniform(-0.7, 0.7) * ramp
    for cells, strength in ((4, 0.15), (12, 0.08), (40, 0.05)):
        coarse = generator.normal(0, 1, (cells, cells)).astype(np.float32)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        light = light + generator.uniform(0, strength) * np.asarray(smooth)
    surface = light[..., None] * colour
    if generator.random() < 0.25:
        other = generator.uniform(0, 255, 3)
        turn, period = generator.uniform(0, math.pi), generator.uniform(0.02, 0.15)
        wave = np.sin(2 * math.pi * (x * math.cos(turn) + y * math.sin(turn)) / period)
        if generator.random() < 0.5:
            wave = wave * np.sin(2 * math.pi * (y * math.cos(turn) - x * math.sin(turn)) / period)
        first = (wave > generator.uniform(-0.3, 0.6))[..., None]
        surface = np.where(first, surface, light[..., None] * other)
    surface = surface + generator.normal(0, generator.uniform(0, 4), (height, width, 1))
    return np.clip(surface, 0, 255)


def any_colour(generator: Generator) -> Float[np.ndarray, "3"]:
    """Return a colour of cloth, plastic or hair: mostly dull, often white, black or grey."""
    if generator.random() < 0.4:
        return np.full(3, generator.choice([20.0, 60.0, 128.0, 205.0, 240.0])) + generator.normal(0, 8, 3)
    level, hue = generator.uniform(30, 220), generator.normal(0, 1, 3)
    return np.clip(level * (1 + generator.uniform(0.1, 0.6) * (hue - hue.mean())), 5, 250)


def hair_colour(generator: Generator) -> Float[np.ndarray, "3"]:
    """Return a colour between black, brown, red, fair and grey."""
    level = generator.uniform(15, 190)
    return level * np.array([1, generator.uniform(0.65, 1), generator.uniform(0.35, 1)])


class Layer:
    """An opacity that shapes are drawn into, in photo pixels."""

    def __init__(self, subject: Subject) -> None:
        """Start empty."""
        self.subject = subject
        height, width = subject.image.shape[:2]
        self._large = Image.new("L", (width * _SHARPER, height * _SHARPER), 0)
        self._pen = ImageDraw.Draw(self._large)

    def polygon(self, points: Sequence[tuple[float, float]]) -> None:
        """Fill a polygon given in photo pixels."""
        self._pen.polygon([(x * _SHARPER, y * _SHARPER) for x, y in points], fill=255)

    def stroke(self, points: Sequence[tuple[float, float]], width: float) -> None:
        """Draw a line with round ends, given in photo pixels."""
        scaled = [(x * _SHARPER, y * _SHARPER) for x, y in points]
        self._pen.line(scaled, fill=255, width=max(1, round(width * _SHARPER)), joint="curve")
        radius = width * _SHARPER / 2
        for x, y in (scaled[0], scaled[-1]):
            self._pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)

    def oval(
        self, u: float, v: float, across: float, down: float, turn: float = 0.0, power: float = 2.0
    ) -> None:
        """Fill a superellipse in the face's own frame; `power` 2 is an ellipse, more is squarer."""
        points = []
        for angle in np.linspace(0, 2 * math.pi, 48, endpoint=False):
            c, s = math.cos(angle), math.sin(angle)
            x = across * math.copysign(abs(c) ** (2 / power), c)
            y = down * math.copysign(abs(s) ** (2 / power), s)
            points.append(
                (u + x * math.cos(turn) - y * math.sin(turn), v + x * math.sin(turn) + y * math.cos(turn))
            )
        self.polygon(self.subject.at(points))

    def opacity(self, softness: float = 0.0) -> Float[np.ndarray, "height width"]:
        """Return the opacity, 0 to 1, with edges blurred by `softness` photo pixels."""
        height, width = self.subject.image.shape[:2]
        small = self._large.resize((width, height), Image.Resampling.BOX)
        if softness > 0:
            small = small.filter(ImageFilter.GaussianBlur(softness))
        return np.asarray(small, np.float32) / 255

    def covered(self) -> float:
        """Return the share of the face that is hidden."""
        height, width = self.subject.image.shape[:2]
        face = Image.new("L", (width, height), 0)
        hull = convex_hull(landmarks66(self.subject.face.landmarks))
        ImageDraw.Draw(face).polygon([(float(x), float(y)) for x, y in hull], fill=1)
        inside = np.asarray(face) > 0
        return float(self.opacity()[inside].mean()) if inside.any() else 1.0

    def laid_over(
        self, surface: Float[np.ndarray, "height width 3"], softness: float = 0.0, strength: float = 1.0
    ) -> Photo:
        """Return the photo with a surface seen through this opacity."""
        opacity = strength * self.opacity(softness)[..., None]
        mixed = self.subject.image * (1 - opacity) + surface * opacity
        return np.clip(mixed, 0, 255).astype(np.uint8)
