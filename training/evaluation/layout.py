"""Pictures set out in labelled rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from inversefacenet.errors import InputError

GAP: Final = 4
_PAPER: Final = (255, 255, 255)
_INK: Final = (20, 20, 20)


def labelled_grid(
    rows: Sequence[Sequence[UInt8[np.ndarray, "_ _ 3"]]],
    column_labels: Sequence[str] = (),
    row_labels: Sequence[str] = (),
    size: int = 16,
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Set pictures in rows and columns on white.

    Args:
        rows: Pictures of one height in each row, and of one width in each column.
        column_labels: What stands above each column; none is fine.
        row_labels: What stands before each row; none is fine.
        size: Height of the writing in pixels.

    Raises:
        InputError: If there is no picture.
    """
    if not rows or not rows[0]:
        raise InputError("There is no picture to set out: no face was found in these photos.")
    font = ImageFont.load_default(float(size))
    left = max((int(font.getlength(label)) + 3 * GAP for label in row_labels), default=0)
    top = size + 3 * GAP if column_labels else 0
    widths = [picture.shape[1] for picture in rows[0]]
    heights = [row[0].shape[0] for row in rows]
    canvas = Image.new(
        "RGB",
        (left + sum(widths) + GAP * (len(widths) - 1), top + sum(heights) + GAP * (len(heights) - 1)),
        _PAPER,
    )
    draw = ImageDraw.Draw(canvas)
    columns = np.cumsum([left, *(width + GAP for width in widths)])
    lines = np.cumsum([top, *(height + GAP for height in heights)])
    for number, row in enumerate(rows):
        for place, picture in zip(columns, row, strict=False):
            canvas.paste(Image.fromarray(np.ascontiguousarray(picture)), (int(place), int(lines[number])))
    for place, width, label in zip(columns, widths, column_labels, strict=False):
        draw.text((place + width / 2, top / 2), label, fill=_INK, font=font, anchor="mm")
    for line, height, label in zip(lines, heights, row_labels, strict=False):
        draw.text((left - 2 * GAP, line + height / 2), label, fill=_INK, font=font, anchor="rm")
    return np.asarray(canvas)
