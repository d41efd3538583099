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


class TooManyPhotosError(InputError):
    """The request holds more photos than the limit; none of them was looked at."""

    slug = "too-many-photos"
    http_status = 413


class MediaTypeError(InputError):
    """The request's content type is none that is read here."""

    slug = "unsupported-media-type"
    http_status = 415


class RefusedError(InverseFaceNetError):
    """Nothing is wrong with the request; the service doesn't take it now.

    Attributes:
        retry_after: Seconds after which it is worth trying again.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        """Keep the seconds beside the message."""
        super().__init__(message)
        self.retry_after = retry_after


class OverloadedError(RefusedError):
    """All workers are busy and the queue is full."""

    slug = "overloaded"
    http_status = 503
    grpc_code = "RESOURCE_EXHAUSTED"


class TooManyUploadsError(OverloadedError):
    """As many bodies as allowed are being received already."""

    slug = "too-many-uploads"


class DrainingError(RefusedError):
    """The service is stopping and takes no new work."""

    slug = "draining"
    http_status = 503
    grpc_code = "UNAVAILABLE"


class QuotaError(RefusedError):
    """The caller's key has used up its photos for now."""

    slug = "quota-exceeded"
    http_status = 429
    grpc_code = "RESOURCE_EXHAUSTED"


class UnauthenticatedError(InverseFaceNetError):
    """The request carries no API key, or none that is known here."""

    slug = "unauthenticated"
    http_status = 401
    grpc_code = "UNAUTHENTICATED"


class NotAcceptableError(InputError):
    """None of the media types that the caller accepts can be written for this answer."""

    slug = "not-acceptable"
    http_status = 406


class NotFoundError(InputError):
    """There is nothing of that name."""

    slug = "not-found"
    http_status = 404
    grpc_code = "NOT_FOUND"


class InputDisabledError(InputError):
    """Photos can't be sent in this way here: it is switched off."""

    slug = "url-input-disabled"
    http_status = 403
    grpc_code = "PERMISSION_DENIED"


class FetchError(InputError):
    """The photo could not be fetched from the address that the caller named."""

    slug = "url-not-fetched"
    http_status = 422


class WorkerCrashedError(InverseFaceNetError):
    """The process that worked on the photo ended or hung; a new one has taken its place."""

    slug = "worker-crashed"


class NotReadyError(RefusedError):
    """The service can't answer now; readiness says why."""

    slug = "not-ready"
    http_status = 503
    grpc_code = "UNAVAILABLE"
