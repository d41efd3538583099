"""The embedded backend: ONNX Runtime in the process, nothing to start."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.errors import BackendError, MissingDependencyError

MODEL_ENVIRONMENT_VARIABLE: Final = "IFN_MODEL_PATH"
REPOSITORY: Final = Path("model_repository", "inversefacenet")
NETWORK_FILE: Final = "model.onnx"


def versions(folder: Path) -> list[int]:
    """Return the versions of a model that have a network, oldest first.

    Args:
        folder: The model's folder in a repository; its versions are the folders with a number for a name.
    """
    return sorted(
        int(entry.parent.name)
        for entry in folder.glob(f"*/{NETWORK_FILE}")
        if re.fullmatch(r"[1-9]\d*", entry.parent.name)
    )


def default_model_path() -> Path:
    """Return the network's file: `IFN_MODEL_PATH`, else the newest version in the model repository.

    Raises:
        BackendError: If there is none.
    """
    named = os.environ.get(MODEL_ENVIRONMENT_VARIABLE)
    if named:
        return Path(named)
    for root in (Path(__file__).resolve().parents[2], Path.cwd()):
        if known := versions(root / REPOSITORY):
            return root / REPOSITORY / str(known[-1]) / NETWORK_FILE
    raise BackendError(
        f"No network was found in {REPOSITORY} (VERSION/{NETWORK_FILE}): run from a checkout, or name the "
        f"file in {MODEL_ENVIRONMENT_VARIABLE}."
    )


class OnnxBackend:
    """Runs the exported network with ONNX Runtime on the CPU.

    Sessions may be shared between threads.

    Attributes:
        digest: SHA-256 of the network's file.
        metadata: What the file says of itself: properties that `training.export` wrote.
    """

    name = "onnxruntime"

    def __init__(self, path: Path | None = None, threads: int = 0) -> None:
        """Load the network.

        Args:
            path: An ONNX file that `training.export` wrote; by default the shipped one.
            threads: Threads of one inference; 0 lets ONNX Runtime choose.

        Raises:
            MissingDependencyError: If ONNX Runtime isn't installed.
            BackendError: If the file can't be read or isn't such a network.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependencyError(
                "The embedded backend needs ONNX Runtime: pip install 'inversefacenet[onnx]'."
            ) from error
        path = path or default_model_path()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BackendError(f"The network {path.name} can't be read: {error.strerror}.") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base class but this one.
            raise BackendError(f"The network {path.name} can't be loaded: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(uint8)" or inputs[0].shape[1:] != [240, 240, 3]:
            raise BackendError(f"The network {path.name} must take uint8 crops of shape [n, 240, 240, 3].")
        if len(outputs) != 1 or outputs[0].shape[1:] != [350]:
            raise BackendError(f"The network {path.name} must return parameters of shape [n, 350].")
        self._input_name = inputs[0].name
        self.digest = hashlib.sha256(content).hexdigest()
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def infer(
        self, crops: UInt8[np.ndarray, "faces 240 240 3"], *, timeout: float | None = None
    ) -> Float32[np.ndarray, "faces 350"]:
        """Run the network on masked sRGB crops.

        Args:
            crops: The crops; none is fine.
            timeout: Not used: an inference that has begun can't be interrupted.

        Raises:
            BackendError: If ONNX Runtime refuses, or the network returns numbers that aren't finite.
        """
        try:
            (theta,) = self._session.run(None, {self._input_name: np.ascontiguousarray(crops)})
        except Exception as error:  # see __init__
            raise BackendError(f"The network failed: {error}") from error
        if not np.isfinite(theta).all():
            raise BackendError("The network returned numbers that aren't finite: its weights are damaged.")
        return np.asarray(theta)
