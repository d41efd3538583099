"""`GET /v1/models`: which networks answer here."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response

from services.gateway.calls import Identified, check_query
from services.gateway.encodings import JSON
from services.gateway.examples import MODEL_EXAMPLE
from services.gateway.gateway import Gateway
from services.gateway.openapi import example_of, problems
from services.gateway.schemas import ModelInfo, ModelList

router = APIRouter(prefix="/v1", tags=["models"])

_LONGEST_NAME: Final = 256


@router.get(
    "/models",
    summary="List the networks that answer here",
    response_model=ModelList,
    responses={200: example_of({"models": [MODEL_EXAMPLE]}), **problems(401, 422)},
)
async def models(request: Request, caller: Identified) -> Response:
    """Name the networks, their versions and digests, and the face model that their answers belong to."""
    check_query(request)
    gateway: Gateway = request.app.state.gateway
    listed = ModelList(models=gateway.engine.models())
    return Response(listed.model_dump_json(), media_type=JSON)


@router.get(
    "/models/{name}",
    summary="Describe a network",
    response_model=ModelInfo,
    responses={200: example_of(MODEL_EXAMPLE), **problems(401, 404, 422)},
)
async def model(
    request: Request,
    caller: Identified,
    name: Annotated[str, Path(description="As the list has it.", examples=[MODEL_EXAMPLE["name"]])],
) -> Response:
    """Describe the network of a name."""
    check_query(request)
    gateway: Gateway = request.app.state.gateway
    return Response(gateway.engine.find_model(name).model_dump_json(), media_type=JSON)
