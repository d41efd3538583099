"""A table of faces to look at: each photo beside its reconstruction, as a page or as a picture.

The page is one HTML file that holds all it shows and asks no server for anything. Photos are read again from
where the table says they lie; one that is gone, or has changed its size, gets a card that says so.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from inversefacenet.batch.files import write_atomically
from inversefacenet.batch.rows import read_rows
from inversefacenet.camera import Placement
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.image import load_photo
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.visualisation import lay_over

Row = dict[str, Any]
Order = Literal["table", "worst"]

SIDE: Final = 160
"""Side of each of a card's two pictures in pixels."""

SUFFIXES: Final = (".html", ".png")
MOST_ON_A_PICTURE: Final = 400
_MARGIN: Final = 0.35  # of the box's longer side, on each side
_TEXT: Final = 34  # height of the text under a PNG's pictures
_GAP: Final = 8
_BADGES: Final = {"good": "#1a7f37", "doubtful": "#9a6700", "failed": "#cf222e"}
_PAPER: Final = (250, 250, 250)
_EMPTY: Final = (228, 228, 228)
_INK: Final = (40, 40, 40)


@dataclass(frozen=True, eq=False)
class Card:
    """One row of the table, ready to be shown.

    Attributes:
        name: The photo's path, and the face's number where it has several.
        photo: The face in the photo; None where there is nothing to see.
        face: The same with the reconstruction laid over it.
        verdict: "good", "doubtful" or "failed".
        text: Measures, or what went wrong.
    """

    name: str
    photo: UInt8[np.ndarray, "side side 3"] | None
    face: UInt8[np.ndarray, "side side 3"] | None
    verdict: str
    text: str


def write_sheet(
    table: Path,
    output: Path,
    *,
    limit: int = 200,
    order: Order = "table",
    model: MorphableModel | None = None,
    root: Path | None = None,
) -> tuple[int, int]:
    """Write a contact sheet of a table.

    Args:
        table: What `inversefacenet batch` wrote: .parquet or .jsonl.
        output: A page (.html) or a picture (.png).
        limit: Most rows shown. Of a longer table rows spread evenly over it, or the worst.
        order: As in the table, or the least trusted first, photos without a face before them.
        model: The face model that the table was made with; by default the shipped one.
        root: Folder that relative paths of photos start at; by default the present one.

    Returns:
        How many rows are shown, and how many the table has.

    Raises:
        InputError: If the output's ending is neither, the limit too large for a picture, or the table none.
        MissingDependencyError: If a Parquet table is given without PyArrow.
    """
    check_sheet(output, limit)
    rows, total = _choose(table, limit, order)
    model = model or MorphableModel.load_default()
    cards = (make_card(row, model, root or Path()) for row in rows)
    content = (
        _page(table.name, cards, len(rows), total).encode("utf-8", "replace")  # names may be no text
        if output.suffix.lower() == ".html"
        else _picture(list(cards))
    )
    write_atomically(output, content)
    return len(rows), total


def check_sheet(output: Path, limit: int) -> None:
    """Check what can be checked before any work is done.

    Raises:
        InputError: If the file's ending is neither .html nor .png, or the limit too large for a picture.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise InputError(f"{output}: contact sheets are written as {' or '.join(SUFFIXES)}.")
    if output.suffix.lower() == ".png" and limit > MOST_ON_A_PICTURE:
        raise InputError(
            f"A picture shows at most {MOST_ON_A_PICTURE} rows: ask for fewer, or for an .html page."
        )


def make_card(row: Row, model: MorphableModel, root: Path) -> Card:
    """Read a row's photo again and lay the face over it."""
    name = str(row["photo"]) + (f" #{row['face']}" if (row["faces"] or 0) > 1 else "")
    if row["problem"] is not None:
        return Card(name, None, None, "failed", f"{row['problem']}: {row['message']}")
    try:
        image = load_photo(root / row["photo"])
        if image.shape[:2] != (row["height"], row["width"]):
            raise InputError("The photo is another one than when the table was made.")
        view = _view(row["box"])
        photo = _cut(image, view)
        scale, x, y = row["placement"]
        placement = Placement(scale, (x, y)).then(view)
        parameters = Parameters.from_vector(np.asarray(row["parameters"], np.float32))
        face = lay_over(photo, model, parameters, placement)
    except (OSError, InverseFaceNetError) as error:
        return Card(name, None, None, "failed", f"can't be shown: {error}")
    quality = row["quality"]
    confidence = quality["confidence"]
    sure = "" if confidence is None or not np.isfinite(confidence) else f", confidence {confidence:.2f}"
    text = f"photometric {quality['photometric']:.1f}, IoU {quality['iou']:.3f}{sure}"
    return Card(name, photo, face, str(quality["verdict"]), text)


