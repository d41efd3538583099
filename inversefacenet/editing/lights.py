"""Named lights, and lights made of a direction and a colour.

Convention:
    A direction points from the face to the light, in camera axes: x to the image's right, y up, z to the
    viewer. So "left" comes from the image's left, whatever side of the subject that is.
    A light here is relative: its coefficients have a mean irradiance of 1 (times its colour) over the normals
    that look at the viewer, and are multiplied by the photo's present mean irradiance, channel by channel.
    A new light so keeps the photo's exposure and white balance; only a lamp behind the head, with little
    light around, leaves the face dark. Absolute coefficients are used as they are.
    Worked value: a lamp shines max(0, cos) on a normal; as second-order harmonics that is 1/4 + cos/2 +
    (5/32)(3 cos² - 1), 1.0625 where the normal points to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Float, Float32

from inversefacenet.illumination import irradiance, sh_basis

Vector = tuple[float, float, float]

LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722])
"""Share of linear red, green and blue in the luminance (ITU-R BT.709)."""

# Clamped cosine in our basis, per order (Ramamoorthi and Hanrahan 2001, Eq. 8): by the addition theorem the
# sum of H_lm(n) H_lm(d) over m is (2l + 1) P_l(cos).
_COSINE: Final = np.repeat([1 / 4, 1 / 6, 1 / 16], [1, 3, 5])
_WHITE: Final = (1.0, 1.0, 1.0)
_CAP: Final = 0.25  # normals whose z is larger look at the viewer
# Lamps aren't raised beyond what this mean brightness needs: of one behind the head the harmonics show little
# but ripples.
_DIMMEST: Final = 0.16


@dataclass(frozen=True)
class Light:
    """Lamps in surrounding light.

    Attributes:
        lamps: Direction, linear RGB colour and weight of each lamp.
        ambient: Share of light that comes from everywhere, 0 to 1.
        colour: Linear RGB of the surrounding light.
        exposure: Mean irradiance over the face, as a multiple of the present light's.
    """

    lamps: tuple[tuple[Vector, Vector, float], ...]
    ambient: float = 0.3
    colour: Vector = _WHITE
    exposure: float = 1.0

    def coefficients(self) -> Float32[np.ndarray, "9 3"]:
        """Return relative coefficients: their mean irradiance's luminance is `exposure`, less from behind."""
        total = np.zeros((9, 3))
        share = sum(weight for _, _, weight in self.lamps)
        for direction, colour, weight in self.lamps:
            lamp = lamp_coefficients(direction, colour)
            total += (1 - self.ambient) * weight / share * lamp / _brightness(lamp_coefficients(direction))
        total[0] += self.ambient * np.asarray(self.colour)
        return (total * self.exposure / _brightness(total)).astype(np.float32)


def lamp_coefficients(
    direction: Sequence[float], colour: Sequence[float] = _WHITE
) -> Float[np.ndarray, "9 3"]:
    """Return irradiance coefficients of one lamp far away.

    Args:
        direction: From the face to the lamp, of any length but 0.
        colour: Linear RGB of the irradiance where the lamp shines straight down.
    """
    towards = np.asarray(direction, np.float64)
    towards = towards / np.linalg.norm(towards)
    return np.outer(_COSINE * sh_basis(towards), np.asarray(colour, np.float64))


def directional_light(direction: Vector, colour: Vector = _WHITE, ambient: float = 0.3) -> Light:
    """Return the light of one lamp in surrounding white light.

    Args:
        direction: From the face to the lamp.
        colour: Linear RGB of the lamp.
        ambient: Share of the surrounding light, 0 to 1.
    """
    return Light(((direction, colour, 1.0),), ambient)


def mean_irradiance(coefficients: Float[np.ndarray, "9 3"]) -> Float[np.ndarray, "3"]:
    """Return the mean RGB irradiance over normals that look at the viewer."""
    return np.asarray(irradiance(_cap_normals(), coefficients.astype(np.float64)).mean(axis=0))


def relative_to(
    light: Float[np.ndarray, "9 3"], present: Float[np.ndarray, "9 3"]
) -> Float32[np.ndarray, "9 3"]:
    """Give a relative light the exposure and white balance of the present one."""
    return (light * np.maximum(mean_irradiance(present), 0.02)).astype(np.float32)


def light_names() -> tuple[str, ...]:
    """Return the names of the lights."""
    return tuple(LIGHTS)


def _brightness(coefficients: Float[np.ndarray, "9 3"]) -> float:
    return max(float(mean_irradiance(coefficients) @ LUMINANCE), _DIMMEST)


def _cap_normals() -> Float[np.ndarray, "normals 3"]:
    """Return evenly spread unit normals that look at the viewer (a Fibonacci spiral)."""
    count = 128
    z = _CAP + (1 - _CAP) * (np.arange(count) + 0.5) / count
    angle = np.pi * (3 - 5**0.5) * np.arange(count)
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def _lamp(
    x: float, y: float, z: float, colour: Vector = _WHITE, weight: float = 1.0
) -> tuple[Vector, Vector, float]:
    return (x, y, z), colour, weight


LIGHTS: Final[Mapping[str, Light]] = MappingProxyType(
    {
        "soft": Light((_lamp(0, 0.4, 1),), ambient=0.75),
        "front": Light((_lamp(0, 0.1, 1),), ambient=0.25),
        "left": Light((_lamp(-1, 0.15, 0.5),), ambient=0.35),
        "right": Light((_lamp(1, 0.15, 0.5),), ambient=0.35),
        "top": Light((_lamp(0, 1, 0.6),), ambient=0.35),
        "below": Light((_lamp(0, -1, 0.6),), ambient=0.4),
        "top-left": Light((_lamp(-0.7, 0.7, 0.5),), ambient=0.25),
        "top-right": Light((_lamp(0.7, 0.7, 0.5),), ambient=0.25),
        "studio": Light((_lamp(-0.6, 0.5, 0.8), _lamp(0.9, 0.1, 0.6, weight=0.35)), ambient=0.35),
        "rim": Light((_lamp(-1, 0.2, -0.25), _lamp(1, 0.2, -0.25)), ambient=0.25, exposure=0.8),
        "window": Light((_lamp(-0.8, 0.3, 0.6, (0.92, 0.98, 1.12)),), ambient=0.35, colour=(1.03, 1.0, 0.95)),
        "sunset": Light(
            (_lamp(0.85, 0.15, 0.5, (1.5, 0.85, 0.45)),),
            ambient=0.35,
            colour=(0.88, 0.95, 1.25),
            exposure=0.95,
        ),
        "moonlight": Light(
            (_lamp(-0.4, 0.9, 0.4, (0.75, 0.95, 1.45)),), ambient=0.3, colour=(0.75, 0.92, 1.4), exposure=0.45
        ),
        "neon": Light(
            (_lamp(-1, 0.1, 0.4, (1.7, 0.35, 1.3)), _lamp(1, 0.1, 0.4, (0.3, 1.15, 1.6))),
            ambient=0.2,
            exposure=0.85,
        ),
    }
)
"""Lights by name: relative, so that each suits a photo of any exposure."""
