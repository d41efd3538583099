"""`POST /v1/reconstructions/batch`: several photos in, each with its own outcome."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError

from services.gateway.admission import FREE, charged
from services.gateway.batches import BatchResult, join
from services.gateway.body import JSON_TYPE, MULTIPART_TYPE, PHOTO_FIELD
from services.gateway.calls import Call, Welcome, until_disconnect
from services.gateway.errors import InputDisabledError
from services.gateway.examples import BATCH_ANSWER_EXAMPLE, BATCH_EXAMPLES
from services.gateway.jobs import Form
from services.gateway.metrics import REFUSALS
from services.gateway.negotiation import ANSWER_OFFERS, Offer
from services.gateway.openapi import BINARY, form_schema, header_references, problems, reference
from services.gateway.photo_requests import Photo, PhotoRequest, check_source, read_photos
from services.gateway.problems import problem_of
from services.gateway.request_schemas import BatchBody, BatchParameters
from services.gateway.responses import VARY
from services.gateway.routes_reconstructions import reconstructed
from services.gateway.schemas import BatchAnswer

router = APIRouter(prefix="/v1", tags=["reconstruction"])

DESCRIPTION: Final = """
Send photos as the fields `photo` of one form, or in JSON, each with its own landmarks if you know them:

```sh
curl -F photo=@examples/astronaut.png -F photo=@examples/astronaut.png http://127.0.0.1:8000/v1/reconstructions/batch
```

The answer lists them in their order, each with the status that it would have got alone and either its
`reconstruction` or its `problem`: one photo that can't be answered disturbs no other. `Accept` picks JSON,
msgpack or `multipart/mixed`; in the last the JSON names the part of each photo, which holds its answer or
its problem.
"""

_FILES: Final[dict[str, Any]] = {"type": "array", "items": BINARY, "minItems": 1}
_REQUEST_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        MULTIPART_TYPE: {"schema": form_schema({PHOTO_FIELD: _FILES}, BatchParameters)},
        JSON_TYPE: {"schema": reference(BatchBody), "examples": BATCH_EXAMPLES},
    },
}
_ANSWER: Final[dict[str, Any]] = {
    "description": "What became of each photo.",
    "headers": header_references("Vary"),
    "content": {
        "application/json": {"example": BATCH_ANSWER_EXAMPLE},
        **{offer.media_type: {"schema": BINARY} for offer in ANSWER_OFFERS[1:]},
    },
}


@router.post(
    "/reconstructions/batch",
    summary="Reconstruct the faces of several photos",
    description=DESCRIPTION,
    response_model=BatchAnswer,
    responses={200: _ANSWER, **problems(400, 401, 406, 408, 413, 415, 422, 429, 500, 503, 504)},
    openapi_extra={"requestBody": _REQUEST_BODY},
)
async def reconstruct_batch(call: Welcome, query: Annotated[BatchParameters, Query()]) -> Response:
    """Read the photos within their limits, work on some of them at a time, and join the answers."""
    offer, media_type = call.choose(ANSWER_OFFERS)
    request = await read_photos(call, query)
    results = await until_disconnect(call.request, _answer_all(call, request, offer))
    content, written_as = join(results, offer.form)
    return Response(
        content, media_type=written_as if offer.form is Form.MULTIPART else media_type, headers=VARY
    )


async def _answer_all(call: Call, request: PhotoRequest, offer: Offer) -> list[BatchResult]:
    refusals = [_refusal(call, photo) for photo in request.photos]
    # More at once than there are workers would only push other callers aside.
    places = asyncio.Semaphore(call.gateway.settings.workers)

    async def answer(photo: Photo | RequestValidationError, refusal: Exception | None) -> BatchResult:
        if not isinstance(photo, Photo):
            return BatchResult("", problem_of(photo))
        if refusal is not None:
            return BatchResult(photo.name, problem_of(refusal))
        try:
            async with places:
                with call.gateway.tracing.span("photo"):
                    answered = await reconstructed(call, request.options, photo, offer, wait=True)
            return BatchResult(photo.name, answered)
        except Exception as error:
            charge.free += isinstance(error, FREE)
            problem = problem_of(error)
            if problem.code in REFUSALS:
                call.gateway.metrics.refusals.labels(REFUSALS[problem.code]).inc()
            return BatchResult(photo.name, problem)

    with charged(call.gateway, call.caller, refusals.count(None)) as charge:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(*pair)) for pair in zip(request.photos, refusals, strict=True)]
    return [task.result() for task in tasks]


def _refusal(call: Call, photo: Photo | RequestValidationError) -> Exception | None:
    """Return why a photo isn't worked on at all, so that it costs nothing; None for one that is."""
    if isinstance(photo, RequestValidationError):
        return photo
    try:
        check_source(call, photo)
    except InputDisabledError as error:
        return error
    return None
