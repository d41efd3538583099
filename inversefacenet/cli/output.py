"""What the commands write: pictures, lines on the terminal, progress; and the arguments they share."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from jaxtyping import UInt8

from inversefacenet.errors import ExportError, InverseFaceNetError

if TYPE_CHECKING:
    from inversefacenet.morphable_model import MorphableModel

Item = TypeVar("Item")

PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
MESH_FORMATS: Final = ("glb", "obj", "ply")
LARGEST_PICTURE: Final = 8192
MOST_REFINE: Final = 30
LARGEST_MINIMUM: Final = 10_000.0


def complain(message: str) -> None:
    """Print one line about a problem to standard error."""
    print(f"inversefacenet: {message}", file=sys.stderr)


def describe(error: Exception) -> str:
    """Return one line that says what went wrong."""
    if isinstance(error, InverseFaceNetError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"unexpected {type(error).__name__}: {error} (run again with --debug to see where)"


def say(line: str) -> None:
    """Print a line of results to standard output, clear of a progress bar."""
    try:
        from tqdm import tqdm
    except ImportError:
        print(line)
        return
    with tqdm.external_write_mode(file=sys.stdout):
        print(line)


def progress(items: Iterable[Item], total: int, unit: str) -> Iterable[Item]:
    """Show a progress bar with the time left if there is something to wait for and a terminal to see it."""
    if total < 2 or not sys.stderr.isatty():
        return items
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    bar: Iterable[Item] = tqdm(items, total=total, unit=unit, file=sys.stderr, leave=False)
    return bar


def measures_line(quality: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> str:
    """Return the measures of a face, each as `before->after` if the face is refined."""
    words = []
    for name, digits in (("photometric", 1), ("iou", 3), ("landmark", 2)):
        # Of a crop without landmarks nobody knows their distance.
        blocks = [block for block in (before, quality) if block is not None and name in block]
        if blocks:
            words.append(f"{name}=" + "->".join(f"{block[name]:.{digits}f}" for block in blocks))
    return " ".join(words)


def write_picture(picture: UInt8[np.ndarray, "height width 3"], path: Path) -> Path:
    """Write a picture in the format that the file's name ends in, and return the path.

    Raises:
        ExportError: If the name has another ending than `PICTURE_SUFFIXES`.
    """
    from PIL import Image

    check_picture_name(path)
    # For PNG: a third of the default level's time for files some 5% larger.
    Image.fromarray(picture).save(path, compress_level=3)
    return path


def check_picture_name(path: Path) -> None:
    """Check a picture's ending before any work is done for it.

    Raises:
        ExportError: If the name has another ending than `PICTURE_SUFFIXES`.
    """
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise ExportError(f"{path}: pictures are written as {', '.join(PICTURE_SUFFIXES)}.")


def mesh_formats(text: str) -> tuple[str, ...]:
    """Parse "glb,obj,ply" or "none"."""
    if text == "none":
        return ()
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",")))
    for name in names:
        if name not in MESH_FORMATS:
            raise argparse.ArgumentTypeError(
                f"'{name}' is no mesh format: name some of {','.join(MESH_FORMATS)}, or none"
            )
    return names


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number of at least 1")
    return number


def refinement_steps(text: str) -> int:
    """Parse the most steps of a refinement."""
    try:
        steps = int(text)
    except ValueError:
        steps = -1
    if not 0 <= steps <= MOST_REFINE:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 0 to {MOST_REFINE}")
    return steps


def picture_size(text: str) -> int:
    """Parse a picture's side in pixels."""
    size = positive(text)
    if size > LARGEST_PICTURE:
        raise argparse.ArgumentTypeError(f"{size} pixels are more than {LARGEST_PICTURE}")
    return size


def add_face_model_option(parser: argparse.ArgumentParser) -> None:
    """Add --face-model."""
    parser.add_argument(
        "--face-model", type=Path, metavar="NPZ", help="a face model's file; by default the shipped one"
    )


def add_minimum_size_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which faces are too small to be looked for."""
    parser.add_argument(
        "--minimum-size",
        type=_face_width,
        metavar="PIXELS",
        help="width in photo pixels of the smallest face to look for; by default the detector's own limit",
    )


def _face_width(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= LARGEST_MINIMUM:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of pixels, above 0 to {LARGEST_MINIMUM:g}")
    return number


def add_refine_option(parser: argparse.ArgumentParser) -> None:
    """Add --refine."""
    parser.add_argument(
        "--refine",
        type=refinement_steps,
        default=0,
        metavar="N",
        help="refine each face in at most so many steps, up to 30, until its rendering explains the photo; "
        "some 0.1 s each (default: %(default)s)",
    )


def add_mesh_options(parser: argparse.ArgumentParser, *, photo: bool = False) -> None:
    """Add what a mesh is made of.

    Args:
        parser: A command's parser.
        photo: Whether there is a photo, which a mesh may show, or lie over.
    """
    parser.add_argument(
        "--mesh-colours",
        choices=("reflectance", "shaded", *(["photo"] if photo else [])),
        default="reflectance",
        help="skin colours without light, or as lit in the photo"
        + (", or the photo itself as a texture" if photo else "")
        + " (default: %(default)s)",
    )
    parser.add_argument(
        "--mesh-space",
        choices=("model", "camera", *(["photo"] if photo else [])),
        default="model",
        help="the head looking straight ahead, or turned as in the photo"
        + (", or in the photo's own pixels" if photo else "")
        + " (default: %(default)s)",
    )
    if photo:
        parser.add_argument(
            "--texture-size",
            type=positive,
            default=1024,
            metavar="N",
            help="side of the photo's texture in texels, 256 to 4096 (default: %(default)s)",
        )


def load_face_model(path: Path | None) -> MorphableModel:
    """Load the named face model, or the shipped one.

    Raises:
        FaceModelError: If the file is missing, damaged or of another format version.
    """
    from inversefacenet.morphable_model import MorphableModel

    return MorphableModel.load_default() if path is None else MorphableModel.load(path)
