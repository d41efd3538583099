"""Let dlib's frontal detector label photos: ``python -m training.face_proposals.label_photos``.

Each photo is searched once, at a fixed area. Detections that are almost made are noted with their negative
margins: nothing is taught there. Photos without any detection are left out: what they show isn't known.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from inversefacenet.dlib_models import DlibModels
from inversefacenet.errors import ImageError, InputError, InverseFaceNetError
from inversefacenet.image import load_photo

AREA: Final = 160_000.0
"""Pixels of the searched copy."""

DOUBTFUL: Final = -0.4
"""Margins from here up are noted; those of faces are 0 and more."""

SUFFIXES: Final = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Labels:
    """Faces of photos.

    Attributes:
        names: Of the photos, from their folder on.
        photo: To which photo each box belongs.
        boxes: (left, top, right, bottom) in photo pixels.
        scores: Margins of the frontal detector; negative ones are doubtful.
    """

    names: list[str]
    photo: Int32[np.ndarray, "boxes"]
    boxes: Float32[np.ndarray, "boxes 4"]
    scores: Float32[np.ndarray, "boxes"]

    def save(self, path: Path) -> None:
        """Write the labels to a file."""
        np.savez(path, names=np.array(self.names), photo=self.photo, boxes=self.boxes, scores=self.scores)

    @classmethod
    def load(cls, path: Path) -> Labels:
        """Read what `save` wrote.

        Raises:
            InputError: If the file isn't there or isn't such a file.
        """
        try:
            with np.load(path) as kept:
                names = [str(name) for name in kept["names"]]
                return cls(names, kept["photo"], kept["boxes"], kept["scores"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} holds no labelled photos: label them first.") from error


def label_folder(folder: Path, step: int = 1, area: float = AREA) -> Labels:
    """Label the photos of a folder of any depth; those that can't be read are left out.

    Args:
        folder: Of the photos.
        step: Look at every so manieth.
        area: Pixels of the searched copy.

    Raises:
        InputError: If no photo shows a face.
    """
    models = DlibModels()
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    names: list[str] = []
    photos: list[int] = []
    boxes: list[tuple[float, float, float, float]] = []
    scores: list[float] = []
    for path in paths[::step]:
        try:
            photo = load_photo(path)
        except ImageError:
            continue
        found = label(models, photo, area)
        if not any(score >= 0 for _, score in found):
            continue
        photos += [len(names)] * len(found)
        boxes += [box for box, _ in found]
        scores += [score for _, score in found]
        names.append(str(path.relative_to(folder)))
    if not names:
        raise InputError(f"{folder} holds no photo with a face.")
    edges = np.array(boxes, np.float32).reshape(-1, 4)
    return Labels(names, np.array(photos, np.int32), edges, np.array(scores, np.float32))


def label(
    models: DlibModels, photo: UInt8[np.ndarray, "height width 3"], area: float = AREA
) -> list[tuple[tuple[float, float, float, float], float]]:
    """Return the boxes of a photo's faces in photo pixels, with their margins."""
    copy, x, y = _scaled(photo, area)
    rectangles, margins, _ = models.frontal().run(copy, 0, DOUBTFUL)
    return [
        ((r.left() * x, r.top() * y, (r.right() + 1) * x, (r.bottom() + 1) * y), float(margin))
        for r, margin in zip(rectangles, margins, strict=True)
    ]


def _scaled(
    photo: UInt8[np.ndarray, "height width 3"], area: float
) -> tuple[UInt8[np.ndarray, "rows columns 3"], float, float]:
    """Scale a photo to about so many pixels; with it come photo pixels per pixel, across and down."""
    height, width = photo.shape[:2]
    scale = math.sqrt(area / (width * height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return (
        np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC)),
        width / size[0],
        height / size[1],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.face_proposals.label_photos", description="Label the faces of photos."
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--step", type=int, default=1, help="look at every so manieth photo")
    parser.add_argument("--area", type=float, default=AREA, help="pixels of the searched copy")
    values = parser.parse_args(arguments)
    try:
        labels = label_folder(values.photos, values.step, values.area)
    except InverseFaceNetError as error:
        print(f"label_photos: {error}", file=sys.stderr)
        return 1
    labels.save(values.output)
    sure = int((labels.scores >= 0).sum())
    print(f"photos={len(labels.names)} faces={sure} doubtful={len(labels.scores) - sure}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
