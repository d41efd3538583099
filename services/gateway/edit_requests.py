"""Turns the body of a request for an edited photo, whatever its content type, into the job of a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from inversefacenet.parameters import Parameters
from services.gateway.body import OTHER_PREFIX, BodyKind, kind_of, read_bytes, read_form, read_json
from services.gateway.calls import Call, check_query
from services.gateway.edit_schemas import (
    LONGEST_OTHER,
    MOST_OTHERS,
    EditBody,
    EditParameters,
    OtherFace,
    some_edits,
)
from services.gateway.jobs import EditJob, Output, PhotoJob
from services.gateway.negotiation import Offer
from services.gateway.parameter_input import lendable, parameters_of
from services.gateway.photo_requests import (
    Photo,
    check_source,
    fetch,
    form_options,
    invalid,
    merged,
    note_photos,
    plain_job,
    read_model,
)


@dataclass(frozen=True)
class EditRequest:
    """A photo, what is to be changed, and the faces that something is taken from.

    Attributes:
        options: What is wanted.
        photo: The photo.
        others: Photos or parameters of other faces, by name.
    """

    options: EditParameters
    photo: Photo
    others: Mapping[str, Photo | Parameters]

    def photos(self) -> list[Photo]:
        """Return all photos that are to be reconstructed."""
        return [self.photo, *(other for other in self.others.values() if isinstance(other, Photo))]


async def read_edit(call: Call, query: EditParameters) -> EditRequest:
    """Read the body of a request; what it asks for counts before what the query asks for.

    Raises:
        InputError: If the body can't be read; see `body`.
        RequestValidationError: If it isn't valid.
        ParameterError: If the parameters of another face can't be used.
    """
    kind = kind_of(call.request, (BodyKind.FORM, BodyKind.RAW, BodyKind.JSON))
    check_query(call.request, EditParameters)
    sent: dict[str, Photo | Parameters] = {}
    if kind is BodyKind.JSON:
        body = read_model(EditBody, await read_json(call))
        options = merged(query, body)
        photo = Photo(body.photo.base64.encode(), not body.photo.url, body.photo.url)
    elif kind is BodyKind.RAW:
        options, photo = query, Photo(await read_bytes(call))
    else:
        form = await read_form(call, 1, MOST_OTHERS)
        options = merged(query, form_options(form, EditParameters))
        photo = Photo(form.photos[0][1])
        sent = {name: Photo(content) for name, content in form.others.items()}
    _check_names(sent, options.others)
    others = sent | {name: _other(other) for name, other in options.others.items()}
    request = EditRequest(options, replace(photo, landmarks=options.landmarks), others)
    note_photos(len(request.photos()))
    for one in request.photos():
        check_source(call, one)
    return request


def edit_job(call: Call, request: EditRequest, offer: Offer) -> EditJob:
    """Return what a worker is to do, as far as it is known before photos sent by URL are fetched.

    Raises:
        EditError: If nothing is to be changed.
    """
    options = request.options
    output = Output(form=offer.form, picture_format=offer.picture_format or options.picture_format)
    job = plain_job(call, options, request.photo, output)
    # Of another photo the largest face counts, as it is found there.
    others = options.model_copy(update={"faces": "largest", "minimum_size": 0.0})
    return EditJob(
        job,
        some_edits(options.edits),
        {
            name: plain_job(call, others, other, output) if isinstance(other, Photo) else other
            for name, other in request.others.items()
        },
    )


async def with_photos(call: Call, request: EditRequest, job: EditJob) -> EditJob:
    """Return a job with the photos that came as addresses; see `photo_requests.fetch`."""
    if request.photo.url:
        job = replace(job, photo=replace(job.photo, content=await fetch(call, request.photo.url)))
    others = dict(job.others)
    for name, other in request.others.items():
        known = others[name]
        if isinstance(other, Photo) and other.url and isinstance(known, PhotoJob):
            others[name] = replace(known, content=await fetch(call, other.url))
    return replace(job, others=others)


def _other(other: OtherFace) -> Photo | Parameters:
    if other.parameters is not None:
        return lendable(parameters_of(other.parameters))
    assert other.photo is not None, "the schema has made sure of one of both"
    return Photo(other.photo.base64.encode(), not other.photo.url, other.photo.url)


def _check_names(sent: Mapping[str, Photo | Parameters], named: Mapping[str, OtherFace]) -> None:
    for name in sent:
        if not 1 <= len(name) <= LONGEST_OTHER:
            raise invalid("body", OTHER_PREFIX, f"a name has 1 to {LONGEST_OTHER} characters")
        if name in named:
            raise invalid("body", OTHER_PREFIX + name, "is in 'others' too: send it once")
    if len(sent) + len(named) > MOST_OTHERS:
        raise invalid("body", "others", f"there are at most {MOST_OTHERS} other faces")
