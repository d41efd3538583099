"""Reads a request's body: never more bytes than allowed, never for longer than allowed, never onto disk."""

from __future__ import annotations

import asyncio
from typing import Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from services.studio.errors import BodyTimeoutError, BodyTooLargeError, InvalidRequestError

MOST_JSON_BYTES: Final = 128 * 1024

Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """Return the whole body.

    Raises:
        BodyTooLargeError: If it is larger than the limit.
        BodyTimeoutError: If it takes too long to arrive.
    """
    too_large = BodyTooLargeError(
        f"The file has more than the {limit / 1024**2:.1f} MiB that the studio takes; send a smaller one."
    )
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise BodyTimeoutError(f"It did not arrive within {seconds:g} seconds; send it again.") from None
    return bytes(body)


async def read_json(request: Request, model: type[Model], seconds: float) -> Model:
    """Return a JSON body as an object of a model; an empty body is one of its defaults.

    Raises:
        InvalidRequestError: If it is none; the message names the fields, and nothing of what came.
    """
    body = await read_body(request, MOST_JSON_BYTES, seconds)
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        fields = "; ".join(
            f"{'.'.join(str(part)[:60] for part in entry['loc']) or 'body'}: {entry['msg']}"
            for entry in error.errors(include_url=False, include_input=False)[:8]
        )
        raise InvalidRequestError(f"The request is not valid: {fields}.") from None
