"""What is installed and tells in the results: a run that goes on must find it unchanged."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

from inversefacenet.dlib_models import OPEN, OPEN_FILE, STOCK_PREDICTOR, weights_path
from inversefacenet.errors import InputError


def detector_settings(predictor: Path | None = None) -> dict[str, str]:
    """Return what landmarks depend on beside our own code: dlib, the predictor's file, Pillow.

    Args:
        predictor: Its file, or `OPEN`; by default the one that is installed.

    Raises:
        MissingDependencyError: dlib's weights aren't installed.
        InputError: The file can't be read.
    """
    file = OPEN_FILE if predictor == OPEN else predictor or weights_path(STOCK_PREDICTOR)
    return {
        "dlib-bin": _version("dlib-bin"),
        "predictor": file_digest(file),
        "pillow": _version("pillow"),
    }


def predictor_anywhere(predictor: Path | None) -> Path | None:
    """Return how workers name a landmark predictor, whatever folder they work in.

    Args:
        predictor: A file; `OPEN` and None, which are each installation's own, stay as they are.
    """
    return predictor if predictor is None or predictor == OPEN else predictor.absolute()


def refinement_settings(steps: int) -> dict[str, Any]:
    """Return what a refinement depends on beside our own code; without one nothing does.

    Args:
        steps: Most steps of each face; 0 for no refinement.
    """
    # Without one it says what runs of before refinements say: nothing.
    return {"refine": steps or None, "numpy": _version("numpy") if steps else None}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # as with dlib built by hand


def file_digest(path: Path) -> str:
    """Return a file's SHA-256.

    Raises:
        InputError: It can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from error
