"""What callers send to have a photo edited, and what they get, field by field; for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from inversefacenet.errors import EditError
from services.gateway.landmark_input import LANDMARKS_HELP, Landmarks, LandmarksText
from services.gateway.parameter_input import PARAMETER_SCHEMAS, PARAMETERS_HELP
from services.gateway.request_schemas import FaceOptions, PhotoSource
from services.gateway.schemas import (
    Box,
    FaceParameters,
    FaceQuality,
    ImageInfo,
    ModelInfo,
    PictureFormat,
    Schema,
)

MOST_EDITS: Final = 64
MOST_OTHERS: Final = 4
LONGEST_OTHER: Final = 64

_EDITS_HELP: Final = (
    "What to change, in this order, at least one; each is an object whose `edit` says which kind it is. The "
    "description of this address lists them."
)
_OTHERS_HELP: Final = (
    f"Faces that edits take something from, by the names that the edits call them; {MOST_OTHERS} at most."
)
_FORMAT_HELP: Final = "File format of the picture in JSON and msgpack."


class OtherFace(Schema):
    """A face that something is taken from: a photo's largest, or parameters. One of both."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"oneOf": [{"required": ["photo"]}, {"required": ["parameters"]}]}
    )

    photo: PhotoSource | None = Field(default=None, description="Its photo; the largest face counts.")
    parameters: dict[str, Any] | None = Field(
        default=None,
        description=PARAMETERS_HELP,
        json_schema_extra={"properties": PARAMETER_SCHEMAS, "additionalProperties": False},
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.photo is None) == (self.parameters is None):
            raise ValueError("send either photo or parameters")
        return self


_Edit = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {"type": "object", "required": ["edit"], "properties": {"edit": {"type": "string"}}},
    ),
]
Edits = Annotated[list[_Edit], Field(max_length=MOST_EDITS)]
Others = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=LONGEST_OTHER)], OtherFace],
    Field(max_length=MOST_OTHERS),
]
Read = TypeVar("Read")


def some_edits(edits: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return the edits of a request.

    Raises:
        EditError: If there is none: they were forgotten, most likely.
    """
    if not edits:
        raise EditError(
            "Nothing is to be changed: 'edits' needs at least one edit, such as "
            '{"edit": "relight", "light": "left"}.'
        )
    return tuple(edits)


def _from_text(value: object, kind: TypeAdapter[Read]) -> Read:
    """Read the JSON text that a query or a form holds."""
    try:
        return kind.validate_json(str(value), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = "".join(f"{part}: " for part in first["loc"])
        raise ValueError(f"must be JSON: {place}{first['msg'].removeprefix('Value error, ')}") from None


def _edits_of(value: object) -> list[dict[str, Any]]:
    return _from_text(value, TypeAdapter(Edits))


def _others_of(value: object) -> dict[str, OtherFace]:
    return _from_text(value, TypeAdapter(Others))


_TEXT: Final = WithJsonSchema({"type": "string", "contentMediaType": "application/json"})


class EditParameters(FaceOptions):
    """What is wanted of a photo that is edited, as the text of a query or of a form's fields."""

    edits: Annotated[Any, BeforeValidator(_edits_of), _TEXT] = Field(
        default=[], description=f"JSON. {_EDITS_HELP}"
    )
    others: Annotated[Any, BeforeValidator(_others_of), _TEXT] = Field(
        default={}, description=f"JSON. {_OTHERS_HELP}"
    )
    picture_format: PictureFormat = Field(default="png", description=_FORMAT_HELP)
    landmarks: LandmarksText = Field(default=None, description=f"JSON. {LANDMARKS_HELP}")


class EditBody(FaceOptions):
    """A photo, and what is to be changed."""

    model_config = ConfigDict(extra="forbid")

    photo: PhotoSource
    edits: Edits = Field(default=[], description=_EDITS_HELP)
    others: Others = Field(default={}, description=_OTHERS_HELP)
    picture_format: PictureFormat = Field(default="png", description=_FORMAT_HELP)
    landmarks: Landmarks = Field(default=None, description=LANDMARKS_HELP)


class EditedPicture(Schema):
    """The whole photo with the edited faces in it, as large as the photo that came."""

    media_type: str = Field(description="image/png or image/jpeg.")
    width: int = Field(description="Pixels.", gt=0)
    height: int = Field(description="Pixels.", gt=0)
    base64: str = Field(description="The file's bytes.", json_schema_extra={"contentEncoding": "base64"})


class EditedFace(Schema):
    """One edited face."""

    box: Box
    score: float | None = Field(
        default=None,
        description="The detector's confidence; larger is surer. Absent where it wasn't asked.",
    )
    parameters: FaceParameters = Field(description="The face as it was edited.")
    reconstructed: FaceParameters = Field(description="The face as it was reconstructed.")
    quality: FaceQuality = Field(
        description="How well the reconstruction explains the photo: an edit is only as good as that."
    )
    quality_before: FaceQuality | None = Field(
        default=None, description="The same before the refinement, if one was asked for."
    )


class EditAnswer(Schema):
    """The edited photo, and the faces that were edited, largest first."""

    id: str = Field(description="Names this answer; every answer has its own.")
    model: ModelInfo
    image: ImageInfo
    faces: list[EditedFace] = Field(min_length=1)
    picture: EditedPicture
    truncated: bool = Field(
        default=False,
        description="The photo shows more faces than the service's limit: the smallest are left as they are.",
    )
    timings_ms: dict[str, float] = Field(description="Milliseconds by stage.")


class ExpressionUnit(Schema):
    """A unit of expression."""

    name: str = Field(description="What edits call it.")
    description: str = Field(description="What it does, in words.")
    minimum: float = Field(description="Least useful weight.")
    maximum: float = Field(description="Full action.")


class EditOptions(Schema):
    """What edits may name."""

    lights: list[str] = Field(description="The named lights.")
    units: list[ExpressionUnit] = Field(description="The units of expression of the face model.")
