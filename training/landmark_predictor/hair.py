"""Hair of rendered heads: a sheet over the skull, and a beard painted on the face.

Convention:
    Millimetres in model space. A sheet is a grid of strands (columns, all around the head) by steps from the
    crown to the tips; it hangs down where it is longer than the skull is high.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Int32

STRANDS: Final = 96
STEPS: Final = 36

CENTRE: Final = (0.0, 42.0, -68.0)
"""The skull's middle: where strands leave from, seen from inside."""

SKULL: Final = (74.0, 89.0, 95.0)
"""The skull's half axes: to the side, up, to the front and back."""


@dataclass(frozen=True)
class Hair:
    """One head of hair: vertices, triangles, linear colours."""

    vertices: Float32[np.ndarray, "hair 3"]
    triangles: Int32[np.ndarray, "tiles 3"]
    reflectance: Float32[np.ndarray, "hair 3"]


def hair_colour(rng: np.random.Generator) -> Float[np.ndarray, " 3"]:
    """Draw a linear hair colour between black, brown, red, fair and grey."""
    melanin = rng.beta(2.0, 1.3)
    redness = rng.uniform(0.2, 1.0) * (rng.random() > 0.2)
    level = 0.42 * np.exp(-3.8 * melanin)
    return np.asarray(level * np.array([1.0, 1 - 0.5 * redness, 1 - 0.75 * redness]))


def draw_hair(rng: np.random.Generator, colour: Float[np.ndarray, " 3"]) -> Hair | None:
    """Draw a head of hair; one head in eight is bald.

    Args:
        rng: Source of randomness.
        colour: Linear RGB.
    """
    style = rng.choice(4, p=[0.13, 0.45, 0.22, 0.20])
    if style == 0:
        return None
    turn = np.linspace(-np.pi, np.pi, STRANDS, endpoint=False)  # 0 is the forehead
    thick = rng.uniform(4, 26) if style < 3 else rng.uniform(12, 32)
    away = np.abs(turn)
    # How far down strands reach, as an angle from the crown; beyond a right angle they hang.
    hairline = rng.uniform(0.72, 1.2)
    temples = hairline + rng.uniform(-0.15, 0.25)
    sides = {1: rng.uniform(1.6, 2.15), 2: rng.uniform(2.1, 2.9), 3: rng.uniform(2.9, 4.8)}[int(style)]
    back = max(sides, 2.2) + rng.uniform(0, 0.3)
    part = rng.uniform(0.8, 1.35)
    turns = [0, 0.5, part, part + rng.uniform(0.08, 0.35), np.pi]
    reach = np.interp(away, turns, [hairline, temples, temples + 0.2, sides, back])
    if rng.random() < 0.25:  # a fringe, straight or to one side
        depth = rng.uniform(1.2, 1.62) + rng.uniform(-0.35, 0.35) * np.sin(turn)
        reach = np.where(away < part, np.maximum(reach, depth), reach)
    reach = reach + _ragged(rng, rng.uniform(0.01, 0.07))
    step = np.linspace(0.0, 1.0, STEPS)[:, None] * reach
    polar = np.minimum(step, np.pi / 2)
    hang = np.maximum(step - np.pi / 2, 0) * SKULL[1]
    width = thick * (0.6 + 0.4 * np.minimum(step, 1.5)) * (1 + _ragged(rng, 0.12))
    if style < 3:  # short hair lies closer to the head at its sides
        width = width * (1 - rng.uniform(0.3, 0.9) * np.clip((polar - 0.7) / 0.9, 0, 1))
    # Below the ears hair comes nearer to the neck, or flares.
    flare = 1 + rng.uniform(-0.18, 0.12) * np.minimum(hang / 120, 1.0)
    # Hair is thinnest at the hairline in front, so that it lies on the forehead.
    width = width * np.where(away < 1.2, 1 - 0.75 * np.linspace(0, 1, STEPS)[:, None] ** 3, 1.0)
    x = CENTRE[0] + (SKULL[0] + width) * np.sin(polar) * np.sin(turn) * flare
    y = CENTRE[1] + (SKULL[1] + width) * np.cos(polar) - hang
    z = CENTRE[2] + (SKULL[2] + width) * np.sin(polar) * np.cos(turn) * flare
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    streaks = rng.normal(0, rng.uniform(0.1, 0.35), STRANDS) + _ragged(rng, 0.2)
    along = np.interp(np.linspace(0, 1, STEPS), np.linspace(0, 1, 6), rng.normal(0, 0.15, 6))
    shade = np.exp(streaks[None] + along[:, None] + rng.normal(0, 0.08, (STEPS, STRANDS)))
    reflectance = colour * shade.reshape(-1, 1)
    return Hair(vertices.astype(np.float32), _grid(), reflectance.astype(np.float32))


def _ragged(rng: np.random.Generator, height: float) -> Float[np.ndarray, " strands"]:
    """Draw a periodic curve of several frequencies."""
    turn = np.linspace(-np.pi, np.pi, STRANDS, endpoint=False)
    waves = [
        rng.normal(0, height / count**0.4) * np.sin(count * turn + rng.uniform(0, 2 * np.pi))
        for count in (1, 2, 3, 5, 8, 13, 21)
    ]
    return np.asarray(np.sum(waves, axis=0))


def _grid() -> Int32[np.ndarray, "tiles 3"]:
    """Return the triangles of a sheet, closed around the head."""
    row, column = np.meshgrid(np.arange(STEPS - 1), np.arange(STRANDS), indexing="ij")
    here = row * STRANDS + column
    right = row * STRANDS + (column + 1) % STRANDS
    quads = np.stack([here, here + STRANDS, right + STRANDS, right], axis=-1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
