"""The application: the page, what it asks, and the models that are loaded once at start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from inversefacenet import __version__
from inversefacenet.reconstruction import Reconstructor
from services.studio import routes
from services.studio.pages import page_router
from services.studio.problems import install_problem_handlers
from services.studio.security import GuardMiddleware
from services.studio.settings import Settings
from services.studio.studio import Studio


def create_app(settings: Settings, reconstructor: Reconstructor | None = None) -> FastAPI:
    """Build the application; nothing is loaded until it starts.

    Args:
        settings: The operator's choices.
        reconstructor: In place of the one that would be loaded at start.

    Returns:
        An ASGI application.
    """
    studio = Studio(settings, reconstructor)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await studio.open()
        try:
            yield
        finally:
            await studio.close()

    app = FastAPI(
        title="InverseFaceNet Studio",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.studio = studio
    app.add_middleware(GuardMiddleware, host_names=settings.host_names)
    install_problem_handlers(app)
    app.include_router(routes.router)
    app.include_router(page_router())
    return app
