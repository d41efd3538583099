"""What is handed to a worker and what comes back: plain data that can cross a pipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32

from services.gateway.schemas import FaceChoice, Part, PictureFormat

if TYPE_CHECKING:
    from inversefacenet.export import MeshColours, MeshFormat, MeshSpace
    from inversefacenet.parameters import Parameters


class Form(StrEnum):
    """How the worker is to write the answer."""

    JSON = "json"
    MSGPACK = "msgpack"
    MULTIPART = "multipart"
    PROTOBUF = "protobuf"
    MESH = "mesh"
    PICTURE = "picture"


@dataclass(frozen=True)
class Output:
    """What the caller wants to have.

    Attributes:
        parts: What an answer holds beside the parameters.
        form: How it is written. `MESH` and `PICTURE` are the one file alone, of the largest face.
        mesh_format: File format of meshes.
        mesh_space: Frame of their vertices.
        mesh_colours: Reflectance, shaded as in the photo, or the photo as a texture.
        size: Side of renderings in pixels.
        texture_size: Side of the photo's texture in texels.
        picture_format: File format of an edited photo.
    """

    parts: frozenset[Part] = frozenset()
    form: Form = Form.JSON
    mesh_format: MeshFormat = "glb"
    mesh_space: MeshSpace = "model"
    mesh_colours: MeshColours = "reflectance"
    size: int = 480
    texture_size: int = 1024
    picture_format: PictureFormat = "png"

    @property
    def needs_photo(self) -> bool:
        """Whether the photo's pixels are wanted once more after its faces are known."""
        photo = "photo" in (self.mesh_space, self.mesh_colours)
        return Part.OVERLAY in self.parts or (photo and Part.MESH in self.parts)


@dataclass(frozen=True)
class PhotoJob:
    """A photo to reconstruct.

    Attributes:
        content: The image file's bytes.
        output: What is wanted.
        request_id: For the worker's log lines.
        base64: `content` is base64 text of the file.
        crop: The picture is a 240x240 crop already.
        faces: The largest face or all of them.
        minimum_size: Least width of a face in photo pixels; None leaves it to the service.
        landmarks: The 68 points of each face, if the caller knows them: nothing is detected then.
        max_bytes: Limit of the file.
        max_pixels: Limit of the photo.
        max_faces: Limit of `faces="all"`.
        refine: Most steps in which each face is refined; 0 leaves it as the network answers.
    """

    content: bytes
    output: Output = Output()
    request_id: str = ""
    base64: bool = False
    crop: bool = False
    faces: FaceChoice = "largest"
    minimum_size: float | None = None
    landmarks: tuple[Float32[np.ndarray, "68 2"], ...] | None = None
    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 64_000_000
    max_faces: int = 32
    refine: int = 0


@dataclass(frozen=True)
class EditJob:
    """A photo to edit.

    Attributes:
        photo: The photo, and how its answer is to be written.
        edits: What is to be changed, as plain data (`inversefacenet.editing.parse_edits`).
        others: Faces that edits take something from, by name: parameters, or photos with the largest face.
    """

    photo: PhotoJob
    edits: tuple[dict[str, Any], ...]
    others: Mapping[str, PhotoJob | Parameters] = field(default_factory=dict)

    @property
    def request_id(self) -> str:
        """For the worker's log lines."""
        return self.photo.request_id


@dataclass(frozen=True)
class RenderJob:
    """Parameters to turn into a picture or a mesh.

    Attributes:
        parameters: The face.
        output: What is wanted: form `MESH`, `PICTURE` or `PROTOBUF`.
        request_id: For the worker's log lines.
        geometry: Show the geometry alone, in plain grey.
        background: sRGB of what the face doesn't cover; None leaves it transparent.
    """

    parameters: Parameters
    output: Output
    request_id: str = ""
    geometry: bool = False
    background: tuple[int, int, int] | None = (0, 0, 0)


Job = PhotoJob | EditJob | RenderJob
StageTime = tuple[str, float, float]
"""Name, begin in seconds since the epoch, seconds."""


@dataclass
class FaceMeasure:
    """What the quality metrics want to know of a face."""

    photometric: float
    iou: float
    landmark: float
    confidence: float = math.nan


@dataclass
class Answered:
    """A finished answer.

    Attributes:
        content: The body.
        media_type: Its media type.
        faces: How many faces were reconstructed.
        stages: What was done and how long it took.
        measures: One for each face.
    """

    content: bytes
    media_type: str
    faces: int = 0
    stages: list[StageTime] = field(default_factory=list)
    measures: list[FaceMeasure] = field(default_factory=list)


@dataclass
class Prepared:
    """A photo that waits in its worker for the network's answer.

    Attributes:
        ticket: Names it there.
        crops: What the network is to see.
        stages: What was done so far.
    """

    ticket: str
    crops: np.ndarray
    stages: list[StageTime]


Isolation = Literal["processes", "threads"]
