"""The one home of ONNX Runtime: a network of one input, run on the CPU of this process."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from inversefacenet.errors import BackendError, MissingDependencyError

_NO_TELEMETRY: Final = "ORT_DISABLE_TELEMETRY"
_QUIET: Final = 3
_SPINNING: Final = "session.intra_op.allow_spinning"
_REST_AFTERWARDS: Final = "session.force_spinning_stop"
_EXACT_INTEGERS: Final = "session.x64quantprecision"


class OnnxSession:
    """A network that ONNX Runtime runs.

    Sessions may be shared between threads: a run keeps nothing.

    Attributes:
        name: What errors call the network.
        input_name: The input's name.
        input_type: The input's type as ONNX Runtime writes it, such as "tensor(uint8)".
        input_shape: The input's shape; None for sides of any length.
        output_names: The outputs' names, in their order.
        output_shapes: The outputs' shapes, alike.
        metadata: What the file says of itself.
    """

    def __init__(self, content: bytes, threads: int = 1, *, name: str, spinning: bool = False) -> None:
        """Load a network.

        Args:
            content: An ONNX file's content; it must take one input.
            threads: Threads of one run, the caller's among them; 0 lets ONNX Runtime choose. One starts no
                thread at all.
            name: What errors call the network.
            spinning: Whether threads wait for the next layer by spinning, which is quicker; between runs they
                rest.

        Raises:
            MissingDependencyError: If ONNX Runtime isn't installed.
            BackendError: If the content isn't such a network.
        """
        # ONNX Runtime's own builds otherwise report to their maker, and keep a file of it in the home folder.
        os.environ.setdefault(_NO_TELEMETRY, "1")
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependencyError(
                "The embedded backend needs ONNX Runtime, which is not installed", extra="onnx"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _QUIET
        options.add_session_config_entry(_SPINNING, "1" if spinning else "0")
        options.add_session_config_entry(_REST_AFTERWARDS, "1")
        # Without VNNI sums of two 8-bit products could overflow; with it this would only cost time.
        if not _sums_integers_exactly():
            options.add_session_config_entry(_EXACT_INTEGERS, "1")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no base class but this one.
            raise BackendError(f"The network {name} can't be loaded: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1:
            raise BackendError(f"The network {name} must take one input, not {len(inputs)}.")
        self.name = name
        self.input_name: str = inputs[0].name
        self.input_type: str = inputs[0].type
        self.input_shape = _shape(inputs[0].shape)
        self.output_names: tuple[str, ...] = tuple(output.name for output in outputs)
        self.output_shapes = tuple(_shape(output.shape) for output in outputs)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        """Run the network.

        Args:
            values: The input, of its type and shape; it need not be contiguous.

        Returns:
            The outputs, in their order.

        Raises:
            BackendError: If ONNX Runtime refuses.
        """
        try:
            answers = self._session.run(None, {self.input_name: np.ascontiguousarray(values)})
        except Exception as error:  # see __init__
            raise BackendError(f"The network failed: {error}") from error
        return [np.asarray(answer) for answer in answers]


def _shape(sides: list[Any]) -> tuple[int | None, ...]:
    return tuple(side if isinstance(side, int) else None for side in sides)


@lru_cache(maxsize=1)
def _sums_integers_exactly() -> bool:
    """Return whether the processor is known to add four 8-bit products without overflow (VNNI, or an ARM)."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags
