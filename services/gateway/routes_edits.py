"""`POST /v1/edits`: a photo in, the edited photo out; `GET /v1/edits/options`: what edits may name."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from services.gateway.admission import charged
from services.gateway.body import JSON_TYPE, MULTIPART_TYPE, OTHER_PREFIX, PHOTO_FIELD, RAW_TYPES
from services.gateway.calls import Call, Identified, Welcome, check_query, until_disconnect
from services.gateway.deadline import Deadline
from services.gateway.edit_examples import EDIT_ANSWER_EXAMPLE, EDIT_EXAMPLES, OPTIONS_EXAMPLE
from services.gateway.edit_requests import EditRequest, edit_job, read_edit, with_photos
from services.gateway.edit_schemas import EditAnswer, EditBody, EditOptions, EditParameters
from services.gateway.encodings import JSON
from services.gateway.gateway import Gateway
from services.gateway.jobs import Answered
from services.gateway.negotiation import EDIT_OFFERS, Offer
from services.gateway.openapi import (
    BINARY,
    example_of,
    form_schema,
    header_references,
    problems,
    reference,
)
from services.gateway.responses import answer_response

router = APIRouter(prefix="/v1", tags=["editing"])

DESCRIPTION: Final = """
Send a photo as for a reconstruction, and `edits`, a list in JSON. They are applied in their order to the
largest face, or with `faces=all` to each, and the edited face is set back into the whole photo with the
photo's own detail kept:

```sh
curl -o left.png -F photo=@examples/astronaut.png -F 'edits=[{"edit":"relight","light":"left"}]' http://127.0.0.1:8000/v1/edits
curl -H 'Accept: image/jpeg' -o yaw.jpg -F photo=@examples/astronaut.png -F 'edits=[{"edit":"pose","yaw":9}]' http://127.0.0.1:8000/v1/edits
```

| edit | members |
| --- | --- |
| `relight` | one of `light`, a name; `coefficients`, nine [r, g, b]; `direction` [x, y, z]; `from` |
| | with a direction: `colour`, linear [r, g, b], and `ambient` 0 to 1; always: `strength` 0 to 1 |
| `pose` | `yaw`, `pitch`, `roll` in degrees; `relative` (true unless said) |
| `expression` | one of `units`, weights by name; `coefficients`, 64 numbers; `from` |
| | with units: `relative` (false unless said); always: `strength` 0 to 1 |
| `neutral` | the face at rest; `strength` 0 to 1 |
| `identity` | `coefficients`: shifts in standard deviations by number, such as {"0": 1.5} |
| `skin` | `coefficients` likewise; `tone`, -3 (darker) to 3 (lighter) |
| `mix` | `from`; and `shape`, `reflectance`, `expression`, `light`, `pose`, how much of each, 0 to 1 |

`/v1/edits/options` lists the lights and the units. `from` names one of `others`: the largest face of another
photo, sent in the form as the file `others.NAME` or in the JSON, or parameters. The answer is a picture, PNG
unless `Accept` asks for `image/jpeg`; `application/json` and `application/msgpack` have the edited parameters
and the quality beside it. Every photo that is sent counts as one in the key's quota.
"""

_FILE: Final[dict[str, Any]] = {
    "type": "string",
    "format": "binary",
    "description": "JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP or PPM file.",
}
_FORM: Final[dict[str, Any]] = {
    **form_schema({PHOTO_FIELD: _FILE}, EditParameters),
    "patternProperties": {f"^{OTHER_PREFIX.replace('.', '[.]')}": _FILE},
}
_REQUEST_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        MULTIPART_TYPE: {"schema": _FORM},
        JSON_TYPE: {"schema": reference(EditBody), "examples": EDIT_EXAMPLES},
        "image/*": {"schema": BINARY},
        **{media_type: {"schema": BINARY} for media_type in RAW_TYPES},
    },
}
_QUALITY: Final = ("X-Quality-Photometric", "X-Quality-IoU", "X-Quality-NME", "X-Quality-Confidence")
_ANSWER: Final[dict[str, Any]] = {
    "description": "The edited photo; alone, or with what is known of it.",
    "headers": header_references("Vary", *_QUALITY),
    "content": {
        **{offer.media_type: {"schema": BINARY} for offer in EDIT_OFFERS if offer.media_type != JSON_TYPE},
        "application/json": {"schema": reference(EditAnswer), "example": EDIT_ANSWER_EXAMPLE},
    },
}


@router.post(
    "/edits",
    summary="Edit the faces of a photo",
    description=DESCRIPTION,
    response_class=Response,
    responses={200: _ANSWER, **problems(400, 401, 403, 406, 408, 413, 415, 422, 429, 500, 503, 504)},
    openapi_extra={"requestBody": _REQUEST_BODY},
)
async def edit(call: Welcome, query: Annotated[EditParameters, Query()]) -> Response:
    """Read the photo within its limits, hand it to a worker, and pass its answer on."""
    offer, media_type = call.choose(EDIT_OFFERS)
    request = await read_edit(call, query)
    with charged(call.gateway, call.caller, len(request.photos())):
        answered = await until_disconnect(call.request, _edited(call, request, offer))
    return answer_response(answered, offer, media_type)


async def _edited(call: Call, request: EditRequest, offer: Offer) -> Answered:
    job = await with_photos(call, request, edit_job(call, request, offer))
    return await call.gateway.engine.reconstruct(job, call.deadline)


@router.get(
    "/edits/options",
    summary="List what edits may name",
    response_model=EditOptions,
    responses={200: example_of(OPTIONS_EXAMPLE), **problems(401, 422, 500, 503, 504)},
)
async def edit_options(request: Request, caller: Identified) -> Response:
    """Name the lights, and the units of expression of the face model."""
    check_query(request)
    gateway: Gateway = request.app.state.gateway
    found = await gateway.engine.edit_options(Deadline.after(gateway.settings.request_timeout))
    return Response(found.model_dump_json(), media_type=JSON)
