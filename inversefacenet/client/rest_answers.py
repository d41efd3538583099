"""Answers and problems of HTTP read back. No connection is needed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

from inversefacenet.client.errors import ServerError, UnexpectedAnswerError, error_of
from inversefacenet.client.rest_requests import JSON, MSGPACK
from inversefacenet.client.rest_results import model_of, reconstruction_of
from inversefacenet.client.results import Model, ReconstructionResult
from inversefacenet.client.retry import RefusedError
from inversefacenet.errors import InverseFaceNetError, MissingDependencyError

TOO_LARGE: Final = 413
TOO_MANY_REQUESTS: Final = 429
UNAVAILABLE: Final = 503


@dataclass(frozen=True, eq=False)
class HttpAnswer:
    """What came back.

    Attributes:
        status: The HTTP status.
        headers: By name in lower case.
        body: The bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """What the body is."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def request_id(self) -> str:
        """The request's id; empty if it isn't there."""
        return self.headers.get("x-request-id", "")


def read_reconstruction(answer: HttpAnswer) -> ReconstructionResult:
    """Read the faces of a photo.

    Raises:
        RefusedError: If the request was refused, and may be sent again.
        InverseFaceNetError: If the answer is a problem, or can't be read.
    """
    return reconstruction_of(tree_of(answer), answer.request_id)


def read_batch(
    answer: HttpAnswer, count: int
) -> list[ReconstructionResult | InverseFaceNetError | RefusedError]:
    """Read what became of several photos, in their order; see `read_reconstruction`."""
    results = tree_of(answer).get("results")
    if not isinstance(results, list) or len(results) != count:
        raise UnexpectedAnswerError(
            f"The server was sent {count} photos and answered another number of them."
        )
    return [_one_of_batch(result, answer.request_id) for result in results]


def _one_of_batch(result: Any, request_id: str) -> ReconstructionResult | InverseFaceNetError | RefusedError:
    if not isinstance(result, Mapping):
        return UnexpectedAnswerError("The server's answer to one of the photos can't be read.")
    if "reconstruction" in result:
        try:
            return reconstruction_of(result["reconstruction"], request_id)
        except UnexpectedAnswerError as error:
            return error
    status = result.get("status")
    problem = _problem(result.get("problem"), status if isinstance(status, int) else 500, request_id, None)
    # One photo of several has no header of its own that would say when to come back.
    refused = problem.status in (TOO_MANY_REQUESTS, UNAVAILABLE)
    return RefusedError(error_of(problem)) if refused else error_of(problem)


def read_file(answer: HttpAnswer, media_type: str) -> bytes:
    """Return a body that is a file; see `read_reconstruction`."""
    _check(answer)
    if answer.media_type != media_type:
        raise UnexpectedAnswerError(f"The server was asked for {media_type} and sent {answer.media_type}.")
    return answer.body


def read_models(answer: HttpAnswer) -> tuple[Model, ...]:
    """Read the networks; see `read_reconstruction`."""
    models = tree_of(answer).get("models")
    if not isinstance(models, list):
        raise UnexpectedAnswerError("The server's answer names no models.")
    return tuple(model_of(model) for model in models)


def read_ready(answer: HttpAnswer) -> bool:
    """Return whether the server says that it answers; see `read_reconstruction`."""
    if answer.status == UNAVAILABLE:
        return False
    return tree_of(answer).get("ready") is True


def tree_of(answer: HttpAnswer) -> Mapping[str, Any]:
    """Return the tree that an answer holds; see `read_reconstruction`."""
    _check(answer)
    try:
        tree = _load(answer)
    except (ValueError, RecursionError) as error:
        raise UnexpectedAnswerError(f"The server's answer can't be read: {error}.") from error
    if not isinstance(tree, Mapping):
        raise UnexpectedAnswerError(f"The server sent {answer.media_type or 'something'} that is no answer.")
    return tree


def _load(answer: HttpAnswer) -> Any:
    if answer.media_type == JSON:
        return json.loads(answer.body)
    if answer.media_type != MSGPACK:
        return None
    try:
        import msgpack
    except ImportError as error:
        raise MissingDependencyError(
            "Reading msgpack needs a package that is not installed", extra="client"
        ) from error
    return msgpack.unpackb(answer.body)


def _check(answer: HttpAnswer) -> None:
    """Raise what an answer that isn't a success stands for."""
    if 200 <= answer.status < 300:
        return
    if answer.status < 400:
        raise UnexpectedAnswerError(
            f"The server answered {answer.status} and points elsewhere: check its address."
        )
    retry_after = read_retry_after(answer.headers)
    tree = None
    if answer.media_type.endswith("json"):
        try:
            tree = json.loads(answer.body)
        except (ValueError, RecursionError):
            tree = None
    problem = _problem(tree, answer.status, answer.request_id, retry_after)
    # 503 without a time isn't ours: something between here and the server can't reach it.
    if answer.status == TOO_MANY_REQUESTS or (answer.status == UNAVAILABLE and retry_after is not None):
        raise RefusedError(error_of(problem), retry_after)
    raise error_of(problem)


def _problem(tree: Any, status: int, request_id: str, retry_after: float | None) -> ServerError:
    if not isinstance(tree, Mapping) or not isinstance(tree.get("code"), str):
        return ServerError(
            f"http-{status}", status, f"The server answered {status}.", request_id, retry_after
        )
    detail, named = tree.get("detail"), tree.get("request_id")
    return ServerError(
        tree["code"], status, str(detail or tree.get("title", "")), str(named or request_id), retry_after
    )


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return after how many seconds to come back: a number, or a date (RFC 9110, 10.2.3).

    Args:
        headers: By name in lower case. A date counts from the server's own clock, if it tells its time.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text).timestamp()
        now = parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else time.time()
    except ValueError:
        return None
    return max(moment - now, 0.0)
