"""What went wrong at Triton, as errors that say what to do."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from inversefacenet.errors import BackendError, DeadlineError, InverseFaceNetError


class Cause(StrEnum):
    """Why Triton gave no answer; few enough to count by."""

    UNREACHABLE = "unreachable"
    MISSING = "missing"
    OVERLOADED = "overloaded"
    REFUSED = "refused"
    FAILED = "failed"
    ANSWER = "answer"
    CLOSED = "closed"


class TritonError(BackendError):
    """Triton can't be reached, refuses, or answers with what can't be used.

    Attributes:
        cause: Why.
    """

    def __init__(self, message: str, cause: Cause) -> None:
        """Keep the cause beside the message."""
        super().__init__(message)
        self.cause = cause


# Triton answers these with a status that other failures have too.
_QUEUE_FULL: Final = "maximum queue size"
_EXPIRED_IN_QUEUE: Final = "timeout expired"
_TOO_LONG: Final = "larger than max"
_STUB_DEAD: Final = "stub process"
_REGION_UNKNOWN: Final = "unable to find shared memory region"
_REGION_KNOWN: Final = "already in manager"


def translate(status: str, message: str, url: str, model: str) -> InverseFaceNetError:
    """Return the error for what a call came back with.

    Args:
        status: The gRPC status, such as `StatusCode.UNAVAILABLE`.
        message: The server's or gRPC's own words.
        url: The server's address, to name it.
        model: The model's name.

    Returns:
        A DeadlineError if the time ran out, else a TritonError.
    """
    code, words = status.removeprefix("StatusCode."), message.lower()
    if code == "DEADLINE_EXCEEDED" or _EXPIRED_IN_QUEUE in words:
        return late(url)
    if _TOO_LONG in words:
        return TritonError(
            f"What stands before Triton at {url} lets through no messages of this size: raise its limit, or "
            f"the model's max_batch_size is too large ({message}).",
            Cause.REFUSED,
        )
    if code == "RESOURCE_EXHAUSTED" or _QUEUE_FULL in words:
        return TritonError(
            f"Triton at {url} is overloaded: the queue of model {model} is full. Try again later, or give it "
            "more instances or a larger max_queue_size.",
            Cause.OVERLOADED,
        )
    if code in {"UNAVAILABLE", "CANCELLED"}:
        return TritonError(
            f"Triton at {url} can't be reached: start it, or correct the address ({message}).",
            Cause.UNREACHABLE,
        )
    if code == "NOT_FOUND":
        return TritonError(
            f"Triton at {url} does not serve model {model}: load it, or name another model or version "
            f"({message}).",
            Cause.MISSING,
        )
    if code == "INVALID_ARGUMENT":
        return TritonError(
            f"Triton at {url} refuses the request: model {model} there is not the one that this package "
            f"speaks to ({message}).",
            Cause.REFUSED,
        )
    if _STUB_DEAD in words:
        return TritonError(
            f"The process of model {model} at Triton has died, and Triton does not start it again: unload "
            f"and load the model, or restart the server ({message}).",
            Cause.FAILED,
        )
    return TritonError(
        f"Model {model} failed at Triton; the server's log says more ({code}: {message}).", Cause.FAILED
    )


def late(url: str) -> DeadlineError:
    """Return the error for a caller whose time ran out."""
    return DeadlineError(
        f"Triton at {url} did not answer in the time that was left: try again later, or allow more time."
    )


def region_unknown(message: str) -> bool:
    """Tell if the server doesn't know a region of shared memory, as after its restart."""
    return _REGION_UNKNOWN in message.lower()


def region_known(message: str) -> bool:
    """Tell if the server knows a region already that was to be registered."""
    return _REGION_KNOWN in message.lower()


def closed() -> TritonError:
    """Return the error for a call on a backend that was closed."""
    return TritonError("This connection to Triton was closed: make a new backend.", Cause.CLOSED)
