"""`POST /v1/renderings`: parameters in, a picture or a mesh out."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Response

from services.gateway.admission import charged
from services.gateway.body import JSON_TYPE, BodyKind, kind_of, read_json
from services.gateway.calls import Welcome, check_query, until_disconnect
from services.gateway.context import current_request_id
from services.gateway.examples import RENDERING_EXAMPLES
from services.gateway.jobs import Output, RenderJob
from services.gateway.negotiation import RENDERING_OFFERS, Offer
from services.gateway.openapi import BINARY, problems, reference
from services.gateway.parameter_input import parameters_of
from services.gateway.photo_requests import read_model
from services.gateway.request_schemas import RenderingBody
from services.gateway.responses import file_response

router = APIRouter(prefix="/v1", tags=["rendering"])

DESCRIPTION: Final = """
Send parameters as an answer holds them, all of them or some: what is left out is neutral.

```sh
curl -H 'Content-Type: application/json' -d '{"parameters": {"rotation": [0.4, 0, 0]}}' -o face.png http://127.0.0.1:8000/v1/renderings
curl -H 'Content-Type: application/json' -H 'Accept: model/gltf-binary' -d '{"parameters": {}}' -o face.glb http://127.0.0.1:8000/v1/renderings
```

`Accept` picks the file: a PNG picture (the default), or a mesh as GLB, OBJ (in a ZIP archive) or PLY. It
costs as much of the key's quota as a photo.
"""


@router.post(
    "/renderings",
    summary="Render a face from its parameters",
    description=DESCRIPTION,
    response_class=Response,
    responses={
        200: {
            "description": "The file.",
            "content": {offer.media_type: {"schema": BINARY} for offer in RENDERING_OFFERS},
        },
        **problems(400, 401, 406, 408, 413, 415, 422, 429, 500, 503, 504),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON_TYPE: {"schema": reference(RenderingBody), "examples": RENDERING_EXAMPLES}},
        }
    },
)
async def render(call: Welcome) -> Response:
    """Read the parameters, hand them to a worker, and pass its file on."""
    offer, media_type = call.choose(RENDERING_OFFERS)
    kind_of(call.request, (BodyKind.JSON,))
    check_query(call.request)
    job = _job(read_model(RenderingBody, await read_json(call)), offer)
    with charged(call.gateway, call.caller):
        answered = await until_disconnect(call.request, call.gateway.engine.render(job, call.deadline))
    return file_response(answered, media_type)


def _job(body: RenderingBody, offer: Offer) -> RenderJob:
    background = None if body.background == "transparent" else tuple(body.background)
    return RenderJob(
        parameters_of(body.parameters),
        Output(
            form=offer.form,
            mesh_format=offer.mesh_format or "glb",
            mesh_space=body.mesh_space,
            mesh_colours=body.mesh_colours,
            size=body.size,
        ),
        current_request_id() or "",
        body.geometry,
        background,  # type: ignore[arg-type]  # three channels: the schema has counted them
    )
