"""MATLAB files (.mat up to version 7.2), read by scipy, which is loaded when the first one is read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from inversefacenet.errors import FaceModelError, MissingDependencyError

_HDF5_HEAD: Final = b"MATLAB 7.3"


def read_mat(path: Path) -> dict[str, np.ndarray]:
    """Read all numeric arrays of a file.

    Raises:
        MissingDependencyError: If scipy isn't installed.
        FaceModelError: If the file is missing or no such file.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingDependencyError(
            "Reading .mat files needs scipy, which is not installed", extra="importers"
        ) from error
    try:
        with path.open("rb") as stream:
            head = stream.read(len(_HDF5_HEAD))
    except OSError as error:
        raise FaceModelError(f"{path.name} can't be read: {error.strerror}.") from error
    if head == _HDF5_HEAD:
        raise FaceModelError(
            f"{path.name} was saved with '-v7.3', as HDF5: save it again with '-v7', or give the original."
        )
    try:
        found = loadmat(path)
    except Exception as error:  # scipy raises whatever its parser meets in a damaged file
        raise FaceModelError(f"{path.name} is no MATLAB file, or a damaged one: {error}.") from error
    arrays = {name: np.asarray(value) for name, value in found.items() if not name.startswith("__")}
    return {name: value for name, value in arrays.items() if value.dtype.kind in "fiub"}


def demand(path: Path, arrays: dict[str, np.ndarray], names: Iterable[str], advice: str) -> None:
    """Check that a file has all the named arrays.

    Raises:
        FaceModelError: If one is missing; the message names it, and what the file has instead.
    """
    missing = [name for name in names if name not in arrays]
    if missing:
        there = ", ".join(sorted(arrays)) or "no numeric arrays"
        raise FaceModelError(f"{path.name} has no '{missing[0]}' (it has {there}): {advice}")
