"""Which photos are meant: folders, patterns, lists in files, or photos by name."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from inversefacenet.errors import InputError

SUFFIXES: Final = frozenset(
    (".jpg", ".jpeg", ".mpo", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
)
"""Endings of the files that are photos where a folder is named."""


def photos_in(folder: Path) -> list[str]:
    """Return a folder's photos at any depth, as paths relative to it with slashes, in order.

    Raises:
        InputError: If there is no such folder, or no photo in it.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    names = sorted(_walk(str(folder), ""))
    if not names:
        raise InputError(f"There are no photos in {folder}: {', '.join(sorted(SUFFIXES))} are read.")
    return names


def photos_named(arguments: Sequence[str], listed: Path | None = None) -> list[str]:
    """Return the photos that a command names, each once, in order.

    Args:
        arguments: Folders (their photos at any depth), patterns with * ? [ or ** (any depth), photos.
        listed: A file that names a photo on each line, absolute or from where the command runs.

    Raises:
        InputError: One of them is or holds nothing.
    """
    found: set[str] = set()
    for argument in arguments:
        if os.path.isdir(argument):
            found.update(os.path.join(argument, name) for name in photos_in(Path(argument)))
        elif os.path.exists(argument):
            found.add(argument)
        elif glob.has_magic(argument):
            matches = [path for path in glob.iglob(argument, recursive=True) if os.path.isfile(path)]
            if not matches:
                raise InputError(f"No file matches {argument}.")
            found.update(matches)
        else:
            raise InputError(f"There is no photo, folder or pattern {argument}.")
    if listed is not None:
        try:
            lines = listed.read_text("utf-8", "surrogateescape").split("\n")
        except OSError as error:
            raise InputError(f"The list {listed} can't be read: {error.strerror}.") from error
        named = [line for line in (line.rstrip("\r") for line in lines) if line]
        if not named:
            raise InputError(f"The list {listed} names no photo: it takes one on each line.")
        found.update(named)
    if not found:
        raise InputError("No photos were named: give folders, patterns or photos, or --list FILE.")
    return sorted(found)


def _walk(folder: str, prefix: str) -> Iterator[str]:
    """Yield photos below a folder; os.scandir saves a system call per file, which counts with millions."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{prefix}{entry.name}/")
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
                yield prefix + entry.name


def spread(names: list[str], limit: int | None) -> list[str]:
    """Return at most `limit` names, spread evenly over the list.

    Raises:
        InputError: The limit is less than 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"The limit must be at least 1, but is {limit}.")
    if limit is None or limit >= len(names):
        return names
    return [names[i] for i in np.linspace(0, len(names) - 1, limit).astype(np.int64)]
