"""Colours around a texture's islands, so that filters which reach over their edges find no black."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from inversefacenet.texture.pull_push import pull_push

_COARSE: Final = 128
_RINGS: Final = 4
_NEIGHBOURS: Final = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


def fill_gutter(picture: UInt8[np.ndarray, "size size 3"], inside: Bool[np.ndarray, "size size"]) -> None:
    """Continue the islands' colours over the rest of a texture, in place.

    The texels next to an island repeat its edge, so that interpolation there is right; further out smooth
    colours serve the coarse copies that viewers make of a texture.

    Args:
        picture: The texture.
        inside: True for the texels of islands.
    """
    size = len(picture)
    shares = np.asarray(
        Image.fromarray(inside.astype(np.float32)).resize((_COARSE, _COARSE), Image.Resampling.BOX)
    )
    masked = Image.fromarray(picture * inside[..., None])
    sums = np.asarray(masked.resize((_COARSE, _COARSE), Image.Resampling.BOX), np.float32)
    means = sums / np.maximum(shares, np.float32(1e-3))[..., None]
    known = (shares > 0.05).astype(np.float32)
    smooth = pull_push(means.astype(np.float32), known, np.full(3, 128, np.float32))
    coarse = Image.fromarray(np.clip(smooth + 0.5, 0, 255).astype(np.uint8))
    far = np.asarray(coarse.resize((size, size), Image.Resampling.BILINEAR))
    np.copyto(picture, far, where=~inside[..., None])
    done = np.pad(inside, 1)
    for _ in range(_RINGS):
        done = _grow(picture, done)


def _grow(
    picture: UInt8[np.ndarray, "size size 3"], done: Bool[np.ndarray, "padded padded"]
) -> Bool[np.ndarray, "padded padded"]:
    """Give the texels next to done ones the colour of a done neighbour; return what is done then."""
    near = np.zeros_like(done)
    near[1:] |= done[:-1]
    near[:-1] |= done[1:]
    near[:, 1:] |= near[:, :-1] | done[:, :-1]
    near[:, :-1] |= near[:, 1:] | done[:, 1:]
    near &= ~done
    near[[0, -1]] = False
    near[:, [0, -1]] = False
    row, column = np.nonzero(near)
    left = np.ones(len(row), bool)
    for down, right in _NEIGHBOURS:
        found = left & done[row + down, column + right]
        picture[row[found] - 1, column[found] - 1] = picture[row[found] + down - 1, column[found] + right - 1]
        left &= ~found
    grown = done.copy()
    grown[row[~left], column[~left]] = True
    return grown
