"""Our own optimiser's fits of the same faces: the reference of Section 8.1's geometric error."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.parameters import Parameters

Key = tuple[str, int]


@dataclass(frozen=True)
class Fits:
    """Fits by photograph and number of the face in it.

    Attributes:
        parameters: The fitted faces.
        photometric: The photometric error that the optimiser noted for each.
        seconds: Mean time of a fit; NaN if the file doesn't say.
    """

    parameters: Mapping[Key, Parameters]
    photometric: Mapping[Key, float]
    seconds: float = float("nan")


def read_fits(path: Path) -> Fits:
    """Read what ``python -m training.fit_photos --photos FOLDER`` wrote.

    The file holds by face ``name`` (the photograph, relative to the folder), ``face`` (its number in the
    photograph, in the detector's order), ``theta`` [n, 350] and ``photometric`` [n]; ``seconds`` [n], if it
    is there, is the time of each fit.

    Raises:
        InputError: If the file can't be read or isn't such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names, faces = archive["name"].tolist(), archive["face"].tolist()
            theta, photometric = archive["theta"], archive["photometric"]
            seconds = float(np.mean(archive["seconds"])) if "seconds" in archive else float("nan")
        keys = [(str(name), int(face)) for name, face in zip(names, faces, strict=True)]
        fitted = {key: Parameters.from_vector(vector) for key, vector in zip(keys, theta, strict=True)}
        errors = {key: float(value) for key, value in zip(keys, photometric, strict=True)}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, InverseFaceNetError) as error:
        raise InputError(
            f"{path} holds no fits of photographs ({error}): write it with "
            "`python -m training.fit_photos --photos FOLDER --output FILE`."
        ) from error
    return Fits(fitted, errors, seconds)


def check_same_faces(fits: Fits, measured: Mapping[Key, float]) -> None:
    """Check that the fits are of the crops that they are compared with.

    Args:
        fits: What the file says.
        measured: The photometric error of each fit, measured here.

    Raises:
        InputError: If no face has a fit, or most of the errors differ from what the optimiser noted.
    """
    if not measured:
        raise InputError("None of these faces is in the file of fits: name the folder that was fitted.")
    apart = [abs(value - fits.photometric[key]) for key, value in measured.items()]
    if float(np.median(apart)) > 1:
        raise InputError(
            "The fits are of other crops: their photometric errors are not what they were. "
            "Fit the folder again with the detector that is used now."
        )
