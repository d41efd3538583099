"""`POST /v1/reconstructions`: a photo in, its faces out."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response

from services.gateway.admission import charged
from services.gateway.body import JSON_TYPE, MULTIPART_TYPE, PHOTO_FIELD, RAW_TYPES
from services.gateway.calls import Call, Welcome, until_disconnect
from services.gateway.examples import ANSWER_EXAMPLE, PHOTO_EXAMPLES
from services.gateway.jobs import Answered
from services.gateway.negotiation import RECONSTRUCTION_OFFERS, Offer
from services.gateway.openapi import BINARY, form_schema, header_references, problems, reference
from services.gateway.photo_requests import Photo, check_source, fetch, photo_job, read_photo
from services.gateway.request_schemas import PhotoBody, PhotoOptions, PhotoParameters
from services.gateway.responses import answer_response
from services.gateway.schemas import ReconstructionAnswer

router = APIRouter(prefix="/v1", tags=["reconstruction"])

DESCRIPTION: Final = """
Send a photo as the field `photo` of a form, as the body itself, or in JSON:

```sh
curl -F photo=@examples/astronaut.png 'http://127.0.0.1:8000/v1/reconstructions?return=rendering,mesh'
curl -F photo=@examples/astronaut.png -F faces=all -F return=overlay http://127.0.0.1:8000/v1/reconstructions
curl -H 'Content-Type: image/png' --data-binary @examples/astronaut.png http://127.0.0.1:8000/v1/reconstructions
```

What is wanted of it stands in the query, in further fields of the form, or in the JSON; the body counts
before the query. Faces come largest first. Look at `quality` before you trust an answer.

`Accept` picks the form of the answer. `application/json` (the default) has files as base64;
`application/msgpack` has them as bytes, under `content` in place of `base64`, and numbers as float32;
`multipart/mixed` has the JSON first, whose `part` in place of `base64` is the Content-ID of the part with
the file. A file alone: `model/gltf-binary`, `application/zip` (OBJ) or `application/ply` is the mesh of the
largest face; `image/png` is the first picture that `return` names, or the largest face's rendering.

```sh
curl -H 'Accept: model/gltf-binary' -F photo=@examples/astronaut.png -o face.glb http://127.0.0.1:8000/v1/reconstructions
curl -H 'Accept: image/png' -F photo=@examples/astronaut.png -F return=overlay -o overlay.png http://127.0.0.1:8000/v1/reconstructions
```
"""

_QUALITY: Final = ("X-Quality-Photometric", "X-Quality-IoU", "X-Quality-NME", "X-Quality-Confidence")
_PHOTO: Final[dict[str, Any]] = {
    "type": "string",
    "format": "binary",
    "description": "JPEG, PNG, WebP, AVIF, GIF, TIFF, BMP or PPM file.",
}
_REQUEST_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        MULTIPART_TYPE: {"schema": form_schema({PHOTO_FIELD: _PHOTO}, PhotoParameters)},
        JSON_TYPE: {"schema": reference(PhotoBody), "examples": PHOTO_EXAMPLES},
        "image/*": {"schema": BINARY},
        **{media_type: {"schema": BINARY} for media_type in RAW_TYPES},
    },
}
_ANSWER: Final[dict[str, Any]] = {
    "description": "The faces, largest first; or one file.",
    "headers": header_references("Vary", *_QUALITY),
    "content": {
        "application/json": {"example": ANSWER_EXAMPLE},
        **{offer.media_type: {"schema": BINARY} for offer in RECONSTRUCTION_OFFERS[1:]},
    },
}


@router.post(
    "/reconstructions",
    summary="Reconstruct the faces of a photo",
    description=DESCRIPTION,
    response_model=ReconstructionAnswer,
    responses={
        200: _ANSWER,
        **problems(400, 401, 403, 406, 408, 413, 415, 422, 429, 500, 503, 504),
    },
    openapi_extra={"requestBody": _REQUEST_BODY},
)
async def reconstruct(call: Welcome, query: Annotated[PhotoParameters, Query()]) -> Response:
    """Read the photo within its limits, hand it to a worker, and pass its answer on."""
    offer, media_type = call.choose(RECONSTRUCTION_OFFERS)
    options, photo = await read_photo(call, query)
    check_source(call, photo)
    with charged(call.gateway, call.caller):
        answered = await until_disconnect(call.request, reconstructed(call, options, photo, offer))
    return answer_response(answered, offer, media_type)


async def reconstructed(
    call: Call, options: PhotoOptions, photo: Photo, offer: Offer, *, wait: bool = False
) -> Answered:
    """Return what a worker answers about a photo, fetched first if it came as an address.

    Args:
        call: The call that the photo belongs to.
        options: What is wanted of it.
        photo: The photo.
        offer: The form of the answer.
        wait: Wait for room instead of being refused.

    Raises:
        InverseFaceNetError: As `photo_requests.fetch` and `Engine.reconstruct`.
    """
    job = photo_job(call, options, photo, offer)
    if photo.url:
        job = replace(job, content=await fetch(call, photo.url))
    return await call.gateway.engine.reconstruct(job, call.deadline, wait=wait)
