"""Turns the body of a request, whatever its content type, into photos and what is wanted of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar, get_args

import numpy as np
from fastapi.exceptions import RequestValidationError
from jaxtyping import Float32
from pydantic import BaseModel, ValidationError

from services.gateway.body import BodyKind, Form, kind_of, read_bytes, read_form, read_json, too_many
from services.gateway.calls import Call, check_query, names_of
from services.gateway.context import current_notes, current_request_id
from services.gateway.errors import InputDisabledError
from services.gateway.jobs import Form as AnswerForm
from services.gateway.jobs import Output, PhotoJob
from services.gateway.negotiation import Offer
from services.gateway.parameter_input import PARAMETER_SCHEMAS
from services.gateway.request_schemas import (
    LONGEST_NAME,
    BatchBody,
    BatchParameters,
    BrokenPhoto,
    FaceOptions,
    NamedPhoto,
    OnePhoto,
    PhotoBody,
    PhotoOptions,
    PhotoParameters,
    RenderingBody,
)
from services.gateway.schemas import Part

_PICTURES: Final = (Part.RENDERING, Part.OVERLAY, Part.CONTOURS)

_MOST_ERRORS: Final = 1000
_LANDMARKS_OF_SEVERAL: Final = "belong to one photo: send several photos with theirs as JSON"

Body = TypeVar("Body", bound=BaseModel)
Options = TypeVar("Options", bound=FaceOptions)


@dataclass(frozen=True)
class Photo:
    """One photo of a request.

    Attributes:
        content: The file's bytes, or its base64 text.
        base64: Which of both.
        url: Where to fetch it from instead.
        name: What the caller calls it.
        crop: It is a 240x240 crop.
        landmarks: The 68 points of each face, if the caller knows them.
    """

    content: bytes = b""
    base64: bool = False
    url: str = ""
    name: str = ""
    crop: bool = False
    landmarks: tuple[Float32[np.ndarray, "68 2"], ...] | None = None


@dataclass(frozen=True)
class PhotoRequest:
    """Photos, and what is wanted of each.

    Attributes:
        options: What is wanted.
        photos: The photos in their order; an error takes the place of one that isn't valid.
    """

    options: PhotoOptions
    photos: list[Photo | RequestValidationError]


async def read_photo(call: Call, query: PhotoParameters) -> tuple[PhotoOptions, Photo]:
    """Read the body of a request for one photo; what it asks for counts before what the query asks for.

    Raises:
        InputError: If the body can't be read; see `body`.
        RequestValidationError: If it isn't valid.
    """
    kind = kind_of(call.request, (BodyKind.FORM, BodyKind.RAW, BodyKind.JSON))
    check_query(call.request, PhotoParameters)
    note_photos(1)
    if kind is BodyKind.JSON:
        body = read_model(PhotoBody, await read_json(call))
        photo = _photo(body, crop=query.input == "crop")
        if "landmarks" not in body.model_fields_set:
            photo = replace(photo, landmarks=query.landmarks)
        return merged(query, body), photo
    if kind is BodyKind.RAW:
        return query, Photo(await read_bytes(call), crop=query.input == "crop", landmarks=query.landmarks)
    form = await read_form(call, 1)
    options = merged(query, form_options(form, PhotoParameters))
    (_, content) = form.photos[0]
    return options, Photo(content, crop=options.input == "crop", landmarks=options.landmarks)


async def read_photos(call: Call, query: BatchParameters) -> PhotoRequest:
    """Read the body of a request for several photos; see `read_photo`.

    Raises:
        TooManyPhotosError: If there are more than the limit.
    """
    kind = kind_of(call.request, (BodyKind.FORM, BodyKind.JSON))
    limit = call.gateway.settings.max_photos
    if "landmarks" in call.request.query_params:
        raise invalid("query", "landmarks", _LANDMARKS_OF_SEVERAL)
    check_query(call.request, BatchParameters)
    if kind is BodyKind.JSON:
        body = read_model(BatchBody, await read_json(call), max_photos=limit)
        if len(body.photos) > limit:
            raise too_many(limit)
        options = merged(query, body)
        crop = options.input == "crop"
        either = [_either(number, one, crop) for number, one in enumerate(body.photos)]
        request = PhotoRequest(options, either)
    else:
        form = await read_form(call, limit)
        if "landmarks" in form.fields:
            raise invalid("body", "landmarks", _LANDMARKS_OF_SEVERAL)
        options = merged(query, form_options(form, BatchParameters))
        crop = options.input == "crop"
        photos = [Photo(content, name=name[:LONGEST_NAME], crop=crop) for name, content in form.photos]
        request = PhotoRequest(options, [*photos])
    note_photos(len(request.photos))
    return request


def photo_job(call: Call, options: PhotoOptions, photo: Photo, offer: Offer) -> PhotoJob:
    """Return what a worker is to do with a photo, as far as it is known before one sent by URL is fetched."""
    job = plain_job(call, options, photo, output_of(options, offer))
    return replace(job, faces="largest") if offer.form is AnswerForm.MESH else job


def plain_job(call: Call, options: FaceOptions, photo: Photo, output: Output) -> PhotoJob:
    """Return a photo with the operator's limits; see `photo_job`."""
    settings = call.gateway.settings
    return PhotoJob(
        photo.content,
        output,
        current_request_id() or "",
        base64=photo.base64,
        crop=photo.crop,
        faces=options.faces,
        minimum_size=max(options.minimum_size, settings.minimum_face) if options.minimum_size else None,
        landmarks=photo.landmarks,
        max_bytes=settings.max_body_bytes,
        max_pixels=settings.max_pixels,
        max_faces=settings.max_faces,
        refine=options.refine,
    )


