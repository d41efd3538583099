"""Cameras at fault: photos too bad to be used, and what a usable photo may suffer."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageFilter

from inversefacenet.colour import srgb_decode, srgb_encode
from training.failures.drawing import Layer, any_colour, texture
from training.failures.subject import Case, Generator, Maker, Photo, Subject
from training.failures.unusual import UNUSUAL


def exposed(image: Photo, gain: float | Float[np.ndarray, "3"]) -> Photo:
    """Multiply linear light and clip."""
    linear = srgb_decode(image.astype(np.float64) / 255) * gain
    return np.rint(255 * srgb_encode(np.clip(linear, 0, 1))).astype(np.uint8)


def noisy(image: Photo, generator: Generator, level: float) -> Photo:
    """Add a sensor's noise of so many 8-bit steps."""
    grain = generator.normal(0, level, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def compressed(image: Photo, quality: int) -> Photo:
    """Write and read as JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def resampled(image: Photo, scale: float) -> Photo:
    """Reduce, and enlarge again."""
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize(
        (max(2, round(width * scale)), max(2, round(height * scale))), Image.Resampling.BOX
    )
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def _blurred(subject: Subject, generator: Generator) -> Photo:
    radius = generator.uniform(0.11, 0.22) * subject.unit
    return np.asarray(Image.fromarray(subject.image).filter(ImageFilter.GaussianBlur(radius)))


def _shaken(subject: Subject, generator: Generator) -> Photo:
    angle, length = generator.uniform(0, math.pi), generator.uniform(0.45, 0.8) * subject.unit
    moved = []
    for step in np.linspace(-0.5, 0.5, 15):
        matrix = (1, 0, step * length * math.cos(angle), 0, 1, step * length * math.sin(angle))
        picture = Image.fromarray(subject.image).transform(
            (subject.image.shape[1], subject.image.shape[0]),
            Image.Transform.AFFINE,
            matrix,
            Image.Resampling.BILINEAR,
        )
        moved.append(np.asarray(picture, np.float32))
    return np.mean(moved, axis=0).astype(np.uint8)


def _pixelated(subject: Subject, generator: Generator) -> Photo:
    height, width = subject.image.shape[:2]
    block = generator.uniform(0.22, 0.4) * subject.unit
    size = (max(2, round(width / block)), max(2, round(height / block)))
    small = Image.fromarray(subject.image).resize(size, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))


def _underexposed(subject: Subject, generator: Generator) -> Photo:
    dark = exposed(subject.image, generator.uniform(0.002, 0.012))
    return exposed(noisy(dark, generator, generator.uniform(1, 4)), generator.uniform(1, 8))


def _overexposed(subject: Subject, generator: Generator) -> Photo:
    return exposed(subject.image, generator.uniform(7, 20))


def _grainy(subject: Subject, generator: Generator) -> Photo:
    return noisy(subject.image, generator, generator.uniform(70, 130))


def _mono(subject: Subject, generator: Generator) -> Photo:
    grey = np.asarray(Image.fromarray(subject.image).convert("L"), np.float64)[..., None]
    tone = np.array([1, 1, 1]) if generator.random() < 0.6 else np.array([1.05, 0.97, 0.82])
    contrast = generator.uniform(0.8, 1.3)
    return np.clip(((grey - 128) * contrast + 128) * tone, 0, 255).astype(np.uint8)


def _relit(subject: Subject, generator: Generator) -> Photo:
    return exposed(subject.image, float(np.exp(generator.uniform(-1.6, 0.7))))


def _tinted(subject: Subject, generator: Generator) -> Photo:
    return exposed(subject.image, np.exp(generator.normal(0, 0.22, 3)))


def _coarse(subject: Subject, generator: Generator) -> Photo:
    return resampled(subject.image, generator.uniform(22, 45) / subject.unit)


def _squeezed(subject: Subject, generator: Generator) -> Photo:
    return compressed(subject.image, int(generator.integers(15, 60)))


def _speckled(subject: Subject, generator: Generator) -> Photo:
    return noisy(subject.image, generator, generator.uniform(4, 18))


def _mirrored(subject: Subject, generator: Generator) -> Photo:
    return np.ascontiguousarray(subject.image[:, ::-1])


def _spectacled(subject: Subject, generator: Generator) -> Photo:
    """Rims and clear lenses, with a reflection at times."""
    rim, lens = Layer(subject), Layer(subject)
    across, down = generator.uniform(0.24, 0.32), generator.uniform(0.15, 0.24)
    power, wide = generator.uniform(2, 5), generator.uniform(0.015, 0.06)
    for side in (-1, 1):
        turns = np.linspace(0, 2 * math.pi, 40)
        ring = [
            (
                side * 0.32 + across * math.copysign(abs(math.cos(t)) ** (2 / power), math.cos(t)),
                0.04 + down * math.copysign(abs(math.sin(t)) ** (2 / power), math.sin(t)),
            )
            for t in turns
        ]
        rim.stroke(subject.at(ring), wide * subject.unit)
        lens.oval(side * 0.32, 0.04, across, down, power=power)
        rim.stroke(subject.at([(side * (0.32 + across), 0.0), (side * 0.85, -0.03)]), wide * subject.unit)
    rim.stroke(subject.at([(across - 0.32, -0.01), (0.32 - across, -0.01)]), wide * subject.unit)
    height, width = subject.image.shape[:2]
    frame = texture(generator, height, width, any_colour(generator) * generator.uniform(0.1, 0.7))
    glazed = lens.laid_over(np.full((height, width, 3), 235.0), 1.0, generator.uniform(0, 0.18))
    opacity = rim.opacity()[..., None]
    return np.clip(glazed * (1 - opacity) + frame * opacity, 0, 255).astype(np.uint8)


def _detailed(subject: Subject, generator: Generator) -> Photo:
    """A little thing before the face: a microphone's tip, a strand, a crumb."""
    layer = Layer(subject)
    layer.oval(
        generator.uniform(-0.5, 0.5),
        generator.uniform(-0.3, 1.2),
        generator.uniform(0.03, 0.11),
        generator.uniform(0.03, 0.11),
    )
    height, width = subject.image.shape[:2]
    return layer.laid_over(texture(generator, height, width, any_colour(generator)), 0.5)


def _kind(change: Callable[[Subject, Generator], Photo]) -> Maker:
    def make(subject: Subject, generator: Generator) -> Case:
        return Case(change(subject, generator), known=subject.face.box)

    return make


IMAGING: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "blurred": _kind(_blurred),
        "shaken": _kind(_shaken),
        "pixelated": _kind(_pixelated),
        "underexposed": _kind(_underexposed),
        "overexposed": _kind(_overexposed),
        "grainy": _kind(_grainy),
    }
)
"""Failures."""

HARMLESS: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "mono": _kind(_mono),
        "relit": _kind(_relit),
        "tinted": _kind(_tinted),
        "coarse": _kind(_coarse),
        "squeezed": _kind(_squeezed),
        "speckled": _kind(_speckled),
        "mirrored": _kind(_mirrored),
        "spectacled": _kind(_spectacled),
        "detailed": _kind(_detailed),
        **UNUSUAL,
    }
)
"""What leaves a good face good."""
