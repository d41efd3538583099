"""Errors that only a service can meet; they belong to the library's tree and answer like the rest of it."""

from __future__ import annotations

from inversefacenet.errors import InputError, InverseFaceNetError


class BodyTooLargeError(InputError):
    """The request's body is larger than the limit; the rest of it was not read."""

    slug = "body-too-large"
    http_status = 413
    grpc_code = "RESOURCE_EXHAUSTED"


class BodyTimeoutError(InputError):
    """The request's body did not arrive in time."""

    slug = "body-timeout"
    http_status = 408
    grpc_code = "DEADLINE_EXCEEDED"


class MediaTypeError(InputError):
    """The request's content type is none that is read here."""

    slug = "unsupported-media-type"
    http_status = 415


class OverloadedError(InverseFaceNetError):
    """All workers are busy and the queue is full."""

    slug = "overloaded"
    http_status = 503
    grpc_code = "RESOURCE_EXHAUSTED"


class NotReadyError(InverseFaceNetError):
    """The service can't answer now; readiness says why."""

    slug = "not-ready"
    http_status = 503
    grpc_code = "UNAVAILABLE"
