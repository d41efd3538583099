"""What a texture shows where the photo doesn't: the face's other side, then the model.

Convention:
    All is done on residuals, log((photo + e) / (model + e)) of linear colours, where the model's colours are
    its reflectance in the estimated light. So a mirrored cheek takes the light of the side that it is copied
    to, and what joins two sources smoothly is a gain, not an offset. The atlas is its own mirror image, so a
    mirrored texture is a flipped one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageFilter

from inversefacenet.texture.pull_push import pull_push
from inversefacenet.texture.visibility import smoothstep

DARK: Final = 0.01
"""Linear colour added to both sides of a ratio, so that dark pixels don't decide it."""

LIMIT: Final = 3.0
"""Residuals beyond it are noise in the dark."""

UNLIKE: Final = (0.35, 0.7)
"""How far a residual may lie from what the sure region leads to expect: taken below the first, not above
the second."""

RIM_WEIGHT: Final = np.float32(0.1)
"""How much skin outside the sure region counts where colours are continued: some of it is hair after all."""

LARGEST_STEP: Final = 1.0
"""Greatest difference in brightness between the sides that is put down to light, as a logarithm."""

LARGEST_HUE_STEP: Final = 0.2
"""The same for what a channel differs beyond brightness."""

COARSE: Final = 32
"""Blocks on a side of the atlas over which the difference between the sides is averaged."""

_CHROMA: Final = 3.0


@dataclass(frozen=True, eq=False)
class Filling:
    """Smooth fields over the atlas that tell how a texture is put together.

    Attributes:
        photo: Weight of the photo.
        mirrored: Weight of the mirrored photo, where the photo itself isn't taken.
        offset: What is added to mirrored residuals to join the photo's.
        continued: Residuals continued from what is known, for where neither side is seen.
    """

    photo: Float32[np.ndarray, "size size"]
    mirrored: Float32[np.ndarray, "size size"]
    offset: Float32[np.ndarray, "size size 3"]
    continued: Float32[np.ndarray, "size size 3"]


def residual(
    colours: Float32[np.ndarray, "*texels 3"], modelled: Float32[np.ndarray, "*texels 3"]
) -> Float32[np.ndarray, "*texels 3"]:
    """Return the log ratio of linear colours to the model's."""
    ratio = np.log(np.maximum(colours, 0) + np.float32(DARK))
    ratio -= np.log(np.maximum(modelled, 0) + np.float32(DARK))
    return np.clip(ratio, -LIMIT, LIMIT, out=ratio)


def applied(
    residuals: Float32[np.ndarray, "*texels 3"], modelled: Float32[np.ndarray, "*texels 3"]
) -> Float32[np.ndarray, "*texels 3"]:
    """Return the linear colours that residuals make of the model's."""
    colours = np.exp(residuals)
    colours *= np.maximum(modelled, 0) + np.float32(DARK)
    colours -= np.float32(DARK)
    return colours


