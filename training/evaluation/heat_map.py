"""Errors as colours, with a bar that says what the colours mean."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

# Anchors of matplotlib's "inferno": dark is little, bright is much, also in grey.
_COLOURS: Final = np.array(
    [(0, 0, 4), (51, 10, 95), (120, 28, 109), (187, 55, 84), (237, 105, 37), (252, 181, 25), (252, 255, 164)],
    np.float64,
)
_BAR: Final = 14
_INK: Final = (235, 235, 235)
GROUND: Final = (40, 40, 40)
"""What lies outside of the mask: no colour of the scale."""


def colours(values: Float[np.ndarray, "*shape"], maximum: float) -> UInt8[np.ndarray, "*shape 3"]:
    """Return the colours of values from 0 to a maximum; what is more has the maximum's colour."""
    place = np.clip(values / maximum, 0, 1) * (len(_COLOURS) - 1)
    anchors = np.arange(len(_COLOURS))
    channels = [np.interp(place, anchors, _COLOURS[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def heat_map(
    values: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"], maximum: float
) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture of values inside a mask."""
    picture = colours(values, maximum)
    picture[~mask] = GROUND
    return picture


def colour_bar(height: int, maximum: float, unit: str) -> UInt8[np.ndarray, "height width 3"]:
    """Return an upright bar of the colours with 0, the middle and the maximum written beside it."""
    size = max(10, height // 18)
    font = ImageFont.load_default(float(size))
    texts = ["0", f"{maximum / 2:g}", f"{maximum:g} {unit}"]
    width = _BAR + 16 + int(max(font.getlength(text) for text in texts)) + 4
    picture = Image.new("RGB", (width, height), GROUND)
    margin = size
    inside = height - 2 * margin
    ramp = colours(np.linspace(maximum, 0, inside)[:, None].repeat(_BAR, axis=1), maximum)
    picture.paste(Image.fromarray(ramp), (6, margin))
    draw = ImageDraw.Draw(picture)
    for text, share in zip(texts, (1.0, 0.5, 0.0), strict=True):
        y = margin + share * inside
        draw.line([(6 + _BAR, y), (10 + _BAR, y)], fill=_INK)
        draw.text((13 + _BAR, y), text, fill=_INK, font=font, anchor="lm")
    return np.asarray(picture)


def caption(
    picture: UInt8[np.ndarray, "height width 3"], text: str, size: int = 15
) -> UInt8[np.ndarray, "taller width 3"]:
    """Write a line of text above a picture, cut off where the picture ends."""
    font = ImageFont.load_default(float(size))
    line = Image.new("RGB", (picture.shape[1], size + 9), GROUND)
    ImageDraw.Draw(line).text((6, (size + 9) / 2), text, fill=_INK, font=font, anchor="lm")
    return np.concatenate([np.asarray(line), picture])


def per_pixel_error(
    photo: UInt8[np.ndarray, "height width 3"], picture: UInt8[np.ndarray, "height width 3"]
) -> Float[np.ndarray, "height width"]:
    """Return each pixel's RMSE over the channels, 0 to 255."""
    return np.sqrt(((photo.astype(np.float64) - picture) ** 2).mean(axis=2))