def _choose(table: Path, limit: int, order: Order) -> tuple[list[Row], int]:
    """Return the rows to show, and how many there are; the table may be longer than the memory."""
    worth = [_worth(row) for row in read_rows(table)]
    total = len(worth)
    if order == "worst":
        shown = sorted(range(total), key=lambda index: (worth[index], index))[:limit]
    else:
        shown = np.unique(np.linspace(0, total - 1, min(limit, total)).round().astype(int)).tolist()
    wanted = set(shown)
    kept = {index: row for index, row in enumerate(read_rows(table)) if index in wanted}
    return [kept[index] for index in shown], total


def _worth(row: Row) -> float:
    if row["problem"] is not None:
        return -1.0
    confidence = row["quality"]["confidence"]
    return 1.0 if confidence is None or not np.isfinite(confidence) else float(confidence)


def _view(box: Sequence[float]) -> Placement:
    """Return photo pixels to card pixels: the square of whole pixels around a box, with some room."""
    left, top, right, bottom = box
    side = max(round(max(right - left, bottom - top) * (1 + 2 * _MARGIN)), 1)
    scale = SIDE / side
    corner_x, corner_y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    return Placement(scale, (-scale * corner_x, -scale * corner_y))


def _cut(image: UInt8[np.ndarray, "height width 3"], view: Placement) -> UInt8[np.ndarray, "side side 3"]:
    """Cut the square out of the photo; black where it reaches past the edge."""
    corner = view.inverse().apply(np.array([[0.0, 0.0], [SIDE, SIDE]]))
    (left, top), (right, bottom) = np.rint(corner).astype(int)
    square = Image.fromarray(image).crop((int(left), int(top), int(right), int(bottom)))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _page(title: str, cards: Iterator[Card], shown: int, total: int) -> str:
    body = "\n".join(_html_card(card) for card in cards)
    note = f"{total} rows" if shown == total else f"{shown} of {total} rows"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{html.escape(title)}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; }}
main {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax({2 * SIDE}px, 1fr)); }}
figure {{ margin: 0; border: 1px solid #8886; border-radius: 6px; overflow: hidden; }}
figure div {{ display: flex; }}
img {{ width: 50%; aspect-ratio: 1; display: block; }}
figcaption {{ padding: .4rem .6rem; overflow-wrap: anywhere; }}
b {{ color: #fff; border-radius: 4px; padding: 0 .4em; font-weight: 600; }}
small {{ opacity: .75; }}
</style></head><body>
<h1>{html.escape(title)}</h1>
<p>{note}. Left the photo, right the reconstruction laid over it.</p>
<main>
{body}
</main></body></html>
"""


def _html_card(card: Card) -> str:
    pictures = ""
    if card.photo is not None and card.face is not None:
        pictures = "".join(
            f'<img alt="{what}" src="data:image/jpeg;base64,{_jpeg(pixels)}">'
            for what, pixels in (("photo", card.photo), ("reconstruction", card.face))
        )
    badge = f'<b style="background:{_BADGES.get(card.verdict, "#57606a")}">{html.escape(card.verdict)}</b>'
    return (
        f"<figure><div>{pictures}</div><figcaption>{badge} {html.escape(card.name)}<br>"
        f"<small>{html.escape(card.text)}</small></figcaption></figure>"
    )


def _jpeg(pixels: UInt8[np.ndarray, "side side 3"]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=88)
    return base64.b64encode(file.getvalue()).decode()


def _picture(cards: Sequence[Card]) -> bytes:
    """Set cards in rows, about as wide as high."""
    columns = max(1, min(len(cards), round((len(cards) / 2 * 1.2) ** 0.5)))
    rows = -(-len(cards) // columns) if cards else 0
    wide, high = 2 * SIDE + _GAP, SIDE + _TEXT + _GAP
    sheet = Image.new("RGB", (columns * wide + _GAP, max(rows * high, 1) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for index, card in enumerate(cards):
        left, top = _GAP + index % columns * wide, _GAP + index // columns * high
        draw.rectangle((left, top, left + 2 * SIDE - 1, top + SIDE - 1), _EMPTY)
        for number, pixels in enumerate((card.photo, card.face)):
            if pixels is not None:
                sheet.paste(Image.fromarray(pixels), (left + number * SIDE, top))
        draw.rectangle(
            (left, top + SIDE, left + 2 * SIDE - 1, top + SIDE + 3), _BADGES.get(card.verdict, "#57606a")
        )
        for line, text in enumerate((card.name[-52:], f"{card.verdict}: {card.text}")):
            plain = " ".join(text.encode("latin-1", "replace").decode("latin-1").splitlines())
            draw.text((left + 2, top + SIDE + 5 + 14 * line), _fitted(draw, plain, font), _INK, font)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return as much of a text as fits under a card."""
    if draw.textlength(text, font) <= 2 * SIDE - 4:
        return text
    while text and draw.textlength(text + "...", font) > 2 * SIDE - 4:
        text = text[:-1]
    return text + "..."
