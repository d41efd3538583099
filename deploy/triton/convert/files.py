"""Writing so that a crash leaves the old state or the new one, and nothing between."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Final

PARTIAL_PREFIX: Final = ".partial-"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy(source: Path, target: Path) -> None:
    """Copy a file's content and wait until it is on the disk."""
    shutil.copyfile(source, target)
    sync(target)


def write(path: Path, content: bytes) -> None:
    """Replace a file's content in one step."""
    partial = path.with_name(f"{PARTIAL_PREFIX}{path.name}")
    partial.write_bytes(content)
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def place(partial: Path, target: Path) -> None:
    """Let a complete folder appear under its name in one step; the target must not exist."""
    sync(partial)
    partial.rename(target)
    sync(target.parent)


def discard_partials(folder: Path) -> None:
    """Remove what a job that was killed left behind; the caller holds the lock."""
    for leftover in folder.glob(f"{PARTIAL_PREFIX}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
