"""Health and metrics: KServe v2 paths, their common aliases, and Prometheus' scrape target."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from inversefacenet import __version__
from services.gateway.engine import Engine
from services.gateway.errors import DrainingError
from services.gateway.problems import problem_answer
from services.gateway.schemas import Live, Ready, ServerInfo

router = APIRouter(tags=["operations"])

QUIET_ROUTES = frozenset({"/v2/health/live", "/v2/health/ready", "/healthz", "/readyz", "/metrics"})


@router.get("/healthz", include_in_schema=False)
@router.get("/v2/health/live", summary="Does the process answer?")
async def live() -> Live:
    """Answer while the process and its event loop run, whatever the network does."""
    return Live()


@router.get("/readyz", include_in_schema=False)
@router.get(
    "/v2/health/ready",
    summary="Can photos be answered?",
    responses={503: problem_answer("The network does not answer.")},
)
async def ready(request: Request) -> Ready:
    """Prove it: the network has answered a real inference just now, or does so before this answers."""
    engine: Engine = request.app.state.gateway.engine
    if engine.draining:
        raise DrainingError("The service is stopping.")
    await engine.readiness.check()
    return Ready()


@router.get("/v2", summary="What is this server?")
async def server() -> ServerInfo:
    """Name the server and its version (KServe v2)."""
    return ServerInfo(name="inversefacenet", version=__version__, extensions=[])


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus' text format.", "content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Write out all counters and histograms."""
    return Response(request.app.state.gateway.metrics.render(), media_type=CONTENT_TYPE_LATEST)
