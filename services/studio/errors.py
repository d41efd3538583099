"""Errors that only the studio meets; they belong to the library's tree and answer like the rest of it."""

from __future__ import annotations

from inversefacenet.errors import InputError, InverseFaceNetError


class InvalidRequestError(InputError):
    """The request's body is no JSON of the fields that this address reads."""

    slug = "invalid-request"
    http_status = 422


class PhotoFormError(InputError):
    """A photo came inside a form; its bytes alone are read here."""

    slug = "unsupported-form"
    http_status = 415


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


class CrossOriginError(InputError):
    """Another site's page, or another name than this server's own, sent the request."""

    slug = "cross-origin"
    http_status = 403
    grpc_code = "PERMISSION_DENIED"


class SessionLostError(InputError):
    """The photo is not held any more, or never was."""

    slug = "session-lost"
    http_status = 404
    grpc_code = "NOT_FOUND"


class SupersededError(InputError):
    """A later request of the same kind came while this one waited; nobody needs its answer."""

    slug = "superseded"
    http_status = 409
    grpc_code = "ABORTED"


class StudioBusyError(InverseFaceNetError):
    """Nothing is wrong with the request; there is no room for it now."""

    slug = "studio-busy"
    http_status = 503
    grpc_code = "UNAVAILABLE"
