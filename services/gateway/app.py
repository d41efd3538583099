"""The application: routes, error answers, metrics, and the models that are loaded once at start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI

from inversefacenet import __version__
from inversefacenet.errors import InverseFaceNetError
from services.gateway import routes_health, routes_reconstructions
from services.gateway.docs_page import DOCS_URL, install_docs_page, install_openapi
from services.gateway.engine import Engine, load_reconstructor
from services.gateway.metrics import Metrics
from services.gateway.middleware import RequestMiddleware
from services.gateway.problems import install_problem_handlers
from services.gateway.settings import Settings

if TYPE_CHECKING:
    from inversefacenet.reconstruction import Reconstructor

DESCRIPTION: Final = (
    "Face pose, shape, expression, skin reflectance and light from one photograph, with an inverse face "
    "rendering network after Kim et al. 2018. Errors are problem details (RFC 9457); every answer carries "
    "X-Request-ID."
)

logger = logging.getLogger(__name__)


def create_app(settings: Settings, reconstructor: Reconstructor | None = None) -> FastAPI:
    """Build the application; nothing is loaded until it starts.

    Args:
        settings: The operator's choices.
        reconstructor: Takes the place of the one that would be loaded at start.

    Returns:
        An ASGI application.

    Raises:
        MissingDependencyError: If a package of the extra `service` isn't installed.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            loaded = reconstructor
            if loaded is None:
                loaded = await asyncio.to_thread(load_reconstructor, settings)
            engine = Engine(settings, metrics, loaded)
            await engine.readiness.check()
        except InverseFaceNetError as error:
            logger.critical("can't start: %s", error)
            raise
        app.state.engine = engine
        logger.info("ready", extra={"model": engine.model.model_dump()})
        try:
            yield
        finally:
            await asyncio.to_thread(engine.close)

    app = FastAPI(
        title="InverseFaceNet",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.metrics = metrics
    app.add_middleware(RequestMiddleware, metrics=metrics, quiet_routes=routes_health.QUIET_ROUTES)
    install_problem_handlers(app)
    app.include_router(routes_reconstructions.router)
    app.include_router(routes_health.router)
    install_openapi(app)
    install_docs_page(app)

    @app.get("/", include_in_schema=False)
    async def start_page() -> dict[str, str]:
        return {
            "name": "inversefacenet",
            "version": __version__,
            "documentation": DOCS_URL,
            "reconstructions": "/v1/reconstructions",
            "ready": "/v2/health/ready",
            "metrics": "/metrics",
        }

    return app
