"""What the commands write: pictures, lines on the terminal, progress; and the arguments they share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from jaxtyping import UInt8

from inversefacenet.errors import ExportError, InverseFaceNetError

if TYPE_CHECKING:
    from inversefacenet.morphable_model import MorphableModel

Item = TypeVar("Item")

PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
MESH_FORMATS: Final = ("glb", "obj", "ply")
LARGEST_PICTURE: Final = 8192


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


def add_mesh_options(parser: argparse.ArgumentParser) -> None:
    """Add what a mesh is made of."""
    parser.add_argument(
        "--mesh-colours",
        choices=("reflectance", "shaded"),
        default="reflectance",
        help="skin colours without light, or as lit in the photo (default: %(default)s)",
    )
    parser.add_argument(
        "--mesh-space",
        choices=("model", "camera"),
        default="model",
        help="the head looking straight ahead, or turned as in the photo (default: %(default)s)",
    )


def load_face_model(path: Path | None) -> MorphableModel:
    """Load the named face model, or the shipped one.

    Raises:
        FaceModelError: If the file is missing, damaged or of another format version.
    """
    from inversefacenet.morphable_model import MorphableModel

    return MorphableModel.load_default() if path is None else MorphableModel.load(path)
