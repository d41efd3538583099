"""Files of a run that may die at any moment: whole or not there, written by one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inversefacenet.errors import InputError

_PART = ".part"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, whenever the process or the machine dies."""
    part = unfinished(path)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def unfinished(path: Path) -> Path:
    """Return where a file is written before it takes its name."""
    return path.with_name(f"{path.name}.{os.getpid()}{_PART}")


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left half-written."""
    for part in folder.glob(f"*{_PART}"):
        part.unlink(missing_ok=True)


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document as it stands in a file."""
    return (json.dumps(document, indent=2) + "\n").encode()


def check_settings(
    path: Path, have: Mapping[str, Any], wanted: Mapping[str, Any], remedy: str = "delete this one"
) -> None:
    """Refuse what was made with other settings.

    Args:
        path: What was made.
        have: The settings it was made with.
        wanted: Those it should have been made with; others don't matter.
        remedy: What else helps than to use the same settings or another name.

    Raises:
        InputError: One differs; the message names all that do.
    """
    different = [
        f"{key} is {_short(have.get(key))}, not {_short(value)}"
        for key, value in wanted.items()
        if have.get(key) != value
    ]
    if different:
        raise InputError(
            f"{path} was made with other settings ({'; '.join(different)}). "
            f"Use the same ones, name another place, or {remedy}."
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 20 else text[:12] + "..."


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep a second run out of a folder for as long as this one lives, however it ends.

    Raises:
        InputError: Another process works there.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"Another run is writing to {folder}: wait for it, or name another place."
            ) from None
        yield
    finally:
        os.close(descriptor)
