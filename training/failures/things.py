"""Masks of cloth and microphones: things that are made for faces, in the face's own light."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Float
from PIL import Image

from inversefacenet.colour import srgb_decode, srgb_encode
from inversefacenet.rasterizer import interpolate
from inversefacenet.rendering import render
from training.failures.drawing import Layer, any_colour, texture
from training.failures.solids import Solid, blurred, lit, mottled
from training.failures.subject import Case, Generator, Maker, Subject

_FACE_MM: Final = 90.0  # distance of the outer eye corners
_CLOTH: Final = ((235.0, 238.0, 240.0), (150.0, 195.0, 220.0), (25.0, 25.0, 28.0), (110.0, 170.0, 150.0))


def _relief(subject: Subject, bridging: float) -> Float[np.ndarray, "height width"]:
    """Return how far the face comes forwards, in photo pixels, as cloth sees it that bridges its hollows."""
    rows, columns = subject.image.shape[:2]
    rendering = render(subject.model, subject.parameters, placement=subject.placement, shape=(rows, columns))
    depth = interpolate(rendering.fragments, subject.model.triangles, rendering.vertices)[..., 2]
    depth = np.where(rendering.mask, depth, depth[rendering.mask].min() if rendering.mask.any() else 0.0)
    coarse = Image.fromarray((depth * subject.unit / _FACE_MM).astype(np.float32))
    cell = max(bridging * subject.unit, 1.0)
    size = (max(4, round(columns / cell)), max(4, round(rows / cell)))
    small = coarse.resize(size, Image.Resampling.BOX)
    return np.asarray(small.resize((columns, rows), Image.Resampling.BICUBIC), np.float64)


def _mask(subject: Subject, generator: Generator) -> Case:
    """A mask over mouth and nose: pleated, moulded or sewn of printed cloth, with straps to the ears."""
    marks, unit = subject.face.landmarks.astype(np.float64), subject.unit
    layer, straps = Layer(subject), Layer(subject)
    low = generator.uniform(0.1, 0.85)
    top = marks[27] + low * (marks[30] - marks[27])
    sides = int(generator.integers(1, 4))
    jaw, middle = marks[sides : 17 - sides], marks[30]
    outline = [(float(x), float(y)) for x, y in middle + generator.uniform(1.0, 1.1) * (jaw - middle)]
    bow = [(float(x), float(y)) for x, y in (0.55 * jaw[-1] + 0.45 * top, top, 0.55 * jaw[0] + 0.45 * top)]
    bow[0], bow[2] = (bow[0][0], bow[0][1] - 0.05 * unit), (bow[2][0], bow[2][1] - 0.05 * unit)
    layer.polygon([*outline, *bow])
    for end, corner in ((marks[0], outline[0]), (marks[16], outline[-1])):
        straps.stroke([corner, (float(end[0]), float(end[1] - 0.1 * unit))], 0.035 * unit)
    rows, columns = subject.image.shape[:2]
    y, x = np.mgrid[0:rows, 0:columns] / unit
    height = _relief(subject, generator.uniform(0.12, 0.35))
    if generator.random() < 0.5:  # pleats across
        tilt, period = generator.normal(0, 0.06), generator.uniform(0.1, 0.24)
        height = height + generator.uniform(0.005, 0.02) * unit * np.sin(
            2 * math.pi * (y + tilt * x) / period
        )
    height = height + generator.uniform(0.1, 0.5) * unit * (
        mottled(generator, rows, columns, 0.06)[..., 0] - 1
    )
    colour = (
        np.array(_CLOTH[generator.integers(len(_CLOTH))])
        if generator.random() < 0.5
        else any_colour(generator)
    )
    cloth = texture(generator, rows, columns, colour) if generator.random() < 0.4 else colour
    linear = srgb_decode(np.asarray(cloth) / 255.0) * lit(height, subject)
    picture = 255 * srgb_encode(np.clip(linear, 0, 1)) + generator.normal(0, 1.5, (rows, columns, 1))
    soft = generator.uniform(0.4, 1.5)
    shadow = (blurred(layer.opacity(), 0.05 * unit) * (1 - layer.opacity()))[..., None]
    whole = np.maximum(layer.opacity(soft), straps.opacity(soft))[..., None]
    mixed = subject.image * (1 - generator.uniform(0.1, 0.5) * shadow) * (1 - whole) + picture * whole
    return Case(np.clip(mixed, 0, 255).astype(np.uint8), known=subject.face.box)


def _microphone(subject: Subject, generator: Generator) -> Case:
    """A microphone, or several, held before mouth and chin."""
    image, rows, columns = subject.image, *subject.image.shape[:2]
    unit, number = subject.unit, int(generator.integers(1, 4))
    for place in range(number):
        solid = Solid(subject)
        middle = ((place - (number - 1) / 2) * 0.5 + generator.normal(0, 0.12), generator.uniform(0.65, 1.05))
        radius = generator.uniform(0.26, 0.42) * (1.1 if number == 1 else 0.85)
        head, foot = subject.at([middle, (middle[0] + generator.normal(0, 0.5), middle[1] + 2.2)])
        solid.limb(head, foot, (0.55 * radius * unit, 0.5 * radius * unit))
        solid.limb(head, head, (radius * unit, radius * unit), 0.1 * unit)
        colour = srgb_decode(any_colour(generator) * generator.uniform(0.15, 1.0) / 255)
        y, x = np.mgrid[0:rows, 0:columns] / unit
        period = generator.uniform(0.03, 0.09)
        mesh = 1 + generator.uniform(0, 0.5) * np.sin(2 * math.pi * x / period) * np.sin(
            2 * math.pi * y / period
        )
        picture = solid.shaded(colour * mottled(generator, rows, columns, 0.05) * mesh[..., None])
        image = solid.before(image, picture, generator, generator.uniform(0.6, 1.5))
    return Case(image, known=subject.face.box)


THINGS: Final[Mapping[str, Maker]] = MappingProxyType({"mask": _mask, "microphone": _microphone})
"""Failures."""
