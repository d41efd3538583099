"""Square frames in a photo, and the grey pixels in and around one, read straight from the photo.

Convention:
    A frame is a square in the photo: its centre in continuous pixels, its side, and its clockwise roll in
    radians. Frame coordinates are in sides, (0, 0) in the middle, x right and y down along the frame's own
    edges. Worked value: of the frame about (10, 20) with side 4 and roll pi / 2, (0.5, 0) is the photo's
    (10, 22).

Grey is the mean of the three channels, as dlib makes it. Where there are many photo pixels they are averaged
in whole blocks; of large blocks some evenly spaced pixels count. What lies outside the photo is black.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from typing import Any, Final, no_type_check

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from inversefacenet.compilation import compiled, compiled_inline, read_only
from inversefacenet.errors import ImageError
from inversefacenet.photo_array import FAR, check_photo

MOST_SAMPLES: Final = 4
"""Of a block usually at most so many pixels a row and a column are read."""


@dataclass(frozen=True)
class Frame:
    """A square in a photo.

    Attributes:
        x: Its centre, photo pixels.
        y: Its centre, photo pixels.
        side: Photo pixels.
        roll: Clockwise, radians.
    """

    x: float
    y: float
    side: float
    roll: float = 0.0

    def moved(self, x: float, y: float) -> Frame:
        """Return the frame about another point, given in this one's coordinates."""
        step = self.side * cmath.rect(1.0, self.roll) * complex(x, y)
        return Frame(self.x + step.real, self.y + step.imag, self.side, self.roll)

    def to_photo(self, points: Float[np.ndarray, "points 2"]) -> Float64[np.ndarray, "points 2"]:
        """Map frame coordinates to photo pixels."""
        cosine, sine = self.side * math.cos(self.roll), self.side * math.sin(self.roll)
        turned: Float64[np.ndarray, "points 2"] = points @ np.array([[cosine, sine], [-sine, cosine]])
        return turned + np.array([self.x, self.y])


@dataclass(frozen=True)
class GreyBlocks:
    """The grey surroundings of a frame.

    Attributes:
        values: The blocks' mean grey, 0 to 255.
        left: The first block's place, counted in blocks from the photo's left edge.
        top: The same from its upper edge.
        block: Side of a block in photo pixels.
        frame: What they were read around.
        reach: How far to each side, in the frame's sides.
    """

    values: Float32[np.ndarray, "rows columns"]
    left: int
    top: int
    block: int
    frame: Frame
    reach: float

    @classmethod
    def around(
        cls,
        image: UInt8[np.ndarray, "height width 3"],
        frame: Frame,
        reach: float,
        width: float,
        samples: int = MOST_SAMPLES,
    ) -> GreyBlocks:
        """Read them.

        Args:
            image: The photo.
            frame: Any.
            reach: How far to read to each side, in the frame's sides.
            width: About so many blocks the frame's side becomes at most.
            samples: Of a block at most so many pixels a row and a column are read.

        Raises:
            ImageError: If the photo is no 8-bit RGB array, or the frame lies nowhere near any photo.
        """
        if not (abs(frame.x) < FAR and abs(frame.y) < FAR and 0 <= frame.side < FAR):
            raise ImageError("The frame lies nowhere near a photo.")
        block = max(1, round(frame.side / width))
        half = reach * frame.side
        # One block more on each side, for interpolation.
        left, top = math.floor((frame.x - half) / block) - 1, math.floor((frame.y - half) / block) - 1
        columns = math.ceil((frame.x + half) / block) + 1 - left
        rows = math.ceil((frame.y + half) / block) + 1 - top
        values = np.empty((rows, columns), np.float32)
        _average(read_only(check_photo(image)), left, top, block, min(block, samples), values)
        return cls(values, left, top, block, frame, reach)

    def place(self, frame: Frame) -> tuple[complex, complex]:
        """Return where a frame's upper left corner lies, and the vector along its upper edge.

        Both are x + i y, counted in blocks; whole numbers are the middles of blocks.
        """
        step = frame.side / self.block * cmath.rect(1.0, frame.roll)
        middle = complex(frame.x / self.block - self.left, frame.y / self.block - self.top)
        return middle - complex(0.5, 0.5) - step * complex(0.5, 0.5), step

    def holds(self, frame: Frame, reach: float) -> bool:
        """Return whether they reach as far around another frame, and are neither too fine nor too coarse."""
        away = max(abs(frame.x - self.frame.x), abs(frame.y - self.frame.y))
        inside = away + reach * frame.side <= self.reach * self.frame.side
        return inside and frame.side > 0.6 * self.frame.side


@compiled
@no_type_check
def _average(image: Any, left: int, top: int, block: int, samples: int, values: Any) -> None:
    """Fill `values` with the mean grey of the blocks from (left, top) on."""
    height, width = image.shape[:2]
    rows, columns = values.shape
    share = np.float32(1.0 / (3 * samples * samples))
    values[:] = 0.0
    for row in range(rows):
        for i in range(samples):
            y = (top + row) * block + (2 * i + 1) * block // (2 * samples)
            if y < 0 or y >= height:
                continue
            for j in range(samples):
                offset = left * block + (2 * j + 1) * block // (2 * samples)
                # The columns whose pixel lies in the photo.
                first = min(max(-(offset // block), 0), columns)
                last = max(min((width - 1 - offset) // block + 1, columns), first)
                begin = offset + first * block
                if block == 1:
                    _add_pixels(image[y, begin : begin + last - first], values[row, first:last], share)
                    continue
                for column in range(last - first):
                    pixel = image[y, begin + column * block]
                    grey = np.int32(pixel[0]) + np.int32(pixel[1]) + np.int32(pixel[2])
                    values[row, first + column] += share * np.float32(grey)


@compiled_inline
@no_type_check
def _add_pixels(line: Any, sums: Any, share: Any) -> None:
    """Add neighbouring pixels; apart, so that the compiler takes several at once."""
    for x in range(len(line)):
        grey = np.int32(line[x, 0]) + np.int32(line[x, 1]) + np.int32(line[x, 2])
        sums[x] += share * np.float32(grey)
