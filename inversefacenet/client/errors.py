"""Errors that only a client can meet; they belong to the library's tree.

A problem that the server names is raised as the library's own class where there is one of that code, such as
`NoFaceError`, with the `ServerError` as its cause; any other as a `ServerError`.
The request's id is at `error.__cause__.request_id`, and in a note that tracebacks show. ::

    InverseFaceNetError
    ├── InputError
    │   └── ConnectionSettingsError     address, key or TLS files can't be used
    ├── ServerError                     the server answered with a problem
    ├── ServiceUnavailableError         the server can't be reached, or broke off
    └── UnexpectedAnswerError           what came back is no answer of this service
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from inversefacenet import errors
from inversefacenet.errors import InputError, InverseFaceNetError


class ConnectionSettingsError(InputError):
    """The server's address, the API key or the TLS files can't be used."""

    slug = "invalid-connection"


class ServiceUnavailableError(InverseFaceNetError):
    """The server can't be reached, or the connection broke before the answer was there."""

    slug = "service-unavailable"
    http_status = 503
    grpc_code = "UNAVAILABLE"


class UnexpectedAnswerError(InverseFaceNetError):
    """What came back is no answer of this service: something else may listen at the address."""

    slug = "unexpected-answer"
    http_status = 502


class ServerError(InverseFaceNetError):
    """The server answered with a problem.

    Attributes:
        code: The stable name of the problem.
        status: The HTTP status; for gRPC the one that its code corresponds to.
        detail: What is wrong and what to do about it, as the server says it.
        request_id: Names the request in the server's log; empty if it isn't known.
        retry_after: Seconds after which it is worth trying again; None if the server didn't say.
    """

    slug = "server-error"

    def __init__(
        self,
        code: str,
        status: int,
        detail: str,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        """Keep what the server said."""
        super().__init__(f"{detail} (request {request_id})" if request_id else detail)
        self.code = code
        self.status = status
        self.detail = detail
        self.request_id = request_id
        self.retry_after = retry_after


@cache
def _classes() -> Mapping[str, type[InverseFaceNetError]]:
    found = (value for value in vars(errors).values() if isinstance(value, type))
    kinds = [kind for kind in found if issubclass(kind, InverseFaceNetError)]
    # The base says no more than that something went wrong: `ServerError` keeps more of it.
    return {kind.slug: kind for kind in kinds if kind is not InverseFaceNetError}


def problem_of(error: InverseFaceNetError) -> ServerError | None:
    """Return what the server said about an error; None if it didn't come from there."""
    if isinstance(error, ServerError):
        return error
    return error.__cause__ if isinstance(error.__cause__, ServerError) else None


def error_of(problem: ServerError) -> InverseFaceNetError:
    """Return what to raise for a problem: the library's class of its code, or the problem itself."""
    kind = _classes().get(problem.code)
    if kind is None:
        return problem
    error = kind(problem.detail)
    error.__cause__ = problem
    if problem.request_id:
        error.add_note(f"request id {problem.request_id}")
    return error