def fill(
    residuals: Float32[np.ndarray, "size size 3"],
    seen: Float32[np.ndarray, "size size"],
    clear: Float32[np.ndarray, "size size"],
    part: UInt8[np.ndarray, "size size"],
    sure: Bool[np.ndarray, "size size"],
) -> Filling:
    """Plan a texture.

    Args:
        residuals: Of the photo, at each texel.
        seen: How well the photo shows each texel.
        clear: 0 where the photo is overexposed and says nothing of other places, 1 elsewhere.
        part: 1 + the face model's part of each texel, 0 outside the islands; part 1 is the skin.
        sure: Texels of the region that every photo of a face shows as it is: not hair or background.
    """
    inside = part > 0
    skin = part == 1
    certain = seen * clear * (sure & skin)
    typical = _mean(residuals, certain)
    expected = pull_push(residuals, certain, typical)
    photo = seen * np.where(skin & ~sure, _alike(residuals - expected), 1).astype(np.float32)
    # Of lips, mouth and eyes the photo shows narrow bands, of which little may be lost.
    narrow, wide = (_feathered(photo, inside, radius) for radius in (1, max(1, len(photo) // 128)))
    photo = np.where(sure | ~skin, narrow, wide)
    telling = photo * clear
    mirrored = telling[:, ::-1] * (1 - photo)
    flipped = residuals[:, ::-1]
    both = telling * telling[:, ::-1] * skin
    offset = _coarse_continuation(_limited(residuals - flipped), both)
    joined = telling[..., None] * residuals + mirrored[..., None] * (flipped + offset)
    known = telling + mirrored
    joined /= np.maximum(known, np.float32(1e-6))[..., None]
    continued = np.zeros_like(residuals)
    for number in range(1, int(part.max()) + 1):
        mine = part == number
        rows, columns = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
        if not len(rows):
            continue
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        spread = pull_push(
            joined[box], (known * np.where(sure | ~skin, 1, RIM_WEIGHT))[box] * mine[box], typical
        )
        continued[box] = np.where(mine[box][..., None], spread, continued[box])
    return Filling(photo, telling[:, ::-1].copy(), offset, continued)


def _mean(
    residuals: Float32[np.ndarray, "size size 3"], weights: Float32[np.ndarray, "size size"]
) -> Float32[np.ndarray, "3"]:
    total = float(weights.sum())
    if total < 1:
        return np.zeros(3, np.float32)
    return np.asarray(np.einsum("yxc,yx->c", residuals, weights) / total, np.float32)


def _limited(difference: Float32[np.ndarray, "size size 3"]) -> Float32[np.ndarray, "size size 3"]:
    """Hold back differences between the sides that no light makes: a mole, or a tooth beside a lip."""
    brightness = np.clip(difference.mean(axis=2, keepdims=True), -LARGEST_STEP, LARGEST_STEP)
    hue = difference - difference.mean(axis=2, keepdims=True)
    return np.asarray(brightness + np.clip(hue, -LARGEST_HUE_STEP, LARGEST_HUE_STEP), np.float32)


def _coarse_continuation(
    values: Float32[np.ndarray, "size size 3"], weights: Float32[np.ndarray, "size size"]
) -> Float32[np.ndarray, "size size 3"]:
    """Continue the means over blocks, so that no single feature at the border of what is known decides."""
    size = len(weights)
    shape = (COARSE, size // COARSE, COARSE, size // COARSE)
    parts = weights.reshape(shape).mean(axis=(1, 3))
    sums = (values * weights[..., None]).reshape(*shape, 3).mean(axis=(1, 3))
    means = (sums / np.maximum(parts, np.float32(1e-6))[..., None]).astype(np.float32)
    coarse = pull_push(means, np.minimum(2 * parts, 1).astype(np.float32), np.zeros(3, np.float32))
    channels = (Image.fromarray(np.ascontiguousarray(coarse[..., channel])) for channel in range(3))
    larger = [np.asarray(one.resize((size, size), Image.Resampling.BICUBIC)) for one in channels]
    return np.stack(larger, axis=-1)


def _alike(difference: Float32[np.ndarray, "size size 3"]) -> Float32[np.ndarray, "size size"]:
    """Return 1 for residuals near what is expected; hair and background are darker or of another hue."""
    brightness = difference.mean(axis=2)
    chroma = np.linalg.norm(difference - brightness[..., None], axis=2)
    distance = np.hypot(brightness, _CHROMA * chroma).astype(np.float32)
    return 1 - smoothstep(distance, *UNLIKE)


def _feathered(
    weights: Float32[np.ndarray, "size size"], inside: Bool[np.ndarray, "size size"], radius: int
) -> Float32[np.ndarray, "size size"]:
    """Lower weights near where they are low, so that sources blend; islands' edges don't count as low."""
    low = Image.fromarray((inside & (weights < 0.5)).astype(np.uint8) * 255)
    kept = inside & (np.asarray(low.filter(ImageFilter.BoxBlur(radius))) == 0)
    soft, share = (
        np.asarray(
            Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(radius)), np.float32
        )
        for mask in (kept, inside)
    )
    return np.asarray(np.where(inside, weights * soft / np.maximum(share, 1), 0), np.float32)
