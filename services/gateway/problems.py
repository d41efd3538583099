"""Every error as `application/problem+json` (RFC 9457), with a stable code and the request's id."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from inversefacenet.errors import BackendError, InverseFaceNetError
from services.gateway.context import current_notes
from services.gateway.errors import NotReadyError, OverloadedError
from services.gateway.schemas import FieldProblem, Problem

PROBLEM_TYPE: Final = "urn:inversefacenet:problem:"
MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = "1"

_SAFE_SERVER_ERRORS: Final = (OverloadedError, NotReadyError)
_RETRY_ERRORS: Final = (OverloadedError, NotReadyError, BackendError)
_HIDDEN_DETAIL: Final = (
    "The service could not answer. The fault is on its side: its log has the cause under the request id."
)
_GENERIC_SLUGS: Final = {404: "not-found", 405: "method-not-allowed"}

logger = logging.getLogger(__name__)


class ProblemResponse(JSONResponse):
    """An answer of the media type `application/problem+json`."""

    media_type = MEDIA_TYPE


def problem_answer(description: str, example: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe a problem as an answer in the OpenAPI document."""
    media: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}
    if example is not None:
        media["example"] = example
    return {"description": description, "content": {MEDIA_TYPE: media}}


def problem_response(
    status: int,
    slug: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: list[FieldProblem] | None = None,
) -> ProblemResponse:
    """Build the answer and note its code as the request's outcome.

    Args:
        status: The HTTP status.
        slug: The stable code of the problem; bounded, for it becomes a label.
        detail: What is wrong and what to do about it.
        headers: Further headers, such as Retry-After.
        errors: The single fields that are wrong, if it is about fields.
    """
    notes = current_notes()
    if notes is not None:
        notes.outcome = slug
    problem = Problem(
        type=PROBLEM_TYPE + slug,
        title=slug.replace("-", " ").capitalize(),
        status=status,
        detail=detail,
        code=slug,
        request_id=notes.request_id if notes else "",
        errors=errors,
    )
    content = problem.model_dump(exclude_none=True)
    return ProblemResponse(content, status_code=status, headers=dict(headers) if headers else None)


def library_problem(error: InverseFaceNetError) -> ProblemResponse:
    """Answer an error of the library's tree with its own status and code.

    What went wrong inside the service is told to the log alone: such a message may name files.
    """
    internal = error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if internal:
        logger.error("%s: %s", error.slug, error, exc_info=error if error.http_status == 500 else None)
    hidden = internal and not isinstance(error, _SAFE_SERVER_ERRORS)
    headers: dict[str, str] = {}
    if isinstance(error, _RETRY_ERRORS):
        headers["Retry-After"] = RETRY_SECONDS
    return problem_response(
        error.http_status, error.slug, _HIDDEN_DETAIL if hidden else str(error), headers=headers
    )


def unexpected_problem(error: Exception) -> ProblemResponse:
    """Answer an error that nobody foresaw: the traceback goes to the log, never into the answer."""
    logger.error("unexpected %s", type(error).__name__, exc_info=error)
    return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", _HIDDEN_DETAIL)


def _validation_problem(error: RequestValidationError) -> ProblemResponse:
    fields = [
        FieldProblem(field=".".join(str(part) for part in entry["loc"]), message=entry["msg"])
        for entry in error.errors()
    ]
    detail = "; ".join(f"{field.field}: {field.message}" for field in fields)
    return problem_response(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-request",
        f"The request is not valid: {detail}.",
        errors=fields,
    )


def _routing_problem(request: Request, error: HTTPException) -> ProblemResponse:
    slug = _GENERIC_SLUGS.get(error.status_code, "http-error")
    detail = {
        404: "There is nothing at this address. /docs lists what there is.",
        405: f"This address does not answer {request.method}; the Allow header lists what it does answer.",
    }.get(error.status_code, str(error.detail))
    return problem_response(error.status_code, slug, detail, headers=error.headers)


def install_problem_handlers(app: FastAPI) -> None:
    """Make the application answer every kind of error as a problem."""

    async def on_library(request: Request, error: Any) -> ProblemResponse:
        return library_problem(error)

    async def on_validation(request: Request, error: Any) -> ProblemResponse:
        return _validation_problem(error)

    async def on_routing(request: Request, error: Any) -> ProblemResponse:
        return _routing_problem(request, error)

    app.add_exception_handler(InverseFaceNetError, on_library)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_routing)
