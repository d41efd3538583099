"""Which pixels around a face are skin: by their hue, and by where a neck is.

An edit of light or skin that ended at the jaw would look like a mask. Hue alone can't say where the skin goes
on: hair and walls come near it. Below the jaw more is believed to be skin than elsewhere.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32

_HUE_SPREAD: Final = 0.025  # of the share that red and green have in a colour
_SHADOW: Final = 2.0  # squared spreads by which the hue of a shadowed neck may differ for nothing
_JAW: Final = (4, 12)  # landmarks half-way between ear and chin
_CHIN: Final = 8
_NECK_LENGTH: Final = 0.45  # below the chin, in sizes of the face
_FADE: Final = (
    0.25,
    0.3,
    0.2,
)  # over which the neck begins: half jaws aside, chin lengths down, sizes at its end


def skin_likeness(
    picture: Float32[np.ndarray, "height width 3"],
    core: Bool[np.ndarray, "height width"],
    neck: Float32[np.ndarray, "height width"] | float = 0.0,
) -> Float32[np.ndarray, "height width"]:
    """Return how much each pixel's hue is that of the face's own skin, 0 to 1; 0 where the face has no pixel.

    Args:
        picture: The photo, sRGB in [0, 1].
        core: Pixels of the face.
        neck: Where a neck is, 0 to 1 (`neck_place`): there hues may differ more, as in shadows.
    """
    if not core.any():
        return np.zeros(core.shape, np.float32)
    total = np.maximum(picture.sum(axis=2), np.float32(0.1))
    hue = picture[..., :2] / total[..., None]
    middle = np.median(hue[core], axis=0)
    spread = np.maximum(np.median(np.abs(hue[core] - middle), axis=0) * 2, np.float32(_HUE_SPREAD))
    distance = np.square((hue - middle) / spread).sum(axis=2)
    return np.exp(-np.maximum(distance - _SHADOW * neck, 0) / 2).astype(np.float32)


def neck_place(
    points: Float[np.ndarray, "68 2"],
    rotation: Float[np.ndarray, "3 3"],
    size: float,
    shape: tuple[int, int],
) -> Float32[np.ndarray, "height width"]:
    """Return where a neck is, if the picture shows one: 1 below the jaw, 0 elsewhere, between at its borders.

    Args:
        points: The face's landmarks in the picture's pixels.
        rotation: The head's, model space to camera axes.
        size: The face's size in pixels.
        shape: Height and width of the picture.
    """
    down = np.array([-rotation[0, 1], rotation[1, 1]], np.float64)
    down /= max(float(np.linalg.norm(down)), 1e-6)
    right = np.array([down[1], -down[0]])
    left_jaw, right_jaw = points[list(_JAW)]
    middle = (left_jaw + right_jaw) / 2
    half = max(abs(float((right_jaw - left_jaw) @ right)) / 2, 1.0)
    chin = max(float((points[_CHIN] - middle) @ down), 1.0)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    below = (x - middle[0]) * down[0] + (y - middle[1]) * down[1]
    aside = np.abs((x - middle[0]) * right[0] + (y - middle[1]) * right[1])
    width, top, end = _FADE
    place = np.clip((1.1 * half - aside) / (width * half), 0, 1)
    place *= np.clip((below / chin - 0.1) / top, 0, 1)
    place *= np.clip((chin + _NECK_LENGTH * size - below) / (end * size), 0, 1)
    return place.astype(np.float32)
