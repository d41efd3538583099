"""Every error as `application/problem+json` (RFC 9457); what is the studio's own fault goes to the log."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from inversefacenet.errors import InverseFaceNetError
from services.studio.errors import StudioBusyError

PROBLEM_TYPE: Final = "urn:inversefacenet:problem:"
MEDIA_TYPE: Final = "application/problem+json"
HIDDEN_DETAIL: Final = "The studio could not do this. The fault is on its side: its log has the cause."

_RETRY_SECONDS: Final = 5

logger = logging.getLogger(__name__)


class ProblemResponse(JSONResponse):
    """An answer of the media type `application/problem+json`."""

    media_type = MEDIA_TYPE


def problem(status: int, slug: str, detail: str, headers: dict[str, str] | None = None) -> ProblemResponse:
    """Answer with a problem.

    Args:
        status: The HTTP status.
        slug: The stable code of the problem.
        detail: What is wrong and what to do about it.
        headers: Headers of the answer.
    """
    content = {
        "type": PROBLEM_TYPE + slug,
        "title": slug.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": slug,
    }
    return ProblemResponse(content, status_code=status, headers=headers)


def library_problem(error: InverseFaceNetError) -> ProblemResponse:
    """Answer an error of the library's tree with its own status and code.

    The message of a fault of the studio's own may name files: callers don't get it.
    """
    busy = isinstance(error, StudioBusyError)
    if error.http_status < 500 or busy:
        headers = {"Retry-After": str(_RETRY_SECONDS)} if busy else None
        return problem(error.http_status, error.slug, str(error), headers)
    logger.error("%s: %s", error.slug, error, exc_info=error)
    return problem(error.http_status, error.slug, HIDDEN_DETAIL)


def install_problem_handlers(app: FastAPI) -> None:
    """Make the application answer every kind of error as a problem."""

    async def on_library(request: Request, error: Any) -> ProblemResponse:
        return library_problem(error)

    async def on_routing(request: Request, error: Any) -> ProblemResponse:
        status = HTTPStatus(error.status_code)
        slug = status.phrase.lower().replace(" ", "-")
        return problem(status, slug, f"{status.phrase}: {status.description}.", error.headers)

    async def on_unforeseen(request: Request, error: Exception) -> ProblemResponse:
        logger.error("unexpected %s", type(error).__name__, exc_info=error)
        return problem(500, InverseFaceNetError.slug, HIDDEN_DETAIL)

    app.add_exception_handler(InverseFaceNetError, on_library)
    app.add_exception_handler(HTTPException, on_routing)
    app.add_exception_handler(Exception, on_unforeseen)