def output_of(options: PhotoOptions, offer: Offer) -> Output:
    """Return what is wanted in the form that was chosen: a form of one file decides which file."""
    parts = frozenset(options.parts)
    if offer.form is AnswerForm.MESH:
        parts = frozenset({Part.MESH})
    elif offer.form is AnswerForm.PICTURE:
        parts = frozenset({next((part for part in options.parts if part in _PICTURES), Part.RENDERING)})
    return Output(
        parts,
        offer.form,
        offer.mesh_format or options.mesh_format,
        options.mesh_space,
        options.mesh_colours,
        options.size,
        options.texture_size,
    )


def check_source(call: Call, photo: Photo) -> None:
    """Refuse a photo that came as an address where none is fetched.

    Raises:
        InputDisabledError: If it did.
    """
    if photo.url and call.gateway.fetcher is None:
        raise InputDisabledError(
            "Photos are not fetched from addresses here: send the photo itself, or have the operator set "
            "IFN_URL_INPUT."
        )


async def fetch(call: Call, url: str) -> bytes:
    """Return the bytes of a photo that came as an address; see `check_source`.

    Raises:
        FetchError: If it can't be fetched.
        DeadlineError: If the time runs out meanwhile.
        TooManyUploadsError: If too many photos are on their way already.
    """
    fetcher = call.gateway.fetcher
    assert fetcher is not None, "check_source has let the photo pass"
    with call.gateway.uploads.receiving():
        return await fetcher.fetch(url, call.deadline.check())


def read_model(model: type[Body], content: bytes, max_photos: int = 1) -> Body:
    """Read JSON text.

    Raises:
        RequestValidationError: If it isn't valid.
        TooManyPhotosError: If it lists more photos than any service allows.
    """
    try:
        return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        found = _placed(error, model)
        if any((one["type"], one["loc"]) == ("too_long", ("body", "photos")) for one in found.errors()):
            raise too_many(max_photos) from error
        raise found from error


def invalid(place: str, field: str, message: str) -> RequestValidationError:
    """Return the error of a field that isn't valid, in the body or in the query."""
    return RequestValidationError([{"type": "value_error", "loc": (place, field), "msg": message}])


def note_photos(count: int) -> None:
    """Tell the request's log line how many photos it holds."""
    notes = current_notes()
    if notes is not None:
        notes.details["photos"] = count


def _placed(error: ValidationError, model: type[BaseModel], *place: str | int) -> RequestValidationError:
    """Return the errors of a model's fields as those of a place in the body."""
    count = error.error_count()
    if count > _MOST_ERRORS:
        # Each would become an object with a message, to tell some of them.
        message = f"more than {_MOST_ERRORS} fields or values are not valid"
        return RequestValidationError([{"type": "value_error", "loc": ("body", *place), "msg": message}])
    entries = error.errors(include_url=False, include_context=False, include_input=False)
    told: set[str] = set()
    for entry in entries:
        if entry["type"] == "extra_forbidden":
            message = _unknown(model, entry["loc"])
            # The list of members is long: once is enough.
            entry["msg"] = message.partition(";")[0] if message in told else message
            told.add(message)
    return RequestValidationError([{**entry, "loc": ("body", *place, *entry["loc"])} for entry in entries])


def _unknown(model: type[BaseModel], place: tuple[str | int, ...]) -> str:
    """Say which members there are where one was sent that isn't known."""
    *parents, name = place
    if model is RenderingBody and name in PARAMETER_SCHEMAS:
        return f'it belongs into \'parameters\': send {{"parameters": {{"{name}": [...]}}}}'
    for parent in parents:
        member = model.model_fields.get(str(parent))  # none for an entry's own name, of a mapping or a list
        model = (member and _model_in(member.annotation)) or model
    return f"there is no such member; there are {', '.join(names_of(model))}"


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Find the model that a member holds, alone or in a list, a mapping or a choice."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(inner) for inner in get_args(annotation))
    return next((one for one in found if one is not None), None)


def form_options(form: Form, model: type[Options]) -> Options:
    """Read the texts of a form.

    Raises:
        RequestValidationError: If one isn't known, or isn't valid.
    """
    fields: dict[str, str | list[str]] = {}
    known = names_of(model)
    for name, values in form.fields.items():
        if name not in known:
            raise invalid("body", name, f"there is no such field; there are {', '.join(known)}")
        fields[name] = values if name == "return" else values[-1]
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _placed(error, model) from error


def merged(query: Options, body: FaceOptions) -> Options:
    """Return what a body asks for, and what the query does where the body says nothing."""
    fields: Mapping[str, object] = type(query).model_fields
    chosen = {name: getattr(body, name) for name in body.model_fields_set if name in fields}
    return query.model_copy(update=chosen)


def _photo(body: OnePhoto, name: str = "", *, crop: bool) -> Photo:
    """Return the photo that a body holds; `crop` counts where the body doesn't say what it is."""
    source = body.photo
    content = source.base64.encode()
    if "crop" in body.model_fields_set:
        crop = body.crop
    elif "input" in body.model_fields_set:
        crop = body.input == "crop"
    return Photo(content, not source.url, source.url, name, crop, body.landmarks)


def _either(number: int, one: OnePhoto | BrokenPhoto, crop: bool) -> Photo | RequestValidationError:
    if isinstance(one, BrokenPhoto):
        return _placed(one.error, NamedPhoto, "photos", number)
    return _photo(one, getattr(one, "name", ""), crop=crop)
