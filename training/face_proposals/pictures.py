"""Training pictures: labelled photos scaled, turned, cropped and pasted beside each other.

Convention:
    A picture's faces are rows (centre x, centre y, width) in its continuous pixels. Doubtful ones, and those
    that another photo half covers, are rows of a second list: nothing is taught at them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image, ImageFilter

from inversefacenet.errors import InputError
from inversefacenet.image import load_photo
from training.face_proposals.label_photos import SUFFIXES, Labels

WIDTHS: Final = (9.0, 125.0)
"""Least and greatest width of a pasted face, in pixels."""

CLEAR: Final = 1.6
"""A background's crop stays away from every face by so many of its widths, from centre to edge."""


@dataclass(frozen=True)
class Picture:
    """A training picture.

    Attributes:
        pixels: 8-bit RGB.
        faces: Centre and width of what is to be found.
        doubtful: Of what is neither to be found nor to be left.
    """

    pixels: UInt8[np.ndarray, "rows columns 3"]
    faces: Float32[np.ndarray, "faces 3"]
    doubtful: Float32[np.ndarray, "doubtful 3"]


class PictureMaker:
    """Makes training pictures of labelled photos.

    Args:
        folder: Of the photos that the labels name.
        labels: Their faces.
        backgrounds: Photos without any face.
    """

    def __init__(self, folder: Path, labels: Labels, backgrounds: Sequence[Path] = ()) -> None:
        boxes = labels.boxes.astype(np.float64)
        rows = np.column_stack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2] - boxes[:, 0]])
        sure = labels.scores >= 0
        self._photos = [Image.fromarray(load_photo(folder / name)) for name in labels.names]
        self._faces = _by_photo(rows[sure], labels.photo[sure], len(self._photos))
        self._doubtful = _by_photo(rows[~sure], labels.photo[~sure], len(self._photos))
        self._with_face = np.flatnonzero([len(one) > 0 for one in self._faces])
        if not len(self._with_face):
            raise InputError("The labels name no face.")
        self._scenery = [Image.fromarray(load_photo(path)) for path in backgrounds]

    def make(self, rng: np.random.Generator, shape: tuple[int, int]) -> Picture:
        """Make a picture of (rows, columns) pixels."""
        rows, columns = shape
        canvas = self._background(rng, columns, rows)
        faces, doubtful = np.zeros((0, 3)), np.zeros((0, 3))
        for _ in range(int(rng.choice([0, 1, 2, 3, 5, 8], p=[0.1, 0.5, 0.15, 0.1, 0.1, 0.05]))):
            faces, doubtful = self._paste(rng, canvas, faces, doubtful)
        if rng.random() < 0.5:
            canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            for one in (faces, doubtful):
                one[:, 0] = columns - one[:, 0]
        pixels = _relit(rng, canvas)
        return Picture(pixels, faces.astype(np.float32), doubtful.astype(np.float32))

    def _background(self, rng: np.random.Generator, width: int, height: int) -> Image.Image:
        kind = rng.random()
        if kind < 0.15:
            corners = (
                rng.integers(0, 256, (2, 2, 3)) if rng.random() < 0.5 else rng.integers(0, 256, (1, 1, 3))
            )
            noise = rng.normal(0, rng.uniform(0, 20), (height, width, 1))
            smooth = Image.fromarray(corners.astype(np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
            return Image.fromarray(np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8))
        if self._scenery and kind < 0.45:
            source = self._scenery[int(rng.integers(len(self._scenery)))]
            side = math.exp(rng.uniform(math.log(60), math.log(min(source.size))))
            x, y = rng.uniform(0, source.width - side), rng.uniform(0, source.height - side)
            return source.resize((width, height), Image.Resampling.BILINEAR, (x, y, x + side, y + side))
        for _ in range(8):
            index = int(rng.integers(len(self._photos)))
            source = self._photos[index]
            side = rng.uniform(0.15, 0.45) * min(source.size)
            x, y = rng.uniform(0, source.width - side), rng.uniform(0, source.height - side)
            near = np.concatenate([self._faces[index], self._doubtful[index]])
            away = np.maximum(np.abs(near[:, 0] - x - side / 2), np.abs(near[:, 1] - y - side / 2))
            if (away > side / 2 + CLEAR / 2 * near[:, 2]).all():
                return source.resize((width, height), Image.Resampling.BILINEAR, (x, y, x + side, y + side))
        return Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(0, 256, 3)))

    def _paste(
        self,
        rng: np.random.Generator,
        canvas: Image.Image,
        faces: Float64[np.ndarray, "faces 3"],
        doubtful: Float64[np.ndarray, "doubtful 3"],
    ) -> tuple[Float64[np.ndarray, "_ 3"], Float64[np.ndarray, "_ 3"]]:
        """Paste a photo; returns the faces then seen, and the doubtful ones."""
        index = int(self._with_face[int(rng.integers(len(self._with_face)))])
        photo, own, unsure = self._photos[index], self._faces[index], self._doubtful[index]
        if rng.random() < 0.4:
            roll = rng.normal(0, 10)
            photo = photo.rotate(-roll, Image.Resampling.BILINEAR)
            own, unsure = (_turned(one, roll, photo.size) for one in (own, unsure))
        chosen = own[int(np.argmin(np.abs(own[:, :2] - np.array(photo.size) / 2).max(axis=1)))]
        limit = min(WIDTHS[1], 1.1 * min(canvas.size))
        width = math.exp(rng.uniform(math.log(WIDTHS[0]), math.log(limit)))
        scale = width / chosen[2] * np.exp(rng.normal(0, 0.025, 2))
        # Mostly inside; at times a little of the face is cut off by the picture's edge.
        room = np.maximum(np.array(canvas.size) - 0.8 * width, 1.0)
        place = (np.array(canvas.size) - room) / 2 + rng.random(2) * room
        if rng.random() < 0.5:  # a tight cut about the face, else the whole photo
            reach = rng.uniform(0.6, 1.2, 4) * chosen[2]
            low = np.maximum(chosen[:2] - reach[:2], 0)
            high = np.minimum(chosen[:2] + reach[2:], photo.size)
        else:
            low, high = np.zeros(2), np.array(photo.size, np.float64)
        corner = np.round(place - (chosen[:2] - low) * scale).astype(int)
        size = np.maximum(np.round((high - low) * scale), 2).astype(int)
        # Only what the canvas shows is resampled.
        first, last = np.maximum(corner, 0), np.minimum(corner + size, canvas.size)
        if (last <= first).any():
            return faces, doubtful
        stretch = (high - low) / size
        (x0, y0), (x1, y1) = low + (first - corner) * stretch, low + (last - corner) * stretch
        target = (int(last[0] - first[0]), int(last[1] - first[1]))
        filters = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)
        piece = photo.resize(
            target, filters[int(rng.integers(3))], (float(x0), float(y0), float(x1), float(y1))
        )
        mask = _oval(target) if rng.random() < 0.15 and target == tuple(size) else None
        canvas.paste(piece, (int(first[0]), int(first[1])), mask)
        covered = np.array([*first, *last], np.float64)
        hidden = _covered(faces, covered)
        moved, unsure = (
            np.column_stack([(one[:, :2] - low) / stretch + corner, one[:, 2] * scale.mean()])
            for one in (own, unsure)
        )
        shown, unsure_shown = _covered(moved, covered), _covered(unsure, covered)
        if mask is not None:  # the oval hides the others
            shown = np.where((moved == moved[np.argmax(shown)]).all(axis=1), 1.0, 0.0)
        enough = (shown > 0.85) & (moved[:, 2] >= 0.9 * WIDTHS[0])
        return (
            np.concatenate([faces[hidden < 0.1], moved[enough]]),
            np.concatenate(
                [
                    doubtful,
                    faces[(hidden >= 0.1) & (hidden < 0.7)],
                    moved[~enough & (shown > 0.2)],
                    unsure[unsure_shown > 0.2],
                ]
            ),
        )


