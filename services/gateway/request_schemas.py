"""What callers send, field by field, with units; the OpenAPI document is made from these."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from services.gateway.jobs import Output
from services.gateway.landmark_input import LANDMARKS_HELP, Landmarks, LandmarksText
from services.gateway.parameter_input import PARAMETER_SCHEMAS, PARAMETERS_HELP
from services.gateway.schemas import FaceChoice, Part, Schema

SMALLEST_PICTURE: Final = 16
LARGEST_PICTURE: Final = 2048
SMALLEST_TEXTURE: Final = 256
LARGEST_TEXTURE: Final = 4096
LONGEST_NAME: Final = 255
MOST_REFINE: Final = 30
MOST_PHOTOS: Final = 1000
"""More than any service allows: a list of more is not read on."""

_MOST_PARTS: Final = 16


def split_commas(values: object) -> object:
    """Read `return=mesh,rendering` and `return=mesh&return=rendering` alike."""
    if not isinstance(values, list):
        return values
    return [name.strip() for value in values for name in str(value).split(",") if name.strip()]


class FaceOptions(BaseModel):
    """Which faces of a photo, and how much effort they are worth."""

    faces: FaceChoice = Field(default="largest", description="The largest face or all of them.")
    minimum_size: float = Field(
        default=0.0,
        ge=0,
        le=10_000,
        allow_inf_nan=False,
        description="Least width of a face in photo pixels; the service's own setting is the least of all.",
    )
    refine: int = Field(
        default=0,
        ge=0,
        le=MOST_REFINE,
        description="Most steps in which each face is refined until its rendering explains the photo, some "
        "0.1 s each. The answer then has `quality_before` beside `quality`.",
    )


class PhotoOptions(FaceOptions):
    """What is wanted of a photo."""

    parts: list[Part] = Field(
        default=[Part.PARAMETERS],
        alias="return",
        max_length=_MOST_PARTS,
        description="What to add, separated by commas. Parameters and landmarks are always there.",
    )
    mesh_format: Literal["glb", "obj", "ply"] = Field(
        default="glb", description="File format of meshes; OBJ comes as a ZIP archive with its material."
    )
    mesh_space: Literal["model", "camera", "photo"] = Field(
        default="model",
        description="Frame of their vertices: looking along +z; turned as in the photo; or in the pixels of "
        "the photo itself, so that they lie over it.",
    )
    mesh_colours: Literal["reflectance", "shaded", "photo"] = Field(
        default="reflectance",
        description="Their colours: bare skin; with the photo's light; or the photo itself as a texture.",
    )
    texture_size: int = Field(
        default=Output.texture_size,
        ge=SMALLEST_TEXTURE,
        le=LARGEST_TEXTURE,
        description="Side of such a texture in texels.",
    )
    size: int = Field(
        default=Output.size,
        ge=SMALLEST_PICTURE,
        le=LARGEST_PICTURE,
        description="Side of renderings in pixels.",
    )


class BatchParameters(PhotoOptions):
    """What is wanted of each of several photos, as the text of a query or of a form's fields."""

    parts: Annotated[list[Part], BeforeValidator(split_commas)] = Field(
        default=[Part.PARAMETERS],
        alias="return",
        max_length=_MOST_PARTS,
        description="What to add, separated by commas. Parameters and landmarks are always there.",
    )
    input: Literal["photo", "crop"] = Field(
        default="photo",
        description="Whether the picture is a photo, or a 240x240 crop of a face as the network sees it.",
    )


class PhotoParameters(BatchParameters):
    """What is wanted of a photo, as the text of a query or of a form's fields."""

    landmarks: LandmarksText = Field(default=None, description=f"JSON. {LANDMARKS_HELP}")


