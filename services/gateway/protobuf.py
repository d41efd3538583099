"""Writes answers as the messages of `proto/inversefacenet/v1`; runs in the workers, without gRPC."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Float

from inversefacenet.parameters import GROUPS, Parameters
from inversefacenet.v1 import model_pb2, output_pb2, parameters_pb2, reconstruction_pb2, rendering_pb2
from services.gateway.answers import FaceResult, File, PhotoAnswer
from services.gateway.jobs import Form, Output
from services.gateway.schemas import ModelInfo

MEDIA_TYPE: Final = "application/protobuf"

_FORMATS: Final[Mapping[str, output_pb2.MeshFormat.ValueType]] = MappingProxyType(
    {
        "glb": output_pb2.MESH_FORMAT_GLB,
        "obj": output_pb2.MESH_FORMAT_OBJ,
        "ply": output_pb2.MESH_FORMAT_PLY,
    }
)

_VERDICTS: Final[Mapping[str, reconstruction_pb2.Verdict.ValueType]] = MappingProxyType(
    {
        "good": reconstruction_pb2.VERDICT_GOOD,
        "doubtful": reconstruction_pb2.VERDICT_DOUBTFUL,
        "failed": reconstruction_pb2.VERDICT_FAILED,
    }
)


def encode_protobuf(answer: PhotoAnswer) -> bytes:
    """Return an answer as a serialized `ReconstructResponse`."""
    message = reconstruction_pb2.ReconstructResponse(
        id=answer.id,
        model=model_message(answer.model),
        image=reconstruction_pb2.ImageInfo(width=answer.size[0], height=answer.size[1]),
        faces=[face_message(face) for face in answer.faces],
        overlay=picture_message(answer.overlay),
        truncated=answer.truncated,
        timings_ms=answer.timings_ms,
    )
    return message.SerializeToString()


def encode_rendering(content: bytes, media_type: str, output: Output, model: ModelInfo) -> bytes:
    """Return a picture or mesh file as a serialized `RenderResponse`.

    Args:
        content: The file.
        media_type: Its media type.
        output: What was asked for; its form says which of both it is.
        model: Whose face model drew it.
    """
    message = rendering_pb2.RenderResponse(id=uuid.uuid4().hex, model=model_message(model))
    if output.form is Form.MESH:
        message.mesh.CopyFrom(_mesh(File("face", content, media_type, output.mesh_format)))
    else:
        size = output.size
        message.picture.media_type = media_type
        message.picture.width, message.picture.height = size, size
        message.picture.content = content
    return message.SerializeToString()


def model_message(model: ModelInfo) -> model_pb2.Model:
    """Return what is known of a network as a message."""
    face_model = model_pb2.FaceModel(name=model.face_model.name, digest=model.face_model.digest)
    return model_pb2.Model(
        name=model.name,
        version=model.version,
        digest=model.digest,
        backend=model.backend,
        face_model=face_model,
        confidence_calibrated=model.confidence_calibrated,
    )


def face_message(face: FaceResult) -> reconstruction_pb2.Face:
    """Return a face as a message."""
    return reconstruction_pb2.Face(
        box=box_message(face.box),
        score=face.score,
        parameters=parameters_message(face.parameters),
        placement=reconstruction_pb2.PhotoPlacement(
            camera_distance=face.camera_distance,
            scale=face.scale,
            offset=_point(face.offset),
            crop_scale=face.crop_scale,
            crop_offset=_point(face.crop_offset),
        ),
        quality=quality_message(face.quality),
        quality_before=None if face.quality_before is None else quality_message(face.quality_before),
        landmarks68=None if face.landmarks is None else _flat(face.landmarks),
        mesh=None if face.mesh is None else _mesh(face.mesh),
        rendering=picture_message(face.rendering),
        contours=picture_message(face.contours),
    )


def box_message(box: tuple[float, float, float, float]) -> reconstruction_pb2.Box:
    """Return a box in photo pixels as a message."""
    left, top, right, bottom = box
    return reconstruction_pb2.Box(left=left, top=top, right=right, bottom=bottom)


def parameters_message(parameters: Parameters) -> parameters_pb2.FaceParameters:
    """Return the 350 numbers as a message."""
    return parameters_pb2.FaceParameters(**{name: _flat(getattr(parameters, name)) for name in GROUPS})


def quality_message(block: Mapping[str, float | str]) -> reconstruction_pb2.FaceQuality:
    """Return the measures of a face as a message."""
    values = dict(block)
    verdict = values.pop("verdict", None)
    message = reconstruction_pb2.FaceQuality(**values)  # type: ignore[arg-type]
    if verdict is not None:
        message.verdict = _VERDICTS[str(verdict)]
    return message


def _flat(values: Float[np.ndarray, "..."]) -> list[float]:
    numbers: list[float] = np.asarray(values, np.float32).ravel().tolist()
    return numbers


def _point(point: tuple[float, float]) -> reconstruction_pb2.Point:
    return reconstruction_pb2.Point(x=point[0], y=point[1])


def _mesh(file: File) -> output_pb2.Mesh:
    return output_pb2.Mesh(format=_FORMATS[file.format], media_type=file.media_type, content=file.content)


def picture_message(file: File | None) -> output_pb2.Picture | None:
    """Return a picture as a message; None where there is none."""
    if file is None or file.size is None:
        return None
    width, height = file.size
    return output_pb2.Picture(media_type=file.media_type, width=width, height=height, content=file.content)
