"""HDF5 files, read by h5py, which is loaded when the first one is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inversefacenet.errors import FaceModelError, MissingDependencyError


def read_hdf5(
    path: Path, required: Sequence[str], optional: Sequence[str], advice: str
) -> dict[str, np.ndarray]:
    """Read data sets by their paths in the file.

    Args:
        path: The file.
        required: Data sets that must be there.
        optional: Data sets that may be missing.
        advice: What to do if a required one is missing.

    Returns:
        Arrays by path; text comes as an array of one string.

    Raises:
        MissingDependencyError: If h5py isn't installed.
        FaceModelError: If the file is missing, no HDF5 file, or lacks a data set.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(
            "Reading .h5 files needs h5py, which is not installed", extra="importers"
        ) from error
    if not path.is_file():
        raise FaceModelError(f"{path.name} can't be read: there is no such file.")
    try:
        with h5py.File(path, "r") as file:
            for name in required:
                if not isinstance(file.get(name), h5py.Dataset):
                    raise FaceModelError(f"{path.name} has no data set '{name}': {advice}")
            found = [*required, *(name for name in optional if isinstance(file.get(name), h5py.Dataset))]
            return {name: _value(file[name][()]) for name in found}
    except (OSError, KeyError, RuntimeError) as error:
        raise FaceModelError(f"{path.name} is no HDF5 file, or a damaged one: {error}.") from error


def _value(value: object) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 1:
        # Text is sometimes stored as its bytes.
        return np.array([array.tobytes().decode("utf-8", errors="replace")])
    if array.dtype.kind in "SO":
        texts = [
            t.decode("utf-8", errors="replace") if isinstance(t, bytes) else str(t) for t in array.ravel()
        ]
        return np.array(texts)
    return array
