"""Faces that are unusual and can be reconstructed all the same: bearded, half in shadow, under a fringe."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from inversefacenet.colour import srgb_decode, srgb_encode
from training.failures.drawing import Layer, hair_colour
from training.failures.solids import blurred, mottled
from training.failures.subject import Case, Generator, Maker, Photo, Subject


def _bearded(subject: Subject, generator: Generator) -> Photo:
    """A moustache, a goatee or a full beard, from stubble to thick, around the mouth."""
    marks, unit = subject.face.landmarks.astype(np.float64), subject.unit
    beard, lips = Layer(subject), Layer(subject)
    if generator.random() < 0.7:
        first = int(generator.integers(1, 7))
        jaw, mouth = marks[first : 17 - first], marks[48:60].mean(axis=0)
        inner = [
            marks[48 + side] + generator.uniform(0.15, 0.6) * (mouth - marks[48 + side]) for side in (6, 0)
        ]
        cheeks = [0.5 * (inner[0] + jaw[-1]), 0.5 * (inner[1] + jaw[0])]
        edge = [*jaw, cheeks[0], inner[0], inner[1], cheeks[1]]
        beard.polygon([(float(x), float(y)) for x, y in edge])
    left, right = marks[48], marks[54]
    upper = [left, marks[50], marks[51], marks[52], right]
    lift = 0.6 * (marks[33] - marks[51])
    whisker = [*upper, right + 0.2 * lift, marks[52] + lift, marks[50] + lift, left + 0.2 * lift]
    beard.polygon([(float(x), float(y)) for x, y in whisker])
    lips.polygon([(float(x), float(y)) for x, y in marks[48:60]])
    rows, columns = subject.image.shape[:2]
    strength = generator.uniform(0.25, 0.9)
    opacity = blurred(beard.opacity(), 0.05 * unit) * (1 - lips.opacity(1.0))
    opacity = opacity[..., None] * np.clip(strength * mottled(generator, rows, columns, 0.2), 0, 1)
    hair = hair_colour(generator) * np.clip(1 + generator.normal(0, 0.12, (rows, columns, 1)), 0.3, 2)
    return np.clip(subject.image * (1 - opacity) + hair * opacity, 0, 255).astype(np.uint8)


def _shadowed(subject: Subject, generator: Generator) -> Photo:
    """A shadow's edge across the face: of a hat, a lamp from the side, leaves."""
    layer, around = Layer(subject), generator.uniform(0, 2 * math.pi)
    c, s = math.cos(around), math.sin(around)
    shift, bend = generator.uniform(-0.4, 0.5), generator.uniform(-0.3, 0.3)
    edge = [(shift + bend * math.sin(2 * float(t)), float(t)) for t in np.linspace(-2.5, 2.5, 24)]
    layer.polygon(subject.at([(x * c - y * s, 0.4 + x * s + y * c) for x, y in [*edge, (5, 3), (5, -3)]]))
    dark = blurred(layer.opacity(), generator.uniform(0.01, 0.3) * subject.unit) * generator.uniform(
        0.3, 0.75
    )
    linear = srgb_decode(subject.image / 255.0) * (1 - dark[..., None])
    return np.rint(255 * srgb_encode(linear)).astype(np.uint8)


def _fringed(subject: Subject, generator: Generator) -> Photo:
    """Hair over forehead and brows, and a few strands before the eyes."""
    layer, unit = Layer(subject), subject.unit
    depth = generator.uniform(-0.35, -0.12)
    lower = [(float(u), depth + generator.uniform(-0.06, 0.06)) for u in np.linspace(-1.0, 1.0, 18)]
    layer.polygon(subject.at([*lower, (1.2, -1.6), (-1.2, -1.6)]))
    for _ in range(int(generator.integers(0, 5))):
        u = generator.uniform(-0.7, 0.7)
        ends = subject.at(
            [(u, -0.8), (u + generator.normal(0, 0.1), 0.0), (u + generator.normal(0, 0.2), 0.5)]
        )
        layer.stroke(ends, generator.uniform(0.01, 0.035) * unit)
    rows, columns = subject.image.shape[:2]
    hair = hair_colour(generator) * mottled(generator, rows, columns, 0.2)
    hair = hair * (1 + 0.2 * generator.normal(0, 1, (1, columns, 1)))
    return layer.laid_over(np.clip(hair, 0, 255), generator.uniform(0.3, 1.5), generator.uniform(0.8, 1))


def _kind(change: Callable[[Subject, Generator], Photo]) -> Maker:
    def make(subject: Subject, generator: Generator) -> Case:
        return Case(change(subject, generator), known=subject.face.box)

    return make


UNUSUAL: Final[Mapping[str, Maker]] = MappingProxyType(
    {"bearded": _kind(_bearded), "shadowed": _kind(_shadowed), "fringed": _kind(_fringed)}
)
"""What leaves a good face good."""
