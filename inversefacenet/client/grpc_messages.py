"""Jobs as messages of `proto/inversefacenet/v1`; answers read back. No connection is needed.

Importing this needs protobuf; `grpc_connection` does so when a connection is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from inversefacenet.client.errors import UnexpectedAnswerError
from inversefacenet.client.requests import MeshOptions, PhotoJob, RenderJob
from inversefacenet.client.results import (
    FaceModel,
    FaceQuality,
    File,
    Model,
    Placement,
    ReconstructedFace,
    ReconstructionResult,
)
from inversefacenet.errors import InverseFaceNetError
from inversefacenet.parameters import GROUPS, PARAMETER_COUNT, Parameters
from inversefacenet.v1 import model_pb2, output_pb2, parameters_pb2, reconstruction_pb2, rendering_pb2
from inversefacenet.verdicts import Verdict

_VERDICTS: Final[Mapping[int, Verdict]] = MappingProxyType(
    {
        reconstruction_pb2.VERDICT_GOOD: "good",
        reconstruction_pb2.VERDICT_DOUBTFUL: "doubtful",
        reconstruction_pb2.VERDICT_FAILED: "failed",
    }
)


def reconstruct_request(job: PhotoJob) -> reconstruction_pb2.ReconstructRequest:
    """Return a photo and what is asked of it as a message."""
    message = reconstruction_pb2.ReconstructRequest(
        crop=job.crop,
        landmarks=[
            reconstruction_pb2.Landmarks68(points=points.ravel().tolist()) for points in job.landmarks
        ],
        parts=[output_pb2.Part.Value(f"PART_{name.upper()}") for name in job.parts],
        mesh=_mesh_options(job.mesh),
    )
    if job.url is None:
        message.content = job.content
    else:
        message.url = job.url
    if job.faces is not None:
        message.faces = reconstruction_pb2.FaceChoice.Value(f"FACE_CHOICE_{job.faces.upper()}")
    if job.minimum_size is not None:
        message.minimum_size = job.minimum_size
    if job.size is not None:
        message.picture_size = job.size
    if job.refine is not None:
        message.refine_iterations = job.refine
    return message


def render_request(job: RenderJob) -> rendering_pb2.RenderRequest:
    """Return a face to draw as a message."""
    message = rendering_pb2.RenderRequest(
        parameters=parameters_message(job.parameters),
        output=rendering_pb2.RENDER_OUTPUT_PICTURE if job.mesh is None else rendering_pb2.RENDER_OUTPUT_MESH,
        mesh=_mesh_options(job.mesh or MeshOptions()),
        transparent=job.background is None,
        geometry=job.geometry,
    )
    if job.background is not None:
        red, green, blue = job.background
        message.background.CopyFrom(output_pb2.Colour(red=red, green=green, blue=blue))
    if job.size is not None:
        message.picture_size = job.size
    return message


def _mesh_options(mesh: MeshOptions) -> output_pb2.MeshOptions:
    message = output_pb2.MeshOptions()
    if mesh.format is not None:
        message.format = output_pb2.MeshFormat.Value(f"MESH_FORMAT_{mesh.format.upper()}")
    if mesh.space is not None:
        message.space = output_pb2.MeshSpace.Value(f"MESH_SPACE_{mesh.space.upper()}")
    if mesh.colours is not None:
        message.colours = output_pb2.MeshColours.Value(f"MESH_COLOURS_{mesh.colours.upper()}")
    if mesh.texture_size is not None:
        message.texture_size = mesh.texture_size
    return message


def reconstruction_of(
    message: reconstruction_pb2.ReconstructResponse, request_id: str = ""
) -> ReconstructionResult:
    """Read the faces of a photo.

    Raises:
        UnexpectedAnswerError: If there are none, or one isn't complete.
    """
    try:
        faces = tuple(face_of(face) for face in message.faces)
    except (InverseFaceNetError, ValueError) as error:
        raise UnexpectedAnswerError(f"The server's answer can't be read: {error}") from error
    if not faces:
        raise UnexpectedAnswerError("The server's answer holds no face.")
    return ReconstructionResult(
        id=message.id,
        model=model_of(message.model),
        width=message.image.width,
        height=message.image.height,
        faces=faces,
        truncated=message.truncated,
        overlay=_file(message, "overlay"),
        timings_ms=dict(message.timings_ms),
        request_id=request_id,
    )


def face_of(face: reconstruction_pb2.Face) -> ReconstructedFace:
    """Read a face.

    Raises:
        InverseFaceNetError: If it isn't complete.
        ValueError: If its landmarks aren't.
    """
    placement = face.placement
    landmarks = np.array(face.landmarks68, np.float32).reshape(68, 2) if face.landmarks68 else None
    return ReconstructedFace(
        box=(face.box.left, face.box.top, face.box.right, face.box.bottom),
        score=face.score if face.HasField("score") else None,
        parameters=parameters_of(face.parameters),
        placement=Placement(
            camera_distance=placement.camera_distance,
            scale=placement.scale,
            offset=(placement.offset.x, placement.offset.y),
            crop_scale=placement.crop_scale,
            crop_offset=(placement.crop_offset.x, placement.crop_offset.y),
        ),
        quality=quality_of(face.quality),
        quality_before=quality_of(face.quality_before) if face.HasField("quality_before") else None,
        landmarks=landmarks,
        mesh=_file(face, "mesh"),
        rendering=_file(face, "rendering"),
        contours=_file(face, "contours"),
    )


def parameters_of(message: parameters_pb2.FaceParameters) -> Parameters:
    """Read the 350 numbers of a face.

    Raises:
        UnexpectedAnswerError: If there are more or less.
    """
    theta = np.array([number for name in GROUPS for number in getattr(message, name)], np.float32)
    if len(theta) != PARAMETER_COUNT:
        raise UnexpectedAnswerError(f"The server's answer holds {len(theta)} parameters of a face.")
    return Parameters.from_vector(theta)


def parameters_message(parameters: Parameters) -> parameters_pb2.FaceParameters:
    """Return the 350 numbers of a face as a message."""
    groups = {name: getattr(parameters, name).ravel().tolist() for name in GROUPS}
    return parameters_pb2.FaceParameters(**groups)


def quality_of(quality: reconstruction_pb2.FaceQuality) -> FaceQuality:
    """Read the measures of a face."""
    return FaceQuality(
        photometric=quality.photometric,
        photometric_visible=quality.photometric_visible,
        iou=quality.iou,
        iou_hull=quality.iou_hull,
        landmark=quality.landmark if quality.HasField("landmark") else None,
        nme=quality.nme if quality.HasField("nme") else None,
        confidence=quality.confidence if quality.HasField("confidence") else None,
        verdict=_VERDICTS.get(quality.verdict),
    )


def _file(message: Message, field: str) -> File | None:
    if not message.HasField(field):
        return None
    file = getattr(message, field)
    return File(file.content, file.media_type)


def model_of(message: model_pb2.Model) -> Model:
    """Read what is known of a network."""
    return Model(
        name=message.name,
        version=message.version,
        digest=message.digest,
        backend=message.backend,
        face_model=FaceModel(message.face_model.name, message.face_model.digest),
        confidence_calibrated=message.confidence_calibrated,
    )


def rendering_of(message: rendering_pb2.RenderResponse) -> bytes:
    """Return a drawn face's file.

    Raises:
        UnexpectedAnswerError: If there is none.
    """
    result = message.WhichOneof("result")
    if result is None:
        raise UnexpectedAnswerError("The server's answer holds no picture.")
    content: bytes = getattr(message, result).content
    return content


def serving(message: health_pb2.HealthCheckResponse) -> bool:
    """Return whether a server says that it answers."""
    return message.status == health_pb2.HealthCheckResponse.SERVING
