"""Reads the photo out of a request: multipart or raw, never more bytes than allowed, never onto disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from inversefacenet.errors import InputError
from services.gateway.errors import BodyTimeoutError, BodyTooLargeError, MediaTypeError

PHOTO_FIELD: Final = "photo"
RAW_TYPES: Final = ("application/octet-stream",)
MULTIPART_TYPE: Final = "multipart/form-data"

_MAX_TEXT_FIELDS: Final = 8
_MAX_TEXT_BYTES: Final = 64 * 1024


async def read_photo(request: Request, max_bytes: int, timeout: float) -> bytes:
    """Return the photo's bytes.

    Args:
        request: A request whose body was not read yet.
        max_bytes: Limit of the whole body; reading stops there.
        timeout: Seconds in which the body must have arrived.

    Raises:
        MediaTypeError: If the content type is neither multipart nor an image's.
        BodyTooLargeError: If the body is larger than the limit.
        BodyTimeoutError: If it takes too long.
        InputError: If the form is broken or holds no photo.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    raw = media_type in RAW_TYPES or media_type.startswith("image/")
    if not raw and media_type != MULTIPART_TYPE:
        raise MediaTypeError(
            "Send the photo as the field 'photo' of multipart/form-data, or as the body itself with the "
            "content type image/jpeg, image/png, ... or application/octet-stream."
        )
    stream = _limited(request, max_bytes)
    try:
        async with asyncio.timeout(timeout):
            if raw:
                return b"".join([chunk async for chunk in stream])
            return await _read_form(request, stream, max_bytes)
    except TimeoutError as error:
        raise BodyTimeoutError(f"The body did not arrive within {timeout:g} s.") from error


async def _limited(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    too_large = BodyTooLargeError(f"The body is larger than the limit of {max_bytes} bytes.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise too_large
        yield chunk


async def _read_form(request: Request, stream: AsyncGenerator[bytes, None], max_bytes: int) -> bytes:
    parser = MultiPartParser(
        request.headers,
        stream,
        max_files=1,
        max_fields=_MAX_TEXT_FIELDS,
        max_part_size=_MAX_TEXT_BYTES,
    )
    # Photos stay in memory: no temporary file ever holds one.
    parser.spool_max_size = max_bytes + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InputError(f"The form can't be read: {error.message}") from error
    try:
        photo = form.get(PHOTO_FIELD)
        if not isinstance(photo, UploadFile):
            raise InputError(f"The form has no file in the field '{PHOTO_FIELD}': attach the photo there.")
        return await photo.read()
    finally:
        await form.close()
