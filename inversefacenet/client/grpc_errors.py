"""What to raise for a gRPC call that failed, read from its code and details. No connection is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from inversefacenet.client.errors import ServerError, ServiceUnavailableError, error_of
from inversefacenet.client.retry import RefusedError, too_late
from inversefacenet.errors import InverseFaceNetError

DETAILS_KEY: Final = "grpc-status-details-bin"
REQUEST_ID_KEY: Final = "x-request-id"

# The HTTP status that each gRPC code corresponds to (google/rpc/code.proto).
_STATUSES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "CANCELLED": 499,
        "UNKNOWN": 500,
        "INVALID_ARGUMENT": 400,
        "DEADLINE_EXCEEDED": 504,
        "NOT_FOUND": 404,
        "ALREADY_EXISTS": 409,
        "PERMISSION_DENIED": 403,
        "RESOURCE_EXHAUSTED": 429,
        "FAILED_PRECONDITION": 400,
        "ABORTED": 409,
        "OUT_OF_RANGE": 400,
        "UNIMPLEMENTED": 501,
        "INTERNAL": 500,
        "UNAVAILABLE": 503,
        "DATA_LOSS": 500,
        "UNAUTHENTICATED": 401,
    }
)
_NAMES: Final = dict(enumerate(["OK", *_STATUSES]))  # the codes count in this order
_MAY_RETRY: Final = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE"})

# Nothing else tells that no connection could be made. Where gRPC says it otherwise, nothing is sent again.
_NOT_CONNECTED: Final = ("failed to connect", "errors resolving", "DNS resolution failed")

Metadata = Iterable[tuple[str, str | bytes]]


def request_id_of(metadata: Metadata | None) -> str:
    """Return the request's id; empty if it isn't there."""
    found = dict(metadata or ()).get(REQUEST_ID_KEY, "")
    return found if isinstance(found, str) else ""


def failure_of(
    code: str, message: str, trailing: Metadata | None, *, free: bool = False
) -> InverseFaceNetError | RefusedError:
    """Return what to raise for a call that failed.

    Args:
        code: The name of its code.
        message: What is wrong.
        trailing: Its trailing metadata.
        free: The call costs nothing, however often it is made.
    """
    content = dict(trailing or ()).get(DETAILS_KEY)
    if isinstance(content, bytes):
        try:
            return failure_of_status(status_pb2.Status.FromString(content))
        except DecodeError:
            pass  # then the code has to be enough
    if code == "DEADLINE_EXCEEDED":
        return too_late()
    if code in ("UNAVAILABLE", "CANCELLED"):
        lost = ServiceUnavailableError(f"The server can't be reached or broke off: {message}.")
        # gRPC itself sends again what it knows the server hasn't seen; of the rest nobody knows.
        unseen = free or message.startswith(_NOT_CONNECTED)
        return RefusedError(lost) if code == "UNAVAILABLE" and unseen else lost
    return ServerError(_slug(code), _STATUSES.get(code, 500), message, request_id_of(trailing))


def failure_of_status(status: status_pb2.Status) -> InverseFaceNetError | RefusedError:
    """Return what to raise for an error with details, of a call or of one photo in a stream."""
    name = _NAMES.get(status.code, "UNKNOWN")
    code, request_id, retry_after = _slug(name), "", None
    for detail in status.details:
        info, request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.RequestInfo(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info):
            code = info.reason
        elif detail.Unpack(request):
            request_id = request.request_id
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    problem = ServerError(code, _STATUSES.get(name, 500), status.message, request_id, retry_after)
    if retry_after is not None and name in _MAY_RETRY:
        return RefusedError(error_of(problem), retry_after)
    return error_of(problem)


def _slug(code: str) -> str:
    return code.lower().replace("_", "-")
