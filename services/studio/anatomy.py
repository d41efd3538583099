"""The face taken apart, as in Figure 2 of the paper: shape, expression, skin and light, each alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.colour import srgb_encode
from inversefacenet.editing.lights import mean_irradiance
from inversefacenet.illumination import irradiance
from inversefacenet.image import encode_png
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.visualisation import face_picture

PARTS: Final = ("shape", "expression", "skin", "light")

_BALL: Final = 0.92  # of half the picture
_CLAY: Final = 0.8
_SAMPLES: Final = 2
_BRIGHTEST: Final = 0.92
_GOLDEN_ANGLE: Final = math.pi * (3 - math.sqrt(5))


def part_picture(
    model: MorphableModel, parameters: Parameters, part: str, size: int, own: Parameters | None = None
) -> bytes:
    """Return one part of a face as PNG, transparent beside it.

    Args:
        model: The face model.
        parameters: The face.
        part: "shape" draws the geometry with the mean expression, "expression" with its own, "skin" the
            reflectance in white light from everywhere, "light" a pale ball in the face's light.
        size: Side in pixels.
        own: The face before any edit: its light says how bright skin and ball are shown, for a photo fixes
            the product of light and skin alone.
    """
    shown = (own or parameters).illumination
    straight = replace(parameters, rotation=np.zeros(3, np.float32))
    if part == "light":
        return encode_png(light_ball(parameters.illumination * _exposure(shown), size))
    if part == "skin":
        even = np.zeros((9, 3), np.float32)
        even[0] = mean_irradiance(shown).mean()
        return encode_png(face_picture(model, replace(straight, illumination=even), size, background=None))
    if part == "shape":
        straight = replace(straight, expression=np.zeros_like(parameters.expression))
    return encode_png(face_picture(model, straight, size, geometry=True, background=None))


def _exposure(light: Float32[np.ndarray, "9 3"]) -> np.float32:
    """Return the factor that shows a light's brightest side just below white."""
    z = (np.arange(400) + 0.5) / 400
    flat, angle = np.sqrt(1 - z * z), np.arange(400) * _GOLDEN_ANGLE
    seen = irradiance(np.stack([flat * np.cos(angle), flat * np.sin(angle), z], axis=1), light)
    return np.float32(_BRIGHTEST / (_CLAY * max(float(seen.max()), 0.05)))


def light_ball(light: Float32[np.ndarray, "9 3"], size: int) -> UInt8[np.ndarray, "size size 4"]:
    """Draw a pale ball in a light, over nothing."""
    fine = size * _SAMPLES
    across = ((np.arange(fine) + 0.5) / fine * 2 - 1) / _BALL
    x, y = np.meshgrid(across, -across)
    inside = x * x + y * y < 1
    z = np.sqrt(np.maximum(1 - x * x - y * y, 0))
    shaded = _CLAY * irradiance(np.stack([x, y, z], axis=-1), light) * inside[..., None]
    blocks = np.concatenate([shaded, inside[..., None]], axis=-1)
    mean = blocks.reshape(size, _SAMPLES, size, _SAMPLES, 4).mean(axis=(1, 3))
    colour = srgb_encode(mean[..., :3] / np.maximum(mean[..., 3:], 1e-6))
    return np.rint(255 * np.concatenate([colour, mean[..., 3:]], axis=-1)).astype(np.uint8)
