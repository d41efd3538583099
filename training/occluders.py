"""Things that hide parts of a face: spectacles, hair, hands, objects, shadows, gloss.

Convention:
    Pictures are linear RGB planes `[batch, 3, size, size]`. Every occluder is a soft-edged layer, an
    opacity and a colour, laid over the pictures that drew it. Lengths are fractions of the crop's side,
    so that the layers look the same at every size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from training.augmentation_options import OccluderOptions as OccluderOptions
from training.draws import dull_colours, happens, normal, smooth_field, uniform

Layer = tuple[Tensor, Tensor]
"""Opacity [n, size, size] and colour [n, 3, size, size]."""

SKIN: Final = (0.50, 0.27, 0.18)
"""A middle linear skin colour for hands."""

_EYES: Final = (slice(36, 42), slice(42, 48))


@dataclass(frozen=True)
class _Canvas:
    """What a layer is drawn with: pixel centres as fractions of the side, eyes, and randomness."""

    x: Float[Tensor, "1 1 size"]
    y: Float[Tensor, "1 size 1"]
    eyes: Float[Tensor, "n 2 2"]
    generator: Generator

    @property
    def count(self) -> int:
        return self.eyes.shape[0]

    @property
    def size(self) -> int:
        return self.x.shape[-1]

    def draw(self, low: float, high: float) -> Float[Tensor, "n 1 1"]:
        return uniform(self.generator, (self.count, 1, 1), low, high)

    def cover(self, distance: Tensor, softness: float | Tensor = 0.006) -> Tensor:
        """Turn a signed distance (negative inside) into an opacity with a soft edge."""
        return torch.sigmoid(-distance / softness)


def occlude(
    pictures: Float[Tensor, "batch 3 size size"],
    landmarks: Float[Tensor, "batch 68 2"],
    options: OccluderOptions,
    generator: Generator,
) -> Float[Tensor, "batch 3 size size"]:
    """Lay random occluders over pictures.

    Args:
        pictures: Linear RGB.
        landmarks: The 68 landmarks in pixels: spectacles sit on the eyes.
        options: How often each occluder appears.
        generator: Source of all randomness, on the pictures' device.
    """
    batch, _, size, _ = pictures.shape
    centres = (torch.arange(size, device=pictures.device) + 0.5) / size
    eyes = torch.stack([landmarks[:, eye].mean(dim=1) for eye in _EYES], dim=1) / size
    result = pictures
    for field in fields(options):
        chosen = happens(generator, batch, getattr(options, field.name)).nonzero().squeeze(1)
        if len(chosen) == 0:
            continue
        canvas = _Canvas(centres[None, None], centres[None, :, None], eyes[chosen], generator)
        opacity, colour = LAYERS[field.name](canvas)
        below = result[chosen]
        result = result.index_copy(0, chosen, below + opacity[:, None] * (colour - below))
    return result


def _object(canvas: _Canvas) -> Layer:
    """An ellipse or a polygon of three to six sides."""
    x = canvas.x - canvas.draw(0.0, 1.0)
    y = canvas.y - canvas.draw(0.0, 1.0)
    angle = canvas.draw(0.0, torch.pi)
    u = (x * angle.cos() + y * angle.sin()) / canvas.draw(0.06, 0.25)
    v = (y * angle.cos() - x * angle.sin()) / canvas.draw(0.05, 0.15)
    ellipse = (u.square() + v.square()).sqrt() - 1
    sides = canvas.draw(3.0, 7.0).floor()
    polygon = torch.full_like(ellipse, -torch.inf)
    for side in range(6):
        turn = 2 * torch.pi * side / sides + 0.3 * normal(canvas.generator, (canvas.count, 1, 1))
        edge = u * turn.cos() + v * turn.sin() - canvas.draw(0.6, 1.0)
        polygon = torch.where(side < sides, torch.maximum(polygon, edge), polygon)
    shape = torch.where(canvas.draw(0.0, 1.0) < 0.5, ellipse, polygon)
    return canvas.cover(shape, canvas.draw(0.02, 0.15)), _textured(canvas, canvas.draw(0.1, 0.6))


def _spectacles(canvas: _Canvas) -> Layer:
    """Two lenses, a bridge and temples, on the line through the eyes."""
    left, right = canvas.eyes[:, 0], canvas.eyes[:, 1]
    span = (right - left).norm(dim=1).clamp(min=0.05)[:, None, None]
    direction = ((right - left)[:, :, None, None]) / span[:, None]
    cos, sin = direction[:, 0], direction[:, 1]
    width, height = span * canvas.draw(0.34, 0.46), span * canvas.draw(0.22, 0.36)
    power = canvas.draw(2.0, 6.0)
    outlines = []
    for eye in (left, right):
        x, y = canvas.x - eye[:, 0, None, None], canvas.y - eye[:, 1, None, None] - 0.05 * span
        u, v = (x * cos + y * sin) / width, (y * cos - x * sin) / height
        outlines.append((u.abs().pow(power) + v.abs().pow(power)).pow(1 / power) - 1)
    lenses = torch.minimum(*outlines)
    middle = (left + right) / 2
    x, y = canvas.x - middle[:, 0, None, None], canvas.y - middle[:, 1, None, None]
    u, v = x * cos + y * sin, y * cos - x * sin
    bar = (v.abs() - span * canvas.draw(0.02, 0.06)) / height
    bar = torch.maximum(bar, -(lenses + 0.01))
    bar = torch.maximum(bar, (u.abs() - span * 1.3) / height)
    rim = lenses.abs() - canvas.draw(0.02, 0.18)
    dark = canvas.draw(0.0, 1.0) < 0.5
    tint = torch.where(dark, canvas.draw(0.85, 1.0), canvas.draw(0.0, 0.25))
    glass = canvas.cover(lenses, 0.03) * tint
    frame = torch.maximum(canvas.cover(rim, 0.03), canvas.cover(bar, 0.03)) * canvas.draw(0.6, 1.0)
    opacity = torch.maximum(glass, frame)
    shade = uniform(canvas.generator, (canvas.count, 3, 1, 1), 0.0, 0.05) + canvas.draw(0.0, 0.04)[:, None]
    reflection = smooth_field(canvas.generator, canvas.count, 1, 4, canvas.size).clamp(min=0)
    return opacity, shade + reflection * canvas.draw(0.0, 0.08)[:, None]


def _strands(canvas: _Canvas) -> Layer:
    """Up to eight bent locks of hair that hang in from above."""
    opacity = torch.zeros(canvas.count, canvas.size, canvas.size, device=canvas.x.device)
    root, lean = canvas.draw(-0.1, 1.1), canvas.draw(-0.6, 0.6)
    wanted = canvas.draw(2.0, 9.0)
    for lock in range(8):
        start = root + canvas.draw(-0.15, 0.15)
        slope, bend = lean + canvas.draw(-0.3, 0.3), canvas.draw(-0.8, 0.8)
        middle = start + slope * canvas.y + bend * canvas.y.square()
        tilt = (1 + (slope + 2 * bend * canvas.y).square()).sqrt()
        half = canvas.draw(0.002, 0.016) * (1 - canvas.y / canvas.draw(0.3, 1.1)).clamp(min=0)
        one = canvas.cover((canvas.x - middle).abs() / tilt - half, 0.003) * (half > 0)
        opacity = torch.where(lock < wanted, torch.maximum(opacity, one), opacity)
    return opacity * canvas.draw(0.6, 1.0), _hair(canvas)


def _fringe(canvas: _Canvas) -> Layer:
    """Hair from the upper border, or from a side, as far as a ragged line."""
    side = canvas.draw(0.0, 4.0).floor()
    inward = torch.where(side < 2, canvas.y, torch.where(side < 3, canvas.x, 1 - canvas.x))
    along = torch.where(side < 2, canvas.x, canvas.y)
    edge = canvas.draw(-0.02, 0.28) + canvas.draw(-0.4, 0.4) * (along - canvas.draw(0.2, 0.8))
    for waves, height in ((3.0, 0.03), (11.0, 0.015), (31.0, 0.008)):
        phase = canvas.draw(0.0, 2 * torch.pi)
        frequency = 2 * torch.pi * waves * canvas.draw(0.7, 1.3)
        edge = edge + canvas.draw(0.0, 2 * height) * torch.sin(frequency * along + phase)
    return canvas.cover(inward - edge, canvas.draw(0.004, 0.02)) * canvas.draw(0.8, 1.0), _hair(canvas)


def _hand(canvas: _Canvas) -> Layer:
    """A palm beyond the border and fingers that reach in from it."""
    around = canvas.draw(0.0, 2 * torch.pi)
    palm = [0.5 + 0.55 * around.cos(), 0.5 + 0.55 * around.sin()]
    inward = around + torch.pi + canvas.draw(-0.5, 0.5)
    thick, reach = canvas.draw(0.028, 0.05), canvas.draw(0.12, 0.4)
    distance = ((canvas.x - palm[0]).square() + (canvas.y - palm[1]).square()).sqrt() - 2.6 * thick
    shading = torch.zeros_like(distance)
    for finger in range(4):
        offset = (finger - 1.5) * 2.1 * thick
        turn = inward + 0.12 * (finger - 1.5) + canvas.draw(-0.05, 0.05)
        length = reach * canvas.draw(0.75, 1.0)
        fx, fy = palm[0] - offset * inward.sin(), palm[1] + offset * inward.cos()
        x, y = canvas.x - fx, canvas.y - fy
        along = torch.minimum((x * turn.cos() + y * turn.sin()).clamp(min=0), length)
        away = ((x - along * turn.cos()).square() + (y - along * turn.sin()).square()).sqrt()
        one = away - thick
        nearer = one < distance
        shading = torch.where(nearer, (away / thick).clamp(max=1).square(), shading)
        distance = torch.minimum(distance, one)
    base = torch.tensor(SKIN, device=canvas.x.device)[:, None, None]
    tone = base * torch.exp(canvas.draw(-1.5, 0.3))[:, None]
    tone = tone * torch.exp(normal(canvas.generator, (canvas.count, 3, 1, 1), 0.08))
    texture = 1 + 0.06 * smooth_field(canvas.generator, canvas.count, 1, 12, canvas.size)
    return canvas.cover(distance, 0.004), tone * texture * (1 - 0.55 * shading)[:, None]


def _shadow(canvas: _Canvas) -> Layer:
    """Darkening beyond a wavy line."""
    angle, phase = canvas.draw(0.0, 2 * torch.pi), canvas.draw(0.0, 2 * torch.pi)
    x, y = canvas.x - 0.5, canvas.y - 0.5
    u, v = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    line = canvas.draw(-0.35, 0.35) + canvas.draw(0.0, 0.1) * torch.sin(canvas.draw(3.0, 14.0) * v + phase)
    dark = canvas.cover(u - line, canvas.draw(0.004, 0.06)) * canvas.draw(0.2, 0.65)
    return dark, torch.zeros(canvas.count, 3, canvas.size, canvas.size, device=x.device)


def _highlight(canvas: _Canvas) -> Layer:
    """Up to three soft spots of gloss, as on damp or oily skin under a lamp."""
    spots = torch.zeros(canvas.count, canvas.size, canvas.size, device=canvas.x.device)
    wanted = canvas.draw(1.0, 4.0)
    for spot in range(3):
        x, y = canvas.x - canvas.draw(0.2, 0.8), canvas.y - canvas.draw(0.0, 0.9)
        angle = canvas.draw(0.0, torch.pi)
        u = (x * angle.cos() + y * angle.sin()) / canvas.draw(0.02, 0.12)
        v = (y * angle.cos() - x * angle.sin()) / canvas.draw(0.02, 0.06)
        spots = spots + torch.exp(-u.square() - v.square()) * (spot < wanted)
    lamp = 1 + uniform(canvas.generator, (canvas.count, 3, 1, 1), -0.15, 0.15)
    return spots.clamp(max=1) * canvas.draw(0.05, 0.35), lamp.expand(-1, -1, canvas.size, canvas.size)


def _hair(canvas: _Canvas) -> Float[Tensor, "n 3 size size"]:
    """A hair colour between black, brown, red, fair and grey, streaked downwards."""
    melanin, redness = canvas.draw(0.0, 1.0), canvas.draw(0.0, 1.0)
    level = torch.exp(-3.6 * melanin) * 0.45
    hue = torch.stack([torch.ones_like(level), 1 - 0.5 * redness, 1 - 0.75 * redness], dim=1)
    streaks = normal(canvas.generator, (canvas.count, 1, 1, canvas.size), 0.25)
    waves = 0.3 * smooth_field(canvas.generator, canvas.count, 1, 6, canvas.size)
    return level[:, None] * hue * torch.exp(streaks + waves)


def _textured(canvas: _Canvas, contrast: Tensor) -> Float[Tensor, "n 3 size size"]:
    """A random colour with a smooth random texture."""
    colour = dull_colours(canvas.generator, canvas.count)
    texture = smooth_field(canvas.generator, canvas.count, 1, 10, canvas.size)
    return colour * torch.exp(contrast[:, None] * texture)


LAYERS: Final[dict[str, Callable[[_Canvas], Layer]]] = {
    "objects": _object,
    "spectacles": _spectacles,
    "strands": _strands,
    "fringes": _fringe,
    "hands": _hand,
    "shadows": _shadow,
    "highlights": _highlight,
}
