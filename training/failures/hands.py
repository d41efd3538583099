"""Hands before a face, in its own skin and light: over mouth, eyes or cheek, fingers alone, or both hands.

Lengths are in the face's own unit, the distance of the outer eye corners (about 90 mm): a palm is 0.9 wide,
fingers are 0.8 long and 0.2 thick.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from inversefacenet.crop import convex_hull, landmarks66
from training.failures.solids import Solid, mottled, skin_reflectance
from training.failures.subject import Case, Generator, Maker, Subject

_COVERED: Final = (0.12, 0.8)  # share of the face that hands hide
_TRIES: Final = 12
_FINGERS: Final = ((-0.31, 0.74), (-0.105, 0.86), (0.105, 0.8), (0.3, 0.6))
"""Place across the palm and length of the fingers."""

Point = tuple[float, float]


def hand(
    solid: Solid,
    generator: Generator,
    knuckles: Point,
    towards: float,
    fingers: int = 4,
    palm: bool = True,
    side: int = 1,
) -> None:
    """Add a hand.

    Args:
        solid: What it is added to.
        generator: Decides on size, spread and bend.
        knuckles: The middle of the knuckles, in the face's own frame.
        towards: Direction that the fingers point to, in the face's own frame.
        fingers: How many are stretched out.
        palm: Whether palm, thumb and arm lie before the face too.
        side: 1 for one hand, -1 for the other: where the thumb is.
    """
    unit, size = solid.subject.unit, generator.uniform(0.85, 1.15)
    spread, bend = generator.uniform(-0.02, 0.22), generator.normal(0, 0.12)
    along, across = _direction(towards), _direction(towards + math.pi / 2)

    def at(forwards: float, sideways: float) -> Point:
        return (
            knuckles[0] + size * (forwards * along[0] + side * sideways * across[0]),
            knuckles[1] + size * (forwards * along[1] + side * sideways * across[1]),
        )

    def limb(start: Point, end: Point, thick: Point, lift: float = 0.0, flat: float = 1.0) -> None:
        one, two = solid.subject.at([start, end])
        solid.limb(one, two, (thick[0] * size * unit, thick[1] * size * unit), lift * unit, flat)

    if palm:
        limb(at(-1.0, 0.0), at(-3.0, generator.uniform(-0.5, 0.5)), (0.3, 0.38), -0.15, 0.8)
        for sideways, _ in _FINGERS:
            limb(at(-0.08, sideways), at(-0.95, 0.62 * sideways), (0.15, 0.19), -0.04, 0.5)
        root, tip = at(-0.75, -0.3), at(generator.uniform(-0.35, 0.1), -0.62 - generator.uniform(0, 0.2))
        limb(root, tip, (0.17, 0.11), 0.0)
    first = int(generator.integers(0, len(_FINGERS) - fingers + 1))
    for sideways, length in _FINGERS[first : first + fingers]:
        turn = towards + side * (sideways * 2 * spread + generator.normal(0, 0.03))
        reach = length * generator.uniform(0.75, 1.05) * size
        knuckle, position = at(-0.05, sideways), at(-0.05, sideways)
        thick = generator.uniform(0.095, 0.11)
        for joint, share in enumerate((0.45, 0.3, 0.25)):
            step = _direction(turn + joint * bend)
            position = (knuckle[0] + share * reach * step[0], knuckle[1] + share * reach * step[1])
            limb(knuckle, position, (thick * (1 - 0.06 * joint), thick * (0.94 - 0.06 * joint)), 0.02 * joint)
            knuckle = position


def _direction(angle: float) -> Point:
    return math.cos(angle), math.sin(angle)


def _palm(solid: Solid, generator: Generator) -> None:
    """A whole hand over mouth, cheek, nose or eyes, from below or from a side."""
    target = (
        generator.uniform(-0.3, 0.3),
        generator.choice([0.0, 0.45, 0.8, 0.8]) + generator.normal(0, 0.1),
    )
    towards = generator.choice([-math.pi / 2, 0.0, math.pi]) + generator.normal(0, 0.45)
    back = generator.uniform(-0.1, 0.45)
    knuckles = (target[0] - back * math.cos(towards), target[1] - back * math.sin(towards))
    hand(solid, generator, knuckles, towards, side=int(generator.choice([-1, 1])))


def _fingers(solid: Solid, generator: Generator) -> None:
    """One to four fingers across lips, nose, cheek or an eye; the hand itself is beside the face or below."""
    target = (generator.uniform(-0.25, 0.25), generator.choice([0.05, 0.4, 0.75, 0.9]))
    towards = generator.choice([-math.pi / 2, 0.0, math.pi]) + generator.normal(0, 0.4)
    reach = generator.uniform(0.25, 0.7)
    knuckles = (target[0] - reach * math.cos(towards), target[1] - reach * math.sin(towards))
    count = int(generator.integers(1, 5))
    hand(solid, generator, knuckles, towards, count, side=int(generator.choice([-1, 1])))


def _two_hands(solid: Solid, generator: Generator) -> None:
    """Both hands over eyes, mouth or cheeks, more or less alike."""
    height, gap = (
        generator.choice([0.0, 0.5, 0.85]) + generator.normal(0, 0.08),
        generator.uniform(0.15, 0.55),
    )
    lean = generator.uniform(0.0, 1.2)
    for side in (-1, 1):
        towards = -math.pi / 2 - side * lean + generator.normal(0, 0.12)
        back = generator.uniform(0.1, 0.4)
        knuckles = (side * gap - back * math.cos(towards), height - back * math.sin(towards))
        hand(solid, generator, knuckles, towards, side=-side)


def _fist(solid: Solid, generator: Generator) -> None:
    """A fist before mouth or chin, as of somebody who thinks or coughs."""
    middle = (generator.uniform(-0.2, 0.2), generator.uniform(0.75, 1.1))
    turn = generator.normal(0, 0.4)
    unit = solid.subject.unit
    along, across = _direction(turn - math.pi / 2), _direction(turn)
    for place in (-0.33, -0.11, 0.11, 0.33):
        x, y = middle[0] + place * across[0], middle[1] + place * across[1]
        ends = [(x + 0.2 * along[0], y + 0.2 * along[1]), (x - 0.2 * along[0], y - 0.2 * along[1])]
        one, two = solid.subject.at(ends)
        solid.limb(one, two, (0.135 * unit, 0.125 * unit), 0.05 * unit)
    wrist = (middle[0] + generator.uniform(-1, 1), middle[1] + 2.5)
    one, two = solid.subject.at([(middle[0], middle[1] + 0.35), wrist])
    solid.limb(one, two, (0.4 * unit, 0.33 * unit), -0.1 * unit, 0.7)


def _covered(solid: Solid, opacity: Float[np.ndarray, "height width"]) -> float:
    height, width = opacity.shape
    face = Image.new("L", (width, height), 0)
    hull = convex_hull(landmarks66(solid.subject.face.landmarks))
    ImageDraw.Draw(face).polygon([(float(x), float(y)) for x, y in hull], fill=1)
    inside = np.asarray(face) > 0
    return float(opacity[inside].mean()) if inside.any() else 1.0


def _kind(draw: Callable[[Solid, Generator], None]) -> Maker:
    """Make a kind of hands; they are drawn anew until they hide enough of the face, and not all of it."""

    def make(subject: Subject, generator: Generator) -> Case:
        for _ in range(_TRIES):
            solid = Solid(subject)
            draw(solid, generator)
            if _COVERED[0] <= _covered(solid, solid.opacity()) <= _COVERED[1]:
                break
        height, width = subject.image.shape[:2]
        skin = skin_reflectance(subject, generator) * mottled(generator, height, width, 0.03)
        picture = solid.shaded(skin) * (1 + generator.normal(0, 0.015, (height, width, 1)))
        softness = generator.uniform(0.6, 2.0)
        return Case(solid.before(subject.image, picture, generator, softness), known=subject.face.box)

    return make


HANDS: Final[Mapping[str, Maker]] = MappingProxyType(
    {"palm": _kind(_palm), "fingers": _kind(_fingers), "two-hands": _kind(_two_hands), "fist": _kind(_fist)}
)
"""Failures."""
