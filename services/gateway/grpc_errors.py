"""The one error tree as gRPC codes with details (`google.rpc.Status`)."""

from __future__ import annotations

import math
from typing import Final

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from inversefacenet.errors import InverseFaceNetError
from services.gateway.grpc_requests import FieldError
from services.gateway.outward import outward_detail, retry_seconds

DOMAIN: Final = "inversefacenet"
DETAILS_KEY: Final = "grpc-status-details-bin"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"

# Metadata is limited to 8 KiB in all, and the message is in it twice, once with its letters escaped.
_MESSAGE_LIMIT: Final = 2400
_ESCAPED: Final = 3


def code_of(error: InverseFaceNetError) -> grpc.StatusCode:
    """Return the gRPC code of an error."""
    return grpc.StatusCode[error.grpc_code]


def trailing_of(error: InverseFaceNetError, status: status_pb2.Status) -> tuple[tuple[str, str | bytes], ...]:
    """Return the metadata that goes with an error.

    Args:
        error: What went wrong.
        status: As `status_of` described it.

    Returns:
        The details; and where trying again may help, when a client that retries by itself should do so.
    """
    details = (DETAILS_KEY, status.SerializeToString())
    seconds = retry_seconds(error)
    if seconds is None:
        return (details,)
    return (details, (PUSHBACK_KEY, str(math.ceil(1000 * seconds))))


def status_of(error: InverseFaceNetError, request_id: str) -> status_pb2.Status:
    """Describe an error for the caller.

    Args:
        error: What went wrong; what is the service's own fault is told to the log alone.
        request_id: The request's id.

    Returns:
        Code, message and details: ErrorInfo and RequestInfo always, RetryInfo where trying again may help,
        BadRequest where a field is wrong.
    """
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.slug, domain=DOMAIN),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    seconds = retry_seconds(error)
    if seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(math.ceil(1000 * seconds))
        details.append(retry)
    if isinstance(error, FieldError):
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=error.field, description=error.problem)
        details.append(bad)
    number: int = code_of(error).value[0]
    return status_pb2.Status(
        code=number,
        message=_shortened(outward_detail(error)),
        details=[_packed(detail) for detail in details],
    )


def _shortened(message: str) -> str:
    """Cut a message where metadata has no more room for it: plain letters take one byte, others several."""
    room, end = _MESSAGE_LIMIT, 0
    for letter in message:
        room -= 1 if " " <= letter <= "~" else _ESCAPED * len(letter.encode())
        if room < 0:
            break
        end += 1
    return message[:end]


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
