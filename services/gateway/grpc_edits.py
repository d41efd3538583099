"""From an `EditRequest` to the job of a worker, wherever its photos come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.struct_pb2 import Struct

from inversefacenet.errors import EditError
from inversefacenet.parameters import Parameters
from inversefacenet.v1 import editing_pb2
from services.gateway.context import current_request_id
from services.gateway.deadline import Deadline
from services.gateway.edit_schemas import LONGEST_OTHER, MOST_EDITS, MOST_OTHERS, some_edits
from services.gateway.errors import InputDisabledError
from services.gateway.gateway import Gateway
from services.gateway.grpc_photos import with_photo
from services.gateway.grpc_requests import FieldError, groups_of, plain_job
from services.gateway.jobs import EditJob, Form, Output, PhotoJob
from services.gateway.parameter_input import lendable
from services.gateway.schemas import PictureFormat

_FORMATS: Final[Mapping[int, PictureFormat]] = MappingProxyType(
    {
        editing_pb2.PICTURE_FORMAT_UNSPECIFIED: "png",
        editing_pb2.PICTURE_FORMAT_PNG: "png",
        editing_pb2.PICTURE_FORMAT_JPEG: "jpeg",
    }
)

# As objects they take many times the memory of the message, and making them keeps the event loop busy.
_MOST_EDIT_BYTES: Final = 256 * 1024

PHOTO: Final = ""
"""What the photo itself is called among the addresses; another face always has a name."""


def understood_edit(gateway: Gateway, request: editing_pb2.EditRequest) -> tuple[EditJob, Mapping[str, str]]:
    """Return what a worker is to do, so that what is wrong is told before it costs anything.

    Args:
        gateway: Knows the limits, and whether photos are fetched.
        request: The message; it isn't needed any more then.

    Returns:
        The job; and the addresses where photos are still to be fetched, by the names of the other faces, the
        photo's own under `PHOTO`.

    Raises:
        FieldError: If a field is wrong, or there is no photo.
        ParameterError: If the parameters of another face can't be used.
        EditError: If there is no edit, or one holds a number that isn't finite.
        InputDisabledError: If there is an address, and photos are not fetched here.
    """
    if request.WhichOneof("photo") is None:
        raise FieldError("photo", "send the photo as `content` or its address as `url`")
    if request.picture_format not in _FORMATS:
        raise FieldError("picture_format", f"there is no value {request.picture_format}")
    if len(request.edits) > MOST_EDITS:
        raise FieldError("edits", f"there are at most {MOST_EDITS}")
    if sum(edit.ByteSize() for edit in request.edits) > _MOST_EDIT_BYTES:
        raise FieldError("edits", f"they have at most {_MOST_EDIT_BYTES // 1024} KiB together")
    output = Output(form=Form.PROTOBUF, picture_format=_FORMATS[request.picture_format])
    settings, request_id = gateway.settings, current_request_id() or ""
    photo = plain_job(request, request.content, output, settings, request_id)
    addresses = {PHOTO: request.url} if request.url else {}
    others: dict[str, PhotoJob | Parameters] = {}
    for name, other in request.others.items():
        _check_name(name, len(request.others))
        kind = other.WhichOneof("face")
        if kind is None:
            raise FieldError(f"others[{name}]", "send `content`, `url` or `parameters`")
        if kind == "parameters":
            others[name] = lendable(groups_of(other.parameters))
            continue
        # Of another photo the largest face counts, as it is found there.
        others[name] = dataclasses.replace(
            photo, content=other.content, faces="largest", minimum_size=None, landmarks=None
        )
        if kind == "url":
            addresses[name] = other.url
    if addresses and gateway.fetcher is None:
        raise InputDisabledError("Photos are not fetched from addresses here: send the photo as `content`.")
    edits = some_edits([_plain(index, edit) for index, edit in enumerate(request.edits)])
    return EditJob(photo, edits, others), addresses


async def with_photos(
    gateway: Gateway, job: EditJob, addresses: Mapping[str, str], deadline: Deadline
) -> EditJob:
    """Return a job with its photos, fetched where they have addresses; see `grpc_photos.with_photo`."""
    others = dict(job.others)
    for name, url in addresses.items():
        wanted = job.photo if name == PHOTO else others[name]
        assert isinstance(wanted, PhotoJob)
        fetched = await with_photo(gateway, wanted, url, deadline)
        if name == PHOTO:
            job = dataclasses.replace(job, photo=fetched)
        else:
            others[name] = fetched
    return dataclasses.replace(job, others=others)


def photos_of(job: EditJob) -> int:
    """Return how many photos are to be reconstructed."""
    return 1 + sum(isinstance(other, PhotoJob) for other in job.others.values())


def _plain(index: int, edit: Struct) -> dict[str, Any]:
    try:
        return MessageToDict(edit)
    except (SerializeToJsonError, ValueError) as error:  # which one depends on the version
        raise EditError(f"edits[{index}] holds a number that is not finite.") from error


def _check_name(name: str, count: int) -> None:
    if count > MOST_OTHERS:
        raise FieldError("others", f"there are at most {MOST_OTHERS}")
    if not 1 <= len(name) <= LONGEST_OTHER:
        raise FieldError("others", f"a name has 1 to {LONGEST_OTHER} characters")
