"""Reads the messages of `proto/inversefacenet/v1` into jobs, and says which field is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message
from jaxtyping import Float32

from inversefacenet.errors import InputError, ParameterError
from inversefacenet.parameters import PARAMETER_COUNT, Parameters
from inversefacenet.v1 import editing_pb2, output_pb2, parameters_pb2, reconstruction_pb2, rendering_pb2
from services.gateway.jobs import Form, Output, PhotoJob, RenderJob
from services.gateway.request_schemas import (
    LARGEST_PICTURE,
    LARGEST_TEXTURE,
    MOST_REFINE,
    SMALLEST_PICTURE,
    SMALLEST_TEXTURE,
)
from services.gateway.schemas import Part
from services.gateway.settings import Settings

if TYPE_CHECKING:
    from inversefacenet.export import MeshColours, MeshFormat, MeshSpace

MAX_STREAM_ID: Final = 128
_LANDMARK_NUMBERS: Final = 2 * 68
LARGEST_MINIMUM: Final = 10_000.0

AnyMessage = TypeVar("AnyMessage", bound=Message)
_FacesRequest = reconstruction_pb2.ReconstructRequest | editing_pb2.EditRequest
Named = TypeVar("Named", bound=str)

_PARTS: Final[Mapping[int, Part]] = MappingProxyType(
    {
        output_pb2.PART_PARAMETERS: Part.PARAMETERS,
        output_pb2.PART_LANDMARKS: Part.LANDMARKS,
        output_pb2.PART_MESH: Part.MESH,
        output_pb2.PART_RENDERING: Part.RENDERING,
        output_pb2.PART_OVERLAY: Part.OVERLAY,
        output_pb2.PART_CONTOURS: Part.CONTOURS,
    }
)
_FACES: Final[Mapping[int, Literal["largest", "all"]]] = MappingProxyType(
    {
        reconstruction_pb2.FACE_CHOICE_UNSPECIFIED: "largest",
        reconstruction_pb2.FACE_CHOICE_LARGEST: "largest",
        reconstruction_pb2.FACE_CHOICE_ALL: "all",
    }
)
_MESH_FORMATS: Final[Mapping[int, MeshFormat]] = MappingProxyType(
    {
        output_pb2.MESH_FORMAT_UNSPECIFIED: "glb",
        output_pb2.MESH_FORMAT_GLB: "glb",
        output_pb2.MESH_FORMAT_OBJ: "obj",
        output_pb2.MESH_FORMAT_PLY: "ply",
    }
)
_MESH_SPACES: Final[Mapping[int, MeshSpace]] = MappingProxyType(
    {
        output_pb2.MESH_SPACE_UNSPECIFIED: "model",
        output_pb2.MESH_SPACE_MODEL: "model",
        output_pb2.MESH_SPACE_CAMERA: "camera",
        output_pb2.MESH_SPACE_PHOTO: "photo",
    }
)
_MESH_COLOURS: Final[Mapping[int, MeshColours]] = MappingProxyType(
    {
        output_pb2.MESH_COLOURS_UNSPECIFIED: "reflectance",
        output_pb2.MESH_COLOURS_REFLECTANCE: "reflectance",
        output_pb2.MESH_COLOURS_SHADED: "shaded",
        output_pb2.MESH_COLOURS_PHOTO: "photo",
    }
)
_RENDER_FORMS: Final[Mapping[int, Form]] = MappingProxyType(
    {
        rendering_pb2.RENDER_OUTPUT_UNSPECIFIED: Form.PICTURE,
        rendering_pb2.RENDER_OUTPUT_PICTURE: Form.PICTURE,
        rendering_pb2.RENDER_OUTPUT_MESH: Form.MESH,
    }
)


class FieldError(InputError):
    """A field of a message has a value that can't be used.

    Attributes:
        field: Where it stands, e.g. `landmarks[0].points`.
        problem: What is wrong with it.
    """

    slug = "invalid-request"
    http_status = 422

    def __init__(self, field: str, problem: str) -> None:
        """Keep both beside the message."""
        super().__init__(f"The request is not valid: {field}: {problem}.")
        self.field = field
        self.problem = problem


def parse(kind: Callable[[], AnyMessage], content: bytes) -> AnyMessage:
    """Read a message.

    Args:
        kind: The message's class.
        content: Its bytes.

    Raises:
        InputError: If these are no such bytes.
    """
    message = kind()
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise InputError(f"The message can't be read as {message.DESCRIPTOR.full_name}.") from error
    return message


def photo_job(
    request: reconstruction_pb2.ReconstructRequest, content: bytes, settings: Settings, request_id: str
) -> PhotoJob:
    """Return what a worker is to do with a photo.

    Args:
        request: The message.
        content: The photo's file, wherever it came from.
        settings: The operator's limits.
        request_id: For the worker's log lines.

    Raises:
        FieldError: If a field's value can't be used.
    """
    parts = [_named(_PARTS, part, f"parts[{n}]") for n, part in enumerate(request.parts) if part]
    output = _output(request.mesh, _size(request), Form.PROTOBUF, frozenset(parts))
    return replace(plain_job(request, content, output, settings, request_id), crop=request.crop)


def plain_job(
    request: _FacesRequest,
    content: bytes,
    output: Output,
    settings: Settings,
    request_id: str,
) -> PhotoJob:
    """Return a photo with what is said of its faces, and the operator's limits; see `photo_job`."""
    return PhotoJob(
        content=content,
        output=output,
        request_id=request_id,
        faces=_named(_FACES, request.faces, "faces"),
        minimum_size=_minimum_size(request, settings.minimum_face),
        landmarks=_landmarks(request),
        max_bytes=settings.max_body_bytes,
        max_pixels=settings.max_pixels,
        max_faces=settings.max_faces,
        refine=_refine(request),
    )


