"""Reads a request's body: never more bytes than allowed, never for longer than allowed, never onto disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from inversefacenet.errors import InputError
from services.gateway.calls import Call
from services.gateway.deadline import deadline_error
from services.gateway.errors import BodyTimeoutError, BodyTooLargeError, MediaTypeError, TooManyPhotosError

PHOTO_FIELD: Final = "photo"
OTHER_PREFIX: Final = "others."
JSON_TYPE: Final = "application/json"
MULTIPART_TYPE: Final = "multipart/form-data"
RAW_TYPES: Final = ("application/octet-stream",)

_MAX_TEXT_FIELDS: Final = 32
_MAX_TEXT_BYTES: Final = 256 * 1024
_MAX_JSON_VALUES: Final = 200_000
_MAX_JSON_MEMBERS: Final = 10_000
_MAX_DIGITS: Final = 18


class BodyKind(StrEnum):
    """What a body is, by its content type."""

    FORM = "form"
    JSON = "json"
    RAW = "raw"


_ADVICE: Final = {
    BodyKind.FORM: "as the field 'photo' of multipart/form-data",
    BodyKind.JSON: "as application/json",
    BodyKind.RAW: "as the body itself with the content type image/jpeg, image/png, ... or "
    "application/octet-stream",
}


@dataclass
class Form:
    """What a form holds.

    Attributes:
        fields: The texts by name, in the order in which they came.
        photos: File name and bytes of each photo.
        others: Bytes of the photos of other faces, by the names that follow `OTHER_PREFIX`.
    """

    fields: dict[str, list[str]] = field(default_factory=dict)
    photos: list[tuple[str, bytes]] = field(default_factory=list)
    others: dict[str, bytes] = field(default_factory=dict)


def kind_of(request: Request, kinds: Collection[BodyKind]) -> BodyKind:
    """Return what the body is.

    Args:
        request: A request.
        kinds: What is read at its address.

    Raises:
        MediaTypeError: If it is nothing of that.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise MediaTypeError("Bodies are not unpacked here: send it without Content-Encoding.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    found = None
    if media_type == MULTIPART_TYPE:
        found = BodyKind.FORM
    elif media_type == JSON_TYPE:
        found = BodyKind.JSON
    elif media_type in RAW_TYPES or media_type.startswith("image/"):
        found = BodyKind.RAW
    if found is None or found not in kinds:
        raise MediaTypeError(f"Send it {', or '.join(_ADVICE[kind] for kind in kinds)}.")
    return found


async def read_bytes(call: Call) -> bytes:
    """Return the whole body.

    Raises:
        BodyTooLargeError: If it is larger than the limit.
        BodyTimeoutError: If it takes too long to arrive.
        DeadlineError: If the caller's own time runs out first.
        TooManyUploadsError: If too many are being received already.
    """
    async with _receiving(call):
        return b"".join([chunk async for chunk in _limited(call)])


async def read_json(call: Call) -> bytes:
    """Return a body that is JSON text; see `read_bytes`.

    Raises:
        BodyTooLargeError: If it holds far more values or members than any request needs: as objects they
            would take many times the memory of the text.
    """
    content = await read_bytes(call)
    if content.count(b",") > _MAX_JSON_VALUES:
        raise BodyTooLargeError(f"The JSON text holds more than {_MAX_JSON_VALUES} values.")
    if content.count(b":") > _MAX_JSON_MEMBERS:
        raise BodyTooLargeError(f"The JSON text holds more than {_MAX_JSON_MEMBERS} members.")
    return content


async def read_form(call: Call, max_photos: int, max_others: int = 0) -> Form:
    """Return a form's texts and photos; see `read_bytes`.

    Args:
        call: The call.
        max_photos: How many files there may be in the field `PHOTO_FIELD`.
        max_others: How many in fields whose names begin with `OTHER_PREFIX`.

    Raises:
        InputError: If the form can't be read, or holds no photo.
        TooManyPhotosError: If it holds more than so many.
    """
    async with _receiving(call):
        form = await _parse_form(call, max_photos + max_others, others=max_others > 0)
    if len(form.photos) > max_photos:
        raise too_many(max_photos)
    return form


@asynccontextmanager
async def _receiving(call: Call) -> AsyncIterator[None]:
    check_declared_length(call)
    limit = call.gateway.settings.body_timeout
    with call.gateway.uploads.receiving():
        try:
            async with asyncio.timeout(max(0.0, min(limit, call.deadline.remaining()))):
                yield
        except TimeoutError as error:
            if call.seconds < limit:
                raise deadline_error() from error
            raise BodyTimeoutError(f"The body did not arrive within {limit:g} s.") from error


async def _limited(call: Call) -> AsyncGenerator[bytes, None]:
    received, limit = 0, call.gateway.settings.max_body_bytes
    async for chunk in call.request.stream():
        received += len(chunk)
        if received > limit:
            raise _too_large(limit)
        yield chunk


def check_declared_length(call: Call) -> None:
    """Refuse a body that says itself that it is too large.

    Raises:
        BodyTooLargeError: If it does.
    """
    declared, limit = call.request.headers.get("content-length", ""), call.gateway.settings.max_body_bytes
    if declared.isdecimal() and (len(declared) > _MAX_DIGITS or int(declared) > limit):
        raise _too_large(limit)


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than the limit of {limit} bytes.")


class _MemoryParser(MultiPartParser):
    """Keeps photos in memory: no temporary file ever holds one. Counts them before it takes them."""

    @property
    def _charset(self) -> str:
        """Texts are UTF-8, whatever the content type says: some of Python's codecs take quadratic time."""
        return "utf-8"

    @_charset.setter
    def _charset(self, named: str) -> None:
        pass

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_files >= self.max_files:
            raise too_many(int(self.max_files) - 1)


def too_many(limit: int) -> TooManyPhotosError:
    """Return the error of a request that holds more photos than so many."""
    if limit == 1:
        return TooManyPhotosError("One photo is answered here: send several to /v1/reconstructions/batch.")
    return TooManyPhotosError(f"At most {limit} photos are answered at once: send the others separately.")


async def _parse_form(call: Call, max_photos: int, *, others: bool) -> Form:
    limit = call.gateway.settings.max_body_bytes
    parser = _MemoryParser(
        call.request.headers,
        _limited(call),
        max_files=max_photos + 1,
        max_fields=_MAX_TEXT_FIELDS,
        max_part_size=_MAX_TEXT_BYTES,
    )
    parser.spool_max_size = limit + 1
    try:
        parsed = await parser.parse()
    except MultiPartException as error:
        raise InputError(f"The form can't be read: {error.message}") from error
    form = Form()
    try:
        for name, value in parsed.multi_items():
            if not isinstance(value, UploadFile):
                form.fields.setdefault(name, []).append(value)
            elif name == PHOTO_FIELD:
                form.photos.append((value.filename or "", await value.read()))
            elif others and name.startswith(OTHER_PREFIX):
                form.others[name.removeprefix(OTHER_PREFIX)] = await value.read()
            else:
                raise InputError(
                    f"The form has a file in another field: use the field '{PHOTO_FIELD}' for the photo."
                )
    finally:
        await parsed.close()
    if not form.photos:
        raise InputError(f"The form has no file in the field '{PHOTO_FIELD}': attach the photo there.")
    return form
