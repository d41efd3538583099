"""Writes what is answered about an edited photo, in the form that was asked for; runs in the workers."""

from __future__ import annotations

import base64
from typing import Any

import msgpack

from inversefacenet.parameters import GROUPS, Parameters
from services.gateway.answers import File
from services.gateway.edit_answers import EditedFace, EditedPhoto
from services.gateway.encodings import JSON, MSGPACK, short, write_json
from services.gateway.jobs import Form, Output


def encode_edit(answer: EditedPhoto, output: Output) -> tuple[bytes, str]:
    """Return an answer's bytes and their media type."""
    if output.form is Form.PICTURE:
        return answer.picture.content, answer.picture.media_type
    if output.form is Form.PROTOBUF:
        from services.gateway.protobuf import MEDIA_TYPE
        from services.gateway.protobuf_edits import encode_edit_response

        return encode_edit_response(answer), MEDIA_TYPE
    tree = edit_tree(answer)
    if output.form is Form.MSGPACK:
        tree["picture"] |= {"content": answer.picture.content}
        return msgpack.packb(tree, use_single_float=True), MSGPACK
    tree["picture"] |= {"base64": base64.b64encode(answer.picture.content).decode("ascii")}
    return write_json(tree), JSON


def edit_tree(answer: EditedPhoto) -> dict[str, Any]:
    """Return an answer as `edit_schemas.EditAnswer` describes it, without the picture's bytes."""
    return {
        "id": answer.id,
        "model": answer.model.model_dump(),
        "image": {"width": answer.size[0], "height": answer.size[1]},
        "faces": [_face(face) for face in answer.faces],
        "picture": _described(answer.picture),
        "truncated": answer.truncated,
        "timings_ms": answer.timings_ms,
    }


def _face(face: EditedFace) -> dict[str, Any]:
    found = face.found
    left, top, right, bottom = found.box
    tree: dict[str, Any] = {
        "box": {"left": left, "top": top, "right": right, "bottom": bottom},
        "parameters": _groups(face.parameters),
        "reconstructed": _groups(found.parameters),
        "quality": found.quality,
    }
    if found.quality_before is not None:
        tree["quality_before"] = found.quality_before
    if found.score is not None:
        tree["score"] = found.score
    return tree


def _groups(parameters: Parameters) -> dict[str, Any]:
    return {name: short(getattr(parameters, name)) for name in GROUPS}


def _described(picture: File) -> dict[str, Any]:
    assert picture.size is not None, "it is a picture"
    return {"media_type": picture.media_type, "width": picture.size[0], "height": picture.size[1]}
