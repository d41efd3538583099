"""Faces half hidden: masks, scarves, hands, dark glasses, hair, hats and things."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Float

from training.failures.drawing import Layer, any_colour, hair_colour, texture
from training.failures.hands import HANDS
from training.failures.subject import Case, Generator, Maker, Photo, Subject
from training.failures.things import THINGS

_COVERED: Final = 0.15  # least share of the face that an occluder hides


def _surface(
    subject: Subject, generator: Generator, colour: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "height width 3"]:
    height, width = subject.image.shape[:2]
    return texture(generator, height, width, colour)


def _occluded(draw: Callable[[Subject, Generator, Layer], Float[np.ndarray, "3"] | Photo | None]) -> Maker:
    """Make a kind of an occluder; it is drawn anew until it hides enough of the face.

    `draw` returns the colour of the occluder's surface, its pixels, or None for any colour.
    """

    def make(subject: Subject, generator: Generator) -> Case:
        for _ in range(8):
            layer = Layer(subject)
            surface = draw(subject, generator, layer)
            if layer.covered() >= _COVERED:
                break
        if surface is None:
            surface = any_colour(generator)
        pixels = surface if surface.ndim == 3 else _surface(subject, generator, surface)
        soft = generator.uniform(0, 0.02) * subject.unit
        image = layer.laid_over(np.asarray(pixels, np.float64), soft, generator.uniform(0.92, 1))
        return Case(image, known=subject.face.box)

    return make


def _scarf(subject: Subject, generator: Generator, layer: Layer) -> None:
    """Cloth from below as far as mouth or nose."""
    edge, tilt = generator.uniform(0.3, 0.7), generator.uniform(-0.2, 0.2)
    waves = generator.uniform(2, 9)
    upper = [
        (float(u), edge + tilt * float(u) + 0.03 * math.sin(waves * float(u)))
        for u in np.linspace(-1.6, 1.6, 20)
    ]
    layer.polygon(subject.at([*upper, (1.8, 2.6), (-1.8, 2.6)]))


def _sunglasses(subject: Subject, generator: Generator, layer: Layer) -> Float[np.ndarray, "3"]:
    """Large dark lenses and a bar."""
    across, down = generator.uniform(0.28, 0.36), generator.uniform(0.2, 0.34)
    power, low = generator.uniform(2, 5), generator.uniform(0.0, 0.08)
    for side in (-1, 1):
        layer.oval(side * 0.33, low, across, down, power=power)
    layer.stroke(subject.at([(-0.8, -0.06), (0.8, -0.06)]), 0.08 * subject.unit)
    return np.array([1.0, 1, 1]) * generator.uniform(5, 45)


def _hair(subject: Subject, generator: Generator, layer: Layer) -> Float[np.ndarray, "3"]:
    """Hair from above over the eyes, or from the side over one half."""
    if generator.random() < 0.5:
        edge = generator.uniform(0.0, 0.3)
        lower = [(float(u), edge + generator.uniform(-0.15, 0.15)) for u in np.linspace(-1.1, 1.1, 16)]
        layer.polygon(subject.at([*lower, (1.3, -1.6), (-1.3, -1.6)]))
    else:
        side, inward = generator.choice([-1, 1]), generator.uniform(-0.05, 0.2)
        edges = [(side * (inward + generator.uniform(-0.1, 0.1)), float(v)) for v in np.linspace(-1, 2, 14)]
        layer.polygon(subject.at([*edges, (side * 1.5, 2), (side * 1.5, -1)]))
    return hair_colour(generator)


def _hat(subject: Subject, generator: Generator, layer: Layer) -> None:
    """A brim or a hood that hides the eyes."""
    edge, bend = generator.uniform(0.02, 0.3), generator.uniform(-0.3, 0.3)
    lower = [(float(u), edge + bend * float(u) ** 2) for u in np.linspace(-1.4, 1.4, 20)]
    layer.polygon(subject.at([*lower, (1.6, -2), (-1.6, -2)]))


def _object(subject: Subject, generator: Generator, layer: Layer) -> None:
    """A cup, a telephone, a microphone, a ball: one or two compact things."""
    for _ in range(int(generator.integers(1, 3))):
        layer.oval(
            generator.uniform(-0.45, 0.45),
            generator.uniform(-0.1, 1.1),
            generator.uniform(0.28, 0.6),
            generator.uniform(0.28, 0.6),
            generator.uniform(0, math.pi),
            generator.uniform(1.2, 8),
        )


def _half(subject: Subject, generator: Generator, layer: Layer) -> None:
    """Something in front that hides all on one side of a line: a door, a shoulder, another's head."""
    angle, shift = generator.uniform(0, 2 * math.pi), generator.uniform(-0.05, 0.25)
    c, s = math.cos(angle), math.sin(angle)
    bend = generator.uniform(-0.4, 0.4)
    edge = [(shift + bend * float(t) ** 2, float(t)) for t in np.linspace(-1.6, 1.6, 16)]
    corners = [*edge, (4.0, 2.0), (4.0, -2.0)]
    layer.polygon(subject.at([(x * c - y * s, 0.45 + x * s + y * c) for x, y in corners]))


def _foreign(subject: Subject, generator: Generator, layer: Layer) -> Photo:
    """A piece of another place of the photo, with its own structure."""
    sides = int(generator.integers(3, 8))
    u, v, size = generator.uniform(-0.3, 0.3), generator.uniform(0.1, 0.9), generator.uniform(0.45, 0.8)
    corners = [
        (
            u + size * generator.uniform(0.6, 1.2) * math.cos(2 * math.pi * k / sides),
            v + size * generator.uniform(0.6, 1.2) * math.sin(2 * math.pi * k / sides),
        )
        for k in range(sides)
    ]
    layer.polygon(subject.at(corners))
    height, width = subject.image.shape[:2]
    shift = (int(generator.uniform(0.3, 0.7) * height), int(generator.uniform(0.3, 0.7) * width))
    return np.roll(subject.image, shift, axis=(0, 1))


def _bar(subject: Subject, generator: Generator, layer: Layer) -> Float[np.ndarray, "3"]:
    """A plain bar, as censors and captions put it over eyes or mouth."""
    v, half = generator.choice([0.0, 0.75]), generator.uniform(0.18, 0.35)
    layer.polygon(subject.at([(-1.2, v - half), (1.2, v - half), (1.2, v + half), (-1.2, v + half)]))
    return np.full(3, generator.choice([0.0, 255.0, generator.uniform(0, 255)]))


OCCLUSIONS: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        **THINGS,
        "scarf": _occluded(_scarf),
        **HANDS,
        "sunglasses": _occluded(_sunglasses),
        "hair": _occluded(_hair),
        "hat": _occluded(_hat),
        "object": _occluded(_object),
        "half": _occluded(_half),
        "foreign": _occluded(_foreign),
        "bar": _occluded(_bar),
    }
)
