"""What a plan is made from, and what it is valid for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

CROP_SIZE: Final = 240
INPUT_NAME: Final = "crops"
OUTPUT_NAME: Final = "parameters"


class Precision(StrEnum):
    """The numbers that a plan computes with; crops and parameters are the same for both."""

    FP16 = "fp16"
    FP32 = "fp32"


@dataclass(frozen=True)
class Shapes:
    """Batch sizes of the plan's one optimisation profile.

    Attributes:
        minimum: Smallest batch.
        optimum: The batch that TensorRT tunes for.
        maximum: Largest batch; Triton's `max_batch_size` must not be larger.
    """

    minimum: int = 1
    optimum: int = 8
    maximum: int = 32

    def __post_init__(self) -> None:
        """Refuse sizes out of order.

        Raises:
            ValueError: If they aren't 1 <= minimum <= optimum <= maximum.
        """
        if not 1 <= self.minimum <= self.optimum <= self.maximum:
            raise ValueError("Batch sizes must be 1 <= minimum <= optimum <= maximum.")

    def tested(self) -> tuple[int, ...]:
        """Return the batch sizes that a plan is compared at: both ends, the middle, and an odd one."""
        odd = min(self.optimum // 2 + 1, self.maximum)
        return tuple(sorted({self.minimum, max(odd, self.minimum), self.optimum, self.maximum}))


@dataclass(frozen=True)
class Machine:
    """Where a plan was built: it is valid there alone.

    Attributes:
        gpu: Name of the GPU, as its driver says it.
        capability: Its compute capability, as in "8.9".
        tensorrt: TensorRT's version with its build number, as in "101100-b33". Plans of builds that
            differ in the last number alone don't load either.
    """

    gpu: str
    capability: str
    tensorrt: str


@runtime_checkable
class TensorRT(Protocol):
    """What the job needs of TensorRT; `trtexec.Trtexec` is the real one."""

    def machine(self) -> Machine:
        """Say what plans that are built here are valid for.

        Raises:
            BuildError: If there is no GPU or no TensorRT.
        """
        ...

    def build(self, onnx: Path, plan: Path, shapes: Shapes, precision: Precision) -> None:
        """Build a plan from an ONNX file whose types say its precision.

        Raises:
            BuildError: If TensorRT can't, or takes too long.
        """
        ...

    def run(
        self, plan: Path, crops: UInt8[np.ndarray, "faces 240 240 3"]
    ) -> Float32[np.ndarray, "faces 350"]:
        """Run a plan on masked sRGB crops, all of them in one batch.

        Raises:
            BuildError: If the plan doesn't load or run.
        """
        ...
