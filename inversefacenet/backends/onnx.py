"""The embedded backend: ONNX Runtime in the process, nothing to start."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.errors import BackendError
from inversefacenet.networks import network_path
from inversefacenet.onnx_session import OnnxSession


class OnnxBackend:
    """Runs the exported network with ONNX Runtime on the CPU.

    Sessions may be shared between threads.

    Attributes:
        digest: SHA-256 of the network's file.
        metadata: What the file says of itself: properties that `training.export` wrote.
    """

    name = "onnxruntime"

    def __init__(self, path: Path | str | None = None, threads: int = 0) -> None:
        """Load the network.

        Args:
            path: An ONNX file that `training.export` wrote, "fast" or "reference"; by default the fast one
                (`inversefacenet.networks`).
            threads: Threads of one inference; 0 lets ONNX Runtime choose, but gives one to a network so small
                that sharing its layers out takes as long as computing them.

        Raises:
            MissingDependencyError: If ONNX Runtime isn't installed.
            BackendError: If the file can't be read or isn't such a network.
        """
        path = network_path(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BackendError(f"The network {path.name} can't be read: {error.strerror}.") from error
        self._session = session = OnnxSession(content, threads, name=path.name, spinning=True)
        if session.input_type != "tensor(uint8)" or session.input_shape[1:] != (240, 240, 3):
            raise BackendError(f"The network {path.name} must take uint8 crops of shape [n, 240, 240, 3].")
        if len(session.output_shapes) != 1 or session.output_shapes[0][1:] != (350,):
            raise BackendError(f"The network {path.name} must return parameters of shape [n, 350].")
        self.digest = hashlib.sha256(content).hexdigest()
        self.metadata = session.metadata

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
        (theta,) = self._session.run(crops)
        if not np.isfinite(theta).all():
            raise BackendError("The network returned numbers that aren't finite: its weights are damaged.")
        return theta
