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
        digest: SHA-256 of the network's file; empty as long as an engine elsewhere hasn't said it yet.
    """

    name: str
    digest: str

    def infer(
        self, crops: UInt8[np.ndarray, "faces 240 240 3"], *, timeout: float | None = None
    ) -> Float32[np.ndarray, "faces 350"]:
        """Run the network on masked sRGB crops.

        Args:
            crops: The crops; none is fine.
            timeout: Seconds that the caller waits. Engines in the process can't be interrupted and ignore it.

        Raises:
            BackendError: If the engine can't answer.
            DeadlineError: If it doesn't answer in time.
        """
        ...
