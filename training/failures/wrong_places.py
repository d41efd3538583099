"""Boxes that hold no face, or not the whole of one: what a detector may take for a face."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from PIL import Image

from inversefacenet.face_patch import Box, overlap, square
from training.failures.drawing import any_colour, texture
from training.failures.profiles import backdrop
from training.failures.subject import Case, Generator, Maker, Subject


def _centre(box: Box) -> tuple[float, float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, max(box[2] - box[0], box[3] - box[1])


def _background(subject: Subject, generator: Generator) -> Case:
    """A box beside the face."""
    height, width = subject.image.shape[:2]
    _, _, size = _centre(subject.face.box)
    best: Box = (0.0, 0.0, 1.0, 1.0)
    least = math.inf
    for _ in range(20):
        x, y = generator.uniform(0.1, 0.9) * width, generator.uniform(0.1, 0.9) * height
        box = square(np.array([x, y]), size * float(np.exp(generator.uniform(-1.0, 0.3))))
        shared = overlap(box, subject.face.box)
        if shared < least:
            best, least = box, shared
    return Case(subject.image, best)


def _surface(subject: Subject, generator: Generator) -> Case:
    """A box on cloth, walls and patterns."""
    height, width = subject.image.shape[:2]
    image = texture(generator, height, width, any_colour(generator))
    for _ in range(int(generator.integers(0, 6))):
        other = texture(generator, height, width, any_colour(generator))
        x, y = generator.uniform(0, width), generator.uniform(0, height)
        radius = generator.uniform(0.03, 0.4) * width
        rows, columns = np.mgrid[0:height, 0:width]
        power = generator.uniform(1.0, 6.0)
        inside = np.abs((columns - x) / radius) ** power + np.abs((rows - y) / radius) ** power < 1
        image = np.where(inside[..., None], other, image)
    size = generator.uniform(0.2, 0.7) * width
    box = square(np.array([width / 2, height / 2]) + generator.normal(0, 0.05 * width, 2), size)
    return Case(image.astype(np.uint8), box)


def _shifted(subject: Subject, generator: Generator) -> Case:
    """A box beside the right place by half a face or more."""
    x, y, size = _centre(subject.face.box)
    angle, far = generator.uniform(0, 2 * math.pi), generator.uniform(0.5, 0.9)
    centre = np.array([x + far * size * math.cos(angle), y + far * size * math.sin(angle)])
    return Case(subject.image, square(centre, size * generator.uniform(0.8, 1.2)))


def _scaled(subject: Subject, generator: Generator) -> Case:
    """A box on a part of the face, or about the whole person."""
    x, y, size = _centre(subject.face.box)
    scale = generator.uniform(0.3, 0.5) if generator.random() < 0.6 else generator.uniform(1.9, 2.4)
    centre = np.array([x, y]) + generator.normal(0, 0.15 * size, 2)
    return Case(subject.image, square(centre, size * scale))


def _rotated(subject: Subject, generator: Generator) -> Case:
    """A face that lies on its side or stands on its head, where the search for its roll has failed."""
    turns = int(generator.integers(1, 4))
    degrees = 90.0 * turns + generator.uniform(-30, 30)
    x, y, size = _centre(subject.face.box)
    turned = Image.fromarray(subject.image).rotate(degrees, Image.Resampling.BILINEAR, center=(x, y))
    shift = generator.normal(0, 0.04 * size, 2)
    return Case(np.asarray(turned), square(np.array([x, y]) + shift, size * generator.uniform(0.9, 1.1)))


def _pattern(subject: Subject, generator: Generator) -> Case:
    """What the detector likes best where no large face is; `faceless` asks for its weak detections."""
    image = subject.image.copy()
    left, top, right, bottom = subject.face.box
    height, width = image.shape[:2]
    size = right - left
    rows = slice(max(int(top - 0.6 * size), 0), min(int(bottom + 0.4 * size), height))
    columns = slice(max(int(left - 0.3 * size), 0), min(int(right + 0.3 * size), width))
    image[rows, columns] = backdrop(subject, generator)[rows, columns]
    return Case(image, faceless=True)


WRONG_PLACES: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "background": _background,
        "surface": _surface,
        "shifted": _shifted,
        "scaled": _scaled,
        "rotated": _rotated,
        "pattern": _pattern,
    }
)
