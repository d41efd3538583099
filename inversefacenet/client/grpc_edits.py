"""Edits as messages of `editing.proto`; answers read back. No connection is needed; protobuf is."""

from __future__ import annotations

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.struct_pb2 import Struct

from inversefacenet.client.edits import EditedFace, EditJob, EditOptions, EditResult, ExpressionUnit
from inversefacenet.client.errors import UnexpectedAnswerError
from inversefacenet.client.grpc_messages import (
    model_of,
    parameters_message,
    parameters_of,
    quality_of,
    reconstruct_request,
)
from inversefacenet.client.requests import PhotoJob
from inversefacenet.client.results import File
from inversefacenet.errors import EditError, InverseFaceNetError
from inversefacenet.parameters import Parameters
from inversefacenet.v1 import editing_pb2


def edit_request(job: EditJob) -> editing_pb2.EditRequest:
    """Return a photo and what is to be changed as a message.

    Raises:
        EditError: If an edit holds something that JSON doesn't have.
    """
    photo = reconstruct_request(job.photo)
    message = editing_pb2.EditRequest(
        landmarks=photo.landmarks,
        faces=photo.faces,
        minimum_size=photo.minimum_size,
        refine_iterations=photo.refine_iterations,
        picture_format=editing_pb2.PictureFormat.Value(f"PICTURE_FORMAT_{job.picture_format.upper()}"),
    )
    if job.photo.url is None:
        message.content = job.photo.content
    else:
        message.url = job.photo.url
    for number, edit in enumerate(job.edits):
        try:
            message.edits.append(ParseDict(edit, Struct()))
        except (ParseError, ValueError, TypeError, OverflowError) as error:
            raise EditError(f"Edit {number} holds something that JSON doesn't have: {error}.") from error
    for name, other in job.others.items():
        message.others[name].CopyFrom(_other(other))
    return message


def _other(other: PhotoJob | Parameters) -> editing_pb2.OtherFace:
    if isinstance(other, Parameters):
        return editing_pb2.OtherFace(parameters=parameters_message(other))
    if other.url is not None:
        return editing_pb2.OtherFace(url=other.url)
    return editing_pb2.OtherFace(content=other.content)


def edit_of(message: editing_pb2.EditResponse, request_id: str = "") -> EditResult:
    """Read an edited photo.

    Raises:
        UnexpectedAnswerError: If there is none, or a face isn't complete.
    """
    try:
        faces = tuple(_face(face) for face in message.faces)
    except (InverseFaceNetError, ValueError) as error:
        raise UnexpectedAnswerError(f"The server's answer can't be read: {error}") from error
    if not faces or not message.HasField("picture"):
        raise UnexpectedAnswerError("The server's answer holds no edited photo.")
    return EditResult(
        id=message.id,
        model=model_of(message.model),
        width=message.image.width,
        height=message.image.height,
        faces=faces,
        picture=File(message.picture.content, message.picture.media_type),
        truncated=message.truncated,
        timings_ms=dict(message.timings_ms),
        request_id=request_id,
    )


def options_of(message: editing_pb2.GetEditOptionsResponse) -> EditOptions:
    """Read what edits may name."""
    return EditOptions(
        lights=tuple(message.lights),
        units=tuple(
            ExpressionUnit(unit.name, unit.description, unit.minimum, unit.maximum) for unit in message.units
        ),
    )


def _face(face: editing_pb2.EditedFace) -> EditedFace:
    return EditedFace(
        box=(face.box.left, face.box.top, face.box.right, face.box.bottom),
        score=face.score if face.HasField("score") else None,
        parameters=parameters_of(face.parameters),
        reconstructed=parameters_of(face.reconstructed),
        quality=quality_of(face.quality),
        quality_before=quality_of(face.quality_before) if face.HasField("quality_before") else None,
    )
