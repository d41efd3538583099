"""Where the network runs: one protocol, one module per engine."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8


@runtime_checkable
class InferenceBackend(Protocol):
    """Turns crops into parameters.

    Attributes:
        name: Name of the engine, for answers and metrics.
        digest: SHA-256 of the network's file.
    """

    name: str
    digest: str

    def infer(self, crops: UInt8[np.ndarray, "faces 240 240 3"]) -> Float32[np.ndarray, "faces 350"]:
        """Run the network on masked sRGB crops.

        Raises:
            BackendError: If the engine can't answer.
        """
        ...