def mirrored(picture: Picture) -> Picture:
    """Return a picture mirrored left to right."""
    columns = picture.pixels.shape[1]
    faces, doubtful = (
        np.column_stack([columns - one[:, 0], one[:, 1:]]) for one in (picture.faces, picture.doubtful)
    )
    return Picture(np.ascontiguousarray(picture.pixels[:, ::-1]), faces, doubtful)


def backgrounds_of(folder: Path | None) -> list[Path]:
    """Return the photos of a folder, sorted."""
    if folder is None:
        return []
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _by_photo(
    rows: Float64[np.ndarray, "boxes 3"], photo: np.ndarray, count: int
) -> list[Float64[np.ndarray, "_ 3"]]:
    return [rows[photo == index] for index in range(count)]


def _turned(
    rows: Float64[np.ndarray, "faces 3"], degrees: float, size: tuple[int, int]
) -> Float64[np.ndarray, "faces 3"]:
    """Turn faces clockwise about the photo's middle."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    middle = np.array(size) / 2
    offset = rows[:, :2] - middle
    x, y = cosine * offset[:, 0] - sine * offset[:, 1], sine * offset[:, 0] + cosine * offset[:, 1]
    return np.column_stack([x + middle[0], y + middle[1], rows[:, 2]])


def _covered(
    rows: Float64[np.ndarray, "faces 3"], box: Float64[np.ndarray, "4"]
) -> Float64[np.ndarray, "faces"]:
    """Return which share of each face lies inside a box."""
    low = np.maximum(rows[:, :2] - rows[:, 2:] / 2, box[:2])
    high = np.minimum(rows[:, :2] + rows[:, 2:] / 2, box[2:])
    return np.maximum(high - low, 0).prod(axis=1) / rows[:, 2] ** 2


def _oval(size: tuple[int, int]) -> Image.Image:
    y, x = np.mgrid[: size[1], : size[0]]
    radius = np.hypot((x + 0.5) / size[0] * 2 - 1, (y + 0.5) / size[1] * 2 - 1)
    return Image.fromarray((np.clip((1 - radius) * 6, 0, 1) * 255).astype(np.uint8))


def _relit(rng: np.random.Generator, canvas: Image.Image) -> UInt8[np.ndarray, "rows columns 3"]:
    """Change light, colour and sharpness."""
    if rng.random() < 0.15:
        canvas = canvas.convert("L").convert("RGB")
    if rng.random() < 0.2:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.6)))
    values = np.asarray(canvas).astype(np.float32) / 255
    rows, columns = values.shape[:2]
    if rng.random() < 0.2:  # a shadow across
        angle, slope = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 1.5)
        y, x = np.mgrid[:rows, :columns].astype(np.float32)
        along = (x / columns - 0.5) * math.cos(angle) + (y / rows - 0.5) * math.sin(angle)
        values = values * np.exp(slope * along)[..., None].astype(np.float32)
    if rng.random() < 0.6:
        values = np.clip(values, 0, 1) ** np.float32(math.exp(rng.normal(0, 0.4)))
        gain = math.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.08, 3))
        values = (values - 0.5) * np.float32(math.exp(rng.normal(-0.1, 0.25))) + 0.5
        values = values * gain.astype(np.float32) + np.float32(rng.normal(0, 0.05))
    if rng.random() < 0.3:
        values = values + rng.normal(0, rng.uniform(0, 0.06), values.shape).astype(np.float32)
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