def render_job(request: rendering_pb2.RenderRequest, request_id: str) -> RenderJob:
    """Return what a worker is to draw.

    Raises:
        FieldError: If a field's value can't be used.
        ParameterError: If the parameters can't.
    """
    output = _output(request.mesh, _size(request), _named(_RENDER_FORMS, request.output, "output"))
    for field, value in (("mesh.space", output.mesh_space), ("mesh.colours", output.mesh_colours)):
        if value == "photo":
            raise FieldError(field, "parameters alone have no photo: send the photo to Reconstruct for this")
    return RenderJob(
        parameters=_parameters(request),
        output=output,
        request_id=request_id,
        geometry=request.geometry,
        background=None if request.transparent else _colour(request.background),
    )


def _named(names: Mapping[int, Named], value: int, field: str) -> Named:
    """Return what an enum's number means; newer clients may know numbers that are unknown here."""
    if value not in names:
        raise FieldError(field, f"there is no value {value}")
    return names[value]


def _output(
    mesh: output_pb2.MeshOptions, size: int, form: Form, parts: frozenset[Part] = frozenset()
) -> Output:
    return Output(
        parts=parts,
        form=form,
        mesh_format=_named(_MESH_FORMATS, mesh.format, "mesh.format"),
        mesh_space=_named(_MESH_SPACES, mesh.space, "mesh.space"),
        mesh_colours=_named(_MESH_COLOURS, mesh.colours, "mesh.colours"),
        size=size,
        texture_size=_texture_size(mesh),
    )


def _texture_size(mesh: output_pb2.MeshOptions) -> int:
    if not mesh.HasField("texture_size"):
        return Output().texture_size
    if not SMALLEST_TEXTURE <= mesh.texture_size <= LARGEST_TEXTURE:
        limits = f"{SMALLEST_TEXTURE} to {LARGEST_TEXTURE}"
        raise FieldError("mesh.texture_size", f"a texture has {limits} texels on a side")
    return mesh.texture_size


def _size(request: reconstruction_pb2.ReconstructRequest | rendering_pb2.RenderRequest) -> int:
    if not request.HasField("picture_size"):
        return Output().size
    if not SMALLEST_PICTURE <= request.picture_size <= LARGEST_PICTURE:
        limits = f"{SMALLEST_PICTURE} to {LARGEST_PICTURE}"
        raise FieldError("picture_size", f"a picture has {limits} pixels on a side")
    return request.picture_size


def _minimum_size(request: _FacesRequest, least: float) -> float | None:
    # Also refuses NaN.
    if not 0 <= request.minimum_size <= LARGEST_MINIMUM:
        raise FieldError("minimum_size", f"must be 0 to {LARGEST_MINIMUM:g} pixels")
    return max(request.minimum_size, least) if request.minimum_size else None


def _refine(request: _FacesRequest) -> int:
    if request.refine_iterations > MOST_REFINE:
        raise FieldError("refine_iterations", f"must be 0 to {MOST_REFINE}")
    return request.refine_iterations


def _landmarks(request: _FacesRequest) -> tuple[Float32[np.ndarray, "68 2"], ...] | None:
    if not request.landmarks:
        return None
    faces = []
    for number, face in enumerate(request.landmarks):
        points = np.array(face.points, np.float32)
        field = f"landmarks[{number}].points"
        if len(points) != _LANDMARK_NUMBERS:
            raise FieldError(field, f"must hold {_LANDMARK_NUMBERS} numbers, x and y of 68 points")
        if not np.isfinite(points).all():
            raise FieldError(field, "holds a number that is not finite")
        faces.append(points.reshape(68, 2))
    return tuple(faces)


def _parameters(request: rendering_pb2.RenderRequest) -> Parameters:
    if request.WhichOneof("face") == "vector":
        if len(request.vector.values) != PARAMETER_COUNT:
            raise ParameterError(
                f"A parameter vector has {PARAMETER_COUNT} numbers, but this one has "
                f"{len(request.vector.values)}."
            )
        return Parameters.from_vector(np.array(request.vector.values, np.float32))
    return groups_of(request.parameters)


def groups_of(message: parameters_pb2.FaceParameters) -> Parameters:
    """Read parameters by name; a group that is left out is neutral.

    Raises:
        ParameterError: If a group has a wrong length, or numbers that aren't finite.
    """
    neutral = Parameters.neutral()
    groups: dict[str, Float32[np.ndarray, "..."]] = {}
    for field, values in message.ListFields():
        usual = getattr(neutral, field.name)
        if len(values) != usual.size:
            raise ParameterError(
                f"'{field.name}' must have {usual.size} numbers, but came with {len(values)}."
            )
        groups[field.name] = np.array(values, np.float32).reshape(usual.shape)
    return Parameters.from_dict(groups)


def _colour(colour: output_pb2.Colour) -> tuple[int, int, int]:
    channels = (colour.red, colour.green, colour.blue)
    if max(channels) > 255:
        raise FieldError("background", "red, green and blue go from 0 to 255")
    return channels


def check_stream_id(text: str) -> str:
    """Return the id of a photo in a stream.

    Raises:
        FieldError: If it is too long to be sent back.
    """
    if len(text) > MAX_STREAM_ID:
        raise FieldError("id", f"must have at most {MAX_STREAM_ID} characters")
    return text
