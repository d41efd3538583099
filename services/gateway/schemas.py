"""What the service answers, field by field, with units; the OpenAPI document is made from these."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from inversefacenet.verdicts import FAILED_BELOW, GOOD_FROM

Vector3 = Annotated[list[float], Field(min_length=3, max_length=3)]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Shape = Annotated[list[float], Field(min_length=128, max_length=128)]
Expression = Annotated[list[float], Field(min_length=64, max_length=64)]
Light = Annotated[list[Vector3], Field(min_length=9, max_length=9)]
Landmarks68 = Annotated[list[Point], Field(min_length=68, max_length=68)]

FaceChoice = Literal["largest", "all"]
PictureFormat = Literal["png", "jpeg"]
Verdict = Literal["good", "doubtful", "failed"]

VERDICTS = (
    f"The confidence in a word: good from {GOOD_FROM}, failed below {FAILED_BELOW}, doubtful between them."
)


class Part(StrEnum):
    """What an answer may hold; parameters and landmarks are always in it, asked for or not."""

    PARAMETERS = "parameters"
    LANDMARKS = "landmarks"
    MESH = "mesh"
    RENDERING = "rendering"
    OVERLAY = "overlay"
    CONTOURS = "contours"


class Schema(BaseModel):
    """Base of all messages: no member that isn't declared."""

    model_config = ConfigDict(extra="forbid")


class FaceModelInfo(Schema):
    """The face model that gives the parameters their meaning."""

    name: str
    digest: str = Field(description="SHA-256 of its file.")


class ModelInfo(Schema):
    """Which network and which face model answered."""

    name: str = Field(description="The network's name in the model repository.")
    version: str = Field(description="Its version there; empty for a file from elsewhere.")
    digest: str = Field(description="SHA-256 of the network's ONNX file.")
    backend: str = Field(description="What runs it: onnxruntime or triton.")
    face_model: FaceModelInfo
    confidence_calibrated: bool = Field(
        default=False,
        description="The confidence in answers was calibrated for this network and this face model. With "
        "others it still tells better answers from worse, but is no probability.",
    )


class ModelList(Schema):
    """The networks that answer here."""

    models: list[ModelInfo]


class ImageInfo(Schema):
    """The photo after its EXIF rotation; all photo coordinates belong to this frame."""

    width: int = Field(description="Pixels.", gt=0)
    height: int = Field(description="Pixels.", gt=0)


class Box(Schema):
    """The detector's box in continuous photo pixels, x right and y down; it may reach past the photo."""

    left: float
    top: float
    right: float
    bottom: float


class FaceParameters(Schema):
    """The 350 parameters by name."""

    rotation: Vector3 = Field(
        description="Yaw, pitch, roll in radians; positive: to the image's right, down, counter-clockwise."
    )
    shape: Shape = Field(description="Identity, in standard deviations.")
    expression: Expression = Field(description="Expression, in standard deviations.")
    reflectance: Shape = Field(description="Skin reflectance, in standard deviations.")
    illumination: Light = Field(
        description="Irradiance: RGB coefficients of nine spherical-harmonics basis functions."
    )


class PhotoPlacement(Schema):
    """Where the face lies in the photo.

    A vertex (x, y, z), rotated, in millimetres, projects to x / (d - z), -y / (d - z) with d the
    camera's distance; `scale` and `offset` take that to photo pixels.
    """

    camera_distance: float = Field(description="Millimetres from the pinhole to the model's origin.")
    scale: float = Field(description="Photo pixels per unit of the image plane.")
    offset: Point = Field(description="Photo pixel of the optical axis.")
    crop_scale: float = Field(description="Pixels of the 240x240 crop per photo pixel.")
    crop_offset: Point = Field(description="crop = crop_scale * photo + crop_offset, in crop pixels.")


class FaceQuality(Schema):
    """How well the reconstruction explains the photo: look at it before trusting the answer."""

    photometric: float = Field(
        description="RMSE in 8-bit sRGB steps over the face mask; uncovered pixels count as black."
    )
    photometric_visible: float = Field(description="The same over the pixels that the mesh covers.")
    iou: float = Field(description="Intersection over union of the photo's face mask and the model's.")
    iou_hull: float = Field(description="The same of the two landmark polygons.")
    landmark: float | None = Field(
        default=None, description="Mean distance of the 66 landmarks in crop pixels, where they are known."
    )
    nme: float | None = Field(
        default=None, description="`landmark` over the distance of the outer eye corners."
    )
    confidence: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Probability that the reconstruction is usable. Absent for a crop without landmarks.",
    )
    verdict: Verdict | None = Field(default=None, description=VERDICTS)


