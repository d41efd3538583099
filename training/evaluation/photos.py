"""The faces that are evaluated: every face that the detector finds in a folder's photographs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

import numpy as np

from inversefacenet.crop import FaceCrop, crop_face
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.image import load_photo
from inversefacenet.reconstruction import Detector

SUFFIXES: Final = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"))

Item = TypeVar("Item")


@dataclass(frozen=True)
class Sample:
    """One face to be reconstructed.

    Attributes:
        name: The photograph, relative to its folder.
        number: Which of the photograph's faces, the largest being 0.
        crop: The masked crop.
    """

    name: str
    number: int
    crop: FaceCrop


def find_photos(folder: Path, limit: int | None = None) -> list[Path]:
    """Return a folder's photographs, at any depth, in order of name.

    Args:
        folder: Where to look.
        limit: No more than so many, spread evenly over the folder, so that nobody chooses them.

    Raises:
        InputError: If there are none.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"There are no photographs in {folder}: {', '.join(sorted(SUFFIXES))} are read.")
    if limit is not None and limit < len(paths):
        return [paths[i] for i in np.linspace(0, len(paths) - 1, limit).astype(int)]
    return paths


def read_samples(
    folder: Path, path: Path, detector: Detector, faces: Literal["all", "largest"]
) -> tuple[list[Sample], str]:
    """Find and cut out the faces of a photograph.

    Returns:
        The faces, largest first, and an empty text; or no face and the reason, an error's slug.
    """
    name = path.relative_to(folder).as_posix()
    try:
        photo = load_photo(path)
        crops = [crop_face(photo, face.landmarks) for face in detector.detect(photo, faces=faces)]
    except InverseFaceNetError as error:
        return [], error.slug
    return [Sample(name, number, crop) for number, crop in enumerate(crops)], ""


def progress(items: Iterable[Item], total: int) -> Iterator[Item]:
    """Pass items on, counting them on the terminal's last line."""
    shown = sys.stderr.isatty()
    for done, item in enumerate(items, start=1):
        if shown:
            print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        yield item