class PhotoSource(Schema):
    """Where a photo is: in the request, or at an address. One of both."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"oneOf": [{"required": ["base64"]}, {"required": ["url"]}]}
    )

    base64: str = Field(
        default="",
        description="The image file's bytes.",
        json_schema_extra={"contentEncoding": "base64"},
    )
    url: str = Field(
        default="",
        max_length=8192,
        description="Its https address; only where the operator allows it (`IFN_URL_INPUT`).",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("send either base64 or url")
        return self


class OnePhoto(Schema):
    """A photo, and what the caller knows of it."""

    photo: PhotoSource
    crop: bool = Field(
        default=False, description="Whether it is a 240x240 crop of a face as the network sees it."
    )
    input: Literal["photo", "crop"] = Field(default="photo", description="The same, as in a query.")
    landmarks: Landmarks = Field(default=None, description=LANDMARKS_HELP)

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if {"crop", "input"} <= self.model_fields_set and self.crop != (self.input == "crop"):
            raise ValueError("crop and input contradict each other: send one of them")
        return self


class PhotoBody(PhotoOptions, OnePhoto):
    """A photo, and what is wanted of it."""

    model_config = ConfigDict(extra="forbid")


class NamedPhoto(OnePhoto):
    """A photo of several."""

    name: str = Field(
        default="", max_length=LONGEST_NAME, description="Comes back with its result; it is never logged."
    )


class BrokenPhoto:
    """Takes the place of a photo that isn't valid, so that the others can be answered.

    Attributes:
        error: What is wrong with it.
    """

    def __init__(self, error: ValidationError) -> None:
        """Keep the error."""
        self.error = error


def _set_apart(value: object, read: ValidatorFunctionWrapHandler) -> object:
    try:
        return read(value)
    except ValidationError as error:
        return BrokenPhoto(error)


class BatchBody(PhotoOptions):
    """Several photos, and what is wanted of each."""

    model_config = ConfigDict(extra="forbid")

    input: Literal["photo", "crop"] = Field(
        default="photo", description="What those photos are that don't say it themselves."
    )
    photos: list[Annotated[NamedPhoto, WrapValidator(_set_apart)]] = Field(
        min_length=1, max_length=MOST_PHOTOS, description="The photos; `IFN_MAX_PHOTOS` limits how many."
    )


Channel = Annotated[int, Field(ge=0, le=255)]


def _plain(value: object, read: ValidatorFunctionWrapHandler) -> object:
    try:
        return read(value)
    except ValidationError as error:
        raise ValueError(
            "must be [red, green, blue], whole numbers from 0 to 255, or 'transparent'"
        ) from error


def _without_photo(value: object) -> object:
    if value == "photo":
        raise ValueError("parameters alone have no photo: send the photo to /v1/reconstructions for this")
    return value


class RenderingBody(Schema):
    """The parameters of a face, and how it is to be shown."""

    parameters: dict[str, Any] = Field(
        description=PARAMETERS_HELP,
        json_schema_extra={
            "properties": PARAMETER_SCHEMAS,
            "additionalProperties": False,
        },
    )
    size: int = Field(
        default=Output.size,
        ge=SMALLEST_PICTURE,
        le=LARGEST_PICTURE,
        description="Side of the picture in pixels.",
    )
    background: Annotated[
        Literal["transparent"] | Annotated[list[Channel], Field(min_length=3, max_length=3)],
        WrapValidator(_plain),
    ] = Field(
        default=[0, 0, 0],
        description="sRGB of what the face doesn't cover, as [red, green, blue]; or `transparent`.",
    )
    geometry: bool = Field(default=False, description="Show the geometry alone, as grey clay.")
    mesh_space: Annotated[Literal["model", "camera"], BeforeValidator(_without_photo)] = Field(
        default="model", description="Frame of a mesh's vertices: looking along +z, or turned by `rotation`."
    )
    mesh_colours: Annotated[Literal["reflectance", "shaded"], BeforeValidator(_without_photo)] = Field(
        default="reflectance", description="A mesh's colours: bare skin, or with `illumination`."
    )