class Mesh(Schema):
    """A mesh file; OBJ comes as a ZIP archive with its material."""

    format: Literal["glb", "obj", "ply"]
    media_type: str
    base64: str = Field(description="The file's bytes.", json_schema_extra={"contentEncoding": "base64"})


class Picture(Schema):
    """A picture file."""

    media_type: Literal["image/png"] = "image/png"
    width: int = Field(description="Pixels.", gt=0)
    height: int = Field(description="Pixels.", gt=0)
    base64: str = Field(description="The file's bytes.", json_schema_extra={"contentEncoding": "base64"})


class FacePictures(Schema):
    """The pictures of one face that were asked for."""

    rendering: Picture | None = Field(default=None, description="The rendered face, placed as in the crop.")
    contours: Picture | None = Field(
        default=None,
        description="The crop with the outline of the face mask in red and of the model in green.",
    )


class FaceAnswer(Schema):
    """One reconstructed face."""

    box: Box
    score: float | None = Field(
        default=None,
        description="The detector's confidence; larger is surer. Absent where it wasn't asked.",
    )
    parameters: FaceParameters
    placement: PhotoPlacement
    quality: FaceQuality
    quality_before: FaceQuality | None = Field(
        default=None,
        description="The same before the refinement, of the network's own answer; if one was asked for. Both "
        "have its confidence, which a refinement doesn't change.",
    )
    landmarks68: Landmarks68 | None = Field(
        default=None,
        description="The landmarks in iBUG order, in photo pixels. Absent for a crop that came without.",
    )
    mesh: Mesh | None = Field(
        default=None,
        description="The mesh, if asked for: GLB in metres with linear colours, OBJ and PLY in millimetres "
        "with sRGB colours.",
    )
    pictures: FacePictures | None = Field(default=None, description="The pictures; if asked for.")


class ReconstructionAnswer(Schema):
    """The faces of a photo, largest first."""

    id: str = Field(description="Names this reconstruction; every answer has its own.")
    model: ModelInfo
    image: ImageInfo
    faces: list[FaceAnswer] = Field(min_length=1)
    truncated: bool = Field(
        default=False,
        description="The photo shows more faces than the service's limit: the smallest are left out.",
    )
    overlay: Picture | None = Field(
        default=None, description="These faces rendered and laid over the whole photo; if asked for."
    )
    timings_ms: dict[str, float] = Field(description="Milliseconds by stage.")


class FieldProblem(Schema):
    """What is wrong with one field of a request."""

    field: str = Field(description="Where it stands, e.g. `query.faces`.")
    message: str = Field(description="What is wrong with it.")


class Problem(Schema):
    """An error (RFC 9457)."""

    type: str = Field(description="URI of the kind of problem; ends in `code`.")
    title: str = Field(description="The kind of problem in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong this time, and what to do about it.")
    code: str = Field(description="A stable name of the kind of problem.")
    request_id: str = Field(description="The request's id, as in the X-Request-ID header and the log.")
    errors: list[FieldProblem] | None = Field(default=None, description="The fields that are wrong.")
    retry_after: int | None = Field(
        default=None,
        gt=0,
        description="Seconds after which it is worth trying again, as in the header Retry-After.",
    )


class BatchResult(Schema):
    """What became of one photo of several: its reconstruction, or a problem."""

    index: int = Field(ge=0, description="Its place in the request.")
    name: str | None = Field(default=None, description="What the request calls it, if it does.")
    status: int = Field(description="The HTTP status that it would have got alone.")
    reconstruction: ReconstructionAnswer | None = Field(default=None, description="If `status` is 200.")
    problem: Problem | None = Field(default=None, description="If it is not.")


class BatchAnswer(Schema):
    """What became of each photo, in the order of the request."""

    results: list[BatchResult] = Field(min_length=1)


class Live(Schema):
    """The process answers."""

    live: Literal[True] = True


class Ready(Schema):
    """The network answers."""

    ready: Literal[True] = True


class ServerInfo(Schema):
    """What this server is (KServe v2's server metadata)."""

    name: str
    version: str
    extensions: list[str]
