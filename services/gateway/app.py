"""The application: routes, error answers, metrics, and the models that are loaded once at start."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI

from inversefacenet import __version__
from services.gateway import (
    routes_batches,
    routes_edits,
    routes_health,
    routes_models,
    routes_reconstructions,
    routes_renderings,
)
from services.gateway.docs_page import DOCS_URL, install_docs_page, install_openapi
from services.gateway.engine import RemoteBackend
from services.gateway.gateway import Gateway
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

STUDIO: Final = "\n\n[The studio]({}) does all of this in the browser."

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings, reconstructor: Reconstructor | None = None, remote: RemoteBackend | None = None
) -> FastAPI:
    """Build the application; nothing is loaded until it starts.

    Args:
        settings: The operator's choices.
        reconstructor: Works in threads, in place of the one that would be loaded at start.
        remote: Runs the network, in place of what the settings name.

    Returns:
        An ASGI application.

    Raises:
        MissingDependencyError: If a package of the extra `service` isn't installed.
    """
    gateway = Gateway(settings, reconstructor, remote)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if not gateway.opened:
            await gateway.open()
        try:
            yield
        finally:
            await gateway.close()

    app = FastAPI(
        title="InverseFaceNet",
        version=__version__,
        description=DESCRIPTION + (STUDIO.format(settings.studio_url) if settings.studio_url else ""),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # A redirect would be answered before the key is looked at, and behind a proxy name the wrong scheme.
        redirect_slashes=False,
    )
    app.state.gateway = gateway
    app.add_middleware(RequestMiddleware, gateway=gateway, quiet_routes=routes_health.QUIET_ROUTES)
    install_problem_handlers(app)
    for routes in (
        routes_reconstructions,
        routes_batches,
        routes_renderings,
        routes_edits,
        routes_models,
        routes_health,
    ):
        app.include_router(routes.router)
    install_openapi(app)
    install_docs_page(app)

    @app.get("/", include_in_schema=False)
    async def start_page() -> dict[str, str]:
        studio = {"studio": settings.studio_url} if settings.studio_url else {}
        return {
            "name": "inversefacenet",
            "version": __version__,
            "documentation": DOCS_URL,
            "reconstructions": "/v1/reconstructions",
            "renderings": "/v1/renderings",
            "edits": "/v1/edits",
            "models": "/v1/models",
            "ready": "/v2/health/ready",
            "metrics": "/metrics",
            **studio,
        }

    return app
