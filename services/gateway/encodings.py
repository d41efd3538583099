"""Writes an answer in the form that the caller asked for; runs in the workers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgpack
import numpy as np
from jaxtyping import Float

from inversefacenet.parameters import GROUPS
from services.gateway.answers import FaceResult, File, PhotoAnswer
from services.gateway.jobs import Form, Output
from services.gateway.multipart_form import Piece, write_multipart

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"

WriteFile = Callable[[File], dict[str, Any]]
"""Returns the members that carry or name a file's bytes."""


def encode(answer: PhotoAnswer, output: Output) -> tuple[bytes, str]:
    """Return an answer's bytes and their media type."""
    return _ENCODERS[output.form](answer)


def _json(answer: PhotoAnswer) -> tuple[bytes, str]:
    return write_json(answer_tree(answer, _base64)), JSON


def _msgpack(answer: PhotoAnswer) -> tuple[bytes, str]:
    # No number in an answer is known better than float32 can hold it.
    tree = answer_tree(answer, lambda file: {"content": file.content})
    return msgpack.packb(tree, use_single_float=True), MSGPACK


def _multipart(answer: PhotoAnswer) -> tuple[bytes, str]:
    tree = answer_tree(answer, lambda file: {"part": file.name})
    files = [Piece.of(file) for file in answer.files()]
    return write_multipart([Piece(write_json(tree), JSON), *files])


def _protobuf(answer: PhotoAnswer) -> tuple[bytes, str]:
    from services.gateway.protobuf import MEDIA_TYPE, encode_protobuf

    return encode_protobuf(answer), MEDIA_TYPE


def _mesh_alone(answer: PhotoAnswer) -> tuple[bytes, str]:
    mesh = answer.faces[0].mesh
    assert mesh is not None, "a mesh alone is asked for together with the part `mesh`"
    return mesh.content, mesh.media_type


def _picture_alone(answer: PhotoAnswer) -> tuple[bytes, str]:
    face = answer.faces[0]
    (picture, *_) = [file for file in (answer.overlay, face.contours, face.rendering) if file is not None]
    return picture.content, picture.media_type


_ENCODERS: Final[Mapping[Form, Callable[[PhotoAnswer], tuple[bytes, str]]]] = MappingProxyType(
    {
        Form.JSON: _json,
        Form.MSGPACK: _msgpack,
        Form.MULTIPART: _multipart,
        Form.PROTOBUF: _protobuf,
        Form.MESH: _mesh_alone,
        Form.PICTURE: _picture_alone,
    }
)


def answer_tree(answer: PhotoAnswer, write_file: WriteFile) -> dict[str, Any]:
    """Return the answer as `schemas.ReconstructionAnswer` describes it: dicts, lists and numbers.

    Args:
        answer: The answer.
        write_file: Says how the bytes of meshes and pictures are to stand in it.
    """
    tree: dict[str, Any] = {
        "id": answer.id,
        "model": answer.model.model_dump(),
        "image": {"width": answer.size[0], "height": answer.size[1]},
        "faces": [_face(face, write_file) for face in answer.faces],
        "truncated": answer.truncated,
        "timings_ms": answer.timings_ms,
    }
    if answer.overlay is not None:
        tree["overlay"] = _file(answer.overlay, write_file)
    return tree


def _face(face: FaceResult, write_file: WriteFile) -> dict[str, Any]:
    left, top, right, bottom = face.box
    tree: dict[str, Any] = {
        "box": {"left": left, "top": top, "right": right, "bottom": bottom},
        "parameters": {name: short(getattr(face.parameters, name)) for name in GROUPS},
        "placement": {
            "camera_distance": face.camera_distance,
            "scale": face.scale,
            "offset": list(face.offset),
            "crop_scale": face.crop_scale,
            "crop_offset": list(face.crop_offset),
        },
        "quality": face.quality,
    }
    if face.quality_before is not None:
        tree["quality_before"] = face.quality_before
    if face.score is not None:
        tree["score"] = face.score
    if face.landmarks is not None:
        tree["landmarks68"] = short(face.landmarks)
    if face.mesh is not None:
        tree["mesh"] = _file(face.mesh, write_file)
    pictures = {"rendering": face.rendering, "contours": face.contours}
    shown = {name: _file(file, write_file) for name, file in pictures.items() if file is not None}
    if shown:
        tree["pictures"] = shown
    return tree


def _file(file: File, write_file: WriteFile) -> dict[str, Any]:
    described: dict[str, Any] = {"media_type": file.media_type}
    if file.size is not None:
        described["width"], described["height"] = file.size
    else:
        described["format"] = file.format
    return described | write_file(file)


def _base64(file: File) -> dict[str, Any]:
    return {"base64": base64.b64encode(file.content).decode("ascii")}


def write_json(tree: Any) -> bytes:
    """Return compact JSON; a number that isn't finite is an error of ours, never written."""
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def short(values: Float[np.ndarray, "..."]) -> Any:
    """Return nested lists of the shortest decimals that read back as the same float32 numbers."""
    single = np.asarray(values, np.float32)
    if single.ndim > 1:
        return [short(row) for row in single]
    return [float(str(value)) for value in single]
