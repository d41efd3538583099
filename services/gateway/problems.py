"""Every error as `application/problem+json` (RFC 9457), with a stable code and the request's id."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from inversefacenet.errors import InverseFaceNetError
from services.gateway.access import CHALLENGE
from services.gateway.context import current_notes, current_request_id
from services.gateway.errors import NotAcceptableError, UnauthenticatedError
from services.gateway.outward import foreseen, outward_detail, retry_seconds
from services.gateway.schemas import FieldProblem, Problem

PROBLEM_TYPE: Final = "urn:inversefacenet:problem:"
MEDIA_TYPE: Final = "application/problem+json"

_MOST_FIELDS: Final = 20
_LONGEST_PART: Final = 100
_GENERIC_SLUGS: Final = {404: "not-found", 405: "method-not-allowed"}


class ProblemResponse(JSONResponse):
    """An answer of the media type `application/problem+json`."""

    media_type = MEDIA_TYPE


def problem_answer(description: str, example: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe a problem as an answer in the OpenAPI document."""
    media: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}
    if example is not None:
        media["example"] = example
    return {"description": description, "content": {MEDIA_TYPE: media}}


def problem(
    status: int,
    slug: str,
    detail: str,
    errors: list[FieldProblem] | None = None,
    retry_after: int | None = None,
) -> Problem:
    """Describe what went wrong.

    Args:
        status: The HTTP status.
        slug: The stable code of the problem; bounded, for it becomes a label.
        detail: What is wrong and what to do about it.
        errors: The single fields that are wrong, if it is about fields.
        retry_after: Seconds after which it is worth trying again, if it is.
    """
    return Problem(
        type=PROBLEM_TYPE + slug,
        title=slug.replace("-", " ").capitalize(),
        status=status,
        detail=detail,
        code=slug,
        request_id=current_request_id() or "",
        errors=errors,
        retry_after=retry_after,
    )


def problem_of(error: Exception) -> Problem:
    """Describe an error of whatever kind.

    What went wrong inside the service is told to the log alone: such a message may name files.
    """
    if isinstance(error, RequestValidationError):
        return _validation_problem(error)
    known = foreseen(error)
    seconds = retry_seconds(known)
    whole = None if seconds is None else max(1, math.ceil(seconds))
    return problem(known.http_status, known.slug, outward_detail(known), retry_after=whole)


def problem_response(found: Problem, headers: Mapping[str, str] | None = None) -> ProblemResponse:
    """Answer with a problem and note its code as the request's outcome."""
    notes = current_notes()
    if notes is not None:
        notes.outcome = found.code
    content = found.model_dump(exclude_none=True)
    return ProblemResponse(content, status_code=found.status, headers=dict(headers) if headers else None)


def library_problem(error: InverseFaceNetError) -> ProblemResponse:
    """Answer an error of the library's tree with its own status and code."""
    found = problem_of(error)
    headers: dict[str, str] = {}
    if found.retry_after is not None:
        headers["Retry-After"] = str(found.retry_after)
    if isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = CHALLENGE
    if isinstance(error, NotAcceptableError):
        headers["Vary"] = "Accept"
    return problem_response(found, headers)


def unexpected_problem(error: Exception) -> ProblemResponse:
    """Answer an error that nobody foresaw: the traceback goes to the log, never into the answer."""
    return problem_response(problem_of(error))


def _validation_problem(error: RequestValidationError) -> Problem:
    fields = [_field_problem(entry) for entry in error.errors()[:_MOST_FIELDS]]
    detail = "; ".join(f"{field.field}: {field.message}" for field in fields)
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-request",
        f"The request is not valid: {detail}.",
        errors=fields,
    )


def _field_problem(entry: Mapping[str, Any]) -> FieldProblem:
    """Name a field and what is wrong with it, without a word of what came."""
    field = ".".join(str(part)[:_LONGEST_PART] for part in entry["loc"])
    return FieldProblem(field=field, message=str(entry["msg"]).removeprefix("Value error, "))


def _routing_problem(request: Request, error: HTTPException) -> ProblemResponse:
    slug = _GENERIC_SLUGS.get(error.status_code, "http-error")
    detail = {
        404: "There is nothing at this address. /docs lists what there is.",
        405: f"This address does not answer {request.method}; the Allow header lists what it does answer.",
    }.get(error.status_code, str(error.detail))
    return problem_response(problem(error.status_code, slug, detail), error.headers)


def install_problem_handlers(app: FastAPI) -> None:
    """Make the application answer every kind of error as a problem."""

    async def on_library(request: Request, error: Any) -> ProblemResponse:
        return library_problem(error)

    async def on_validation(request: Request, error: Any) -> ProblemResponse:
        return problem_response(_validation_problem(error))

    async def on_routing(request: Request, error: Any) -> ProblemResponse:
        return _routing_problem(request, error)

    app.add_exception_handler(InverseFaceNetError, on_library)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_routing)
