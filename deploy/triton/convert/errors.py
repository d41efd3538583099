"""What can go wrong in a conversion; each class says the exit status that the job ends with."""

from __future__ import annotations

from typing import ClassVar


class ConversionError(Exception):
    """Base of all errors that the job raises on purpose; the message says what to do.

    Attributes:
        exit_status: What the process ends with.
    """

    exit_status: ClassVar[int] = 1


class BuildError(ConversionError):
    """TensorRT could not build a plan, or could not run it."""


class PlanRefusedError(ConversionError):
    """Plans were built, and none of them answers as the network does."""

    exit_status = 3
