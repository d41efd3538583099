"""`POST /v1/reconstructions`: a photo in, its faces out."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BeforeValidator

from services.gateway.body import MULTIPART_TYPE, PHOTO_FIELD, RAW_TYPES, read_photo
from services.gateway.engine import Engine
from services.gateway.examples import ANSWER_EXAMPLE, PROBLEM_EXAMPLE
from services.gateway.problems import problem_answer
from services.gateway.schemas import FaceChoice, Part, ReconstructionAnswer
from services.gateway.settings import Settings

router = APIRouter(prefix="/v1", tags=["reconstruction"])

DESCRIPTION: Final = """
Send a photo as the field `photo` of a form, or as the body itself:

```sh
curl -F photo=@examples/astronaut.png 'http://127.0.0.1:8000/v1/reconstructions?return=rendering,mesh'
curl -H 'Content-Type: image/png' --data-binary @examples/astronaut.png http://127.0.0.1:8000/v1/reconstructions
```

Faces come largest first. Look at `quality` before you trust an answer.
"""

_BINARY: Final = {"type": "string", "format": "binary"}
_REQUEST_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        MULTIPART_TYPE: {
            "schema": {
                "type": "object",
                "required": [PHOTO_FIELD],
                "properties": {
                    PHOTO_FIELD: {**_BINARY, "description": "JPEG, PNG, WebP, GIF, TIFF or BMP file."}
                },
            }
        },
        "image/*": {"schema": _BINARY},
        **{media_type: {"schema": _BINARY} for media_type in RAW_TYPES},
    },
}
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    400: problem_answer("The bytes are no usable photo, or the form is broken."),
    408: problem_answer("The body did not arrive in time."),
    413: problem_answer("Too many bytes or pixels."),
    415: problem_answer("Neither a form nor an image, or an image format that is not read here."),
    422: problem_answer("No face was found, or a query parameter is not valid.", PROBLEM_EXAMPLE),
    503: problem_answer("Overloaded or not ready: try again after Retry-After seconds."),
}


def _split_commas(values: object) -> object:
    """Read `return=mesh,rendering` and `return=mesh&return=rendering` alike."""
    if not isinstance(values, list):
        return values
    return [name.strip() for value in values for name in str(value).split(",") if name.strip()]


@router.post(
    "/reconstructions",
    summary="Reconstruct the faces of a photo",
    description=DESCRIPTION,
    response_model=ReconstructionAnswer,
    response_model_exclude_none=True,
    responses={
        200: {
            "description": "The faces, largest first.",
            "content": {"application/json": {"example": ANSWER_EXAMPLE}},
        },
        **_PROBLEMS,
    },
    openapi_extra={"requestBody": _REQUEST_BODY},
)
async def reconstruct(
    request: Request,
    faces: Annotated[FaceChoice, Query(description="The largest face or all of them.")] = "largest",
    parts: Annotated[
        list[Part],
        BeforeValidator(_split_commas),
        Query(
            alias="return",
            description="What to add, separated by commas. Parameters and landmarks are always there.",
        ),
    ] = [Part.PARAMETERS],  # noqa: B006
) -> Response:
    """Read the photo within its limits, hand it to a worker, and pass its JSON on."""
    engine: Engine = request.app.state.engine
    settings: Settings = request.app.state.settings
    engine.check_room()
    photo = await read_photo(request, settings.max_body_bytes, settings.body_timeout)
    answer = await engine.reconstruct(photo, faces, frozenset(parts))
    return Response(answer, media_type="application/json")
