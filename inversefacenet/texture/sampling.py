"""A photo looked up at points, with as much of it under a texel as the texel covers.

Convention:
    Points are continuous pixels of the photo, centres at half integers. Colours are averaged in linear
    light. Where a texel covers several pixels, a coarser copy of the photo is read: two powers of two
    interpolated between, so that nothing shimmers and no step shows (Williams 1983).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from inversefacenet.colour import to_linear


@dataclass(frozen=True, eq=False)
class PhotoSampler:
    """The part of a photo around a face, at several resolutions.

    Attributes:
        levels: Linear RGB, each half as fine as the one before.
        corner: The part's upper left corner in the photo's pixels.
        scale: Pixels of the finest level per pixel of the photo: (x, y), at most 1.
    """

    levels: tuple[Float32[np.ndarray, "_ _ 3"], ...]
    corner: tuple[int, int]
    scale: tuple[float, float]

    @classmethod
    def around(
        cls,
        image: UInt8[np.ndarray, "height width 3"],
        points: Float32[np.ndarray, "points 2"],
        finest: float,
        coarsest: float,
    ) -> PhotoSampler:
        """Prepare the part of a photo that points lie in.

        Args:
            image: An sRGB photo.
            points: Where it will be read, in its pixels; beyond its border the border's colours continue.
            finest: Least number of photo pixels across a texel.
            coarsest: Greatest number of photo pixels across a texel.
        """
        height, width = image.shape[:2]
        low = np.clip(np.floor(points.min(axis=0)) - 2, 0, [width - 1, height - 1]).astype(int)
        high = np.clip(np.ceil(points.max(axis=0)) + 2, low + 1, [width, height]).astype(int)
        part = image[low[1] : high[1], low[0] : high[0]]
        rows, columns = part.shape[:2]
        reduction = max(finest, 1.0)
        size = (max(1, round(columns / reduction)), max(1, round(rows / reduction)))
        levels = [_reduced(part, size) if size != (columns, rows) else _linear(part)]
        while coarsest / reduction > 2 ** (len(levels) - 1) and min(levels[-1].shape[:2]) > 1:
            levels.append(_halved(levels[-1]))
        return cls(tuple(levels), (int(low[0]), int(low[1])), (size[0] / columns, size[1] / rows))

    def __call__(
        self, points: Float32[np.ndarray, "points 2"], footprint: Float32[np.ndarray, " points"]
    ) -> Float32[np.ndarray, "points 3"]:
        """Return linear colours.

        Args:
            points: Where to look, in the photo's pixels.
            footprint: How many of them a texel covers across.
        """
        local = (points - np.asarray(self.corner, np.float32)) * np.asarray(self.scale, np.float32)
        if len(self.levels) == 1:
            return bilinear(self.levels[0], local)
        level = np.log2(np.maximum(footprint * min(self.scale), 1)).clip(0, len(self.levels) - 1)
        colours = np.zeros((len(points), 3), np.float32)
        for number, picture in enumerate(self.levels):
            share = np.maximum(1 - np.abs(level - number), 0)
            (used,) = np.nonzero(share)
            colours[used] += share[used, None] * bilinear(picture, local[used] / np.float32(2**number))
        return colours


def _linear(picture: UInt8[np.ndarray, "*texels"]) -> Float32[np.ndarray, "*texels"]:
    return to_linear(picture).astype(np.float32, copy=False)


def _reduced(
    picture: UInt8[np.ndarray, "height width 3"], size: tuple[int, int]
) -> Float32[np.ndarray, "rows columns 3"]:
    """Resample to (columns, rows) with antialiasing, a channel at a time for the memory's sake."""
    channels = (Image.fromarray(_linear(picture[..., channel])) for channel in range(3))
    return np.stack([np.asarray(one.resize(size, Image.Resampling.BILINEAR)) for one in channels], axis=-1)


def bilinear(
    picture: Float32[np.ndarray, "height width channels"], points: Float32[np.ndarray, "points 2"]
) -> Float32[np.ndarray, "points channels"]:
    """Interpolate a picture at points in its continuous pixels; beyond its border the border continues."""
    height, width, channels = picture.shape
    x = np.clip(points[:, 0] - np.float32(0.5), 0, width - 1)
    y = np.clip(points[:, 1] - np.float32(0.5), 0, height - 1)
    column, row = x.astype(np.int32), y.astype(np.int32)
    right, below = (x - column)[:, None], (y - row)[:, None]
    index = row * width + column
    step = np.minimum(column + 1, width - 1) - column
    down = (np.minimum(row + 1, height - 1) - row) * width
    flat = picture.reshape(-1, channels)
    upper, other = flat.take(index, axis=0), flat.take(index + step, axis=0)
    upper += (other - upper) * right
    index += down
    lower, other = flat.take(index, axis=0), flat.take(index + step, axis=0)
    lower += (other - lower) * right
    upper += (lower - upper) * below
    return upper


def _halved(picture: Float32[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "rows columns 3"]:
    """Return the means of blocks of 2 x 2; an odd row or column at the end is repeated."""
    height, width = picture.shape[:2]
    even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.asarray((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4, np.float32)
