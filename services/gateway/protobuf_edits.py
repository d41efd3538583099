"""Writes what is answered about an edited photo as the messages of `editing.proto`; without gRPC."""

from __future__ import annotations

from inversefacenet.v1 import editing_pb2, reconstruction_pb2
from services.gateway.edit_answers import EditedFace, EditedPhoto
from services.gateway.edit_schemas import EditOptions
from services.gateway.protobuf import (
    box_message,
    model_message,
    parameters_message,
    picture_message,
    quality_message,
)


def encode_edit_response(answer: EditedPhoto) -> bytes:
    """Return an answer as a serialized `EditResponse`."""
    message = editing_pb2.EditResponse(
        id=answer.id,
        model=model_message(answer.model),
        image=reconstruction_pb2.ImageInfo(width=answer.size[0], height=answer.size[1]),
        faces=[_face(face) for face in answer.faces],
        picture=picture_message(answer.picture),
        truncated=answer.truncated,
        timings_ms=answer.timings_ms,
    )
    return message.SerializeToString()


def options_message(options: EditOptions) -> editing_pb2.GetEditOptionsResponse:
    """Return what edits may name as a message."""
    return editing_pb2.GetEditOptionsResponse(
        lights=options.lights,
        units=[editing_pb2.ExpressionUnit(**unit.model_dump()) for unit in options.units],
    )


def _face(face: EditedFace) -> editing_pb2.EditedFace:
    found = face.found
    before = found.quality_before
    return editing_pb2.EditedFace(
        box=box_message(found.box),
        score=found.score,
        parameters=parameters_message(face.parameters),
        reconstructed=parameters_message(found.parameters),
        quality=quality_message(found.quality),
        quality_before=None if before is None else quality_message(before),
    )
