"""The page that shows the OpenAPI document and tries the interface, without asking any outside address."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from inversefacenet.errors import MissingDependencyError
from services.gateway.openapi import install_openapi

__all__ = ["install_docs_page", "install_openapi", "swagger_files"]

DOCS_URL: Final = "/docs"
ASSETS_URL: Final = "/docs/assets"

# The browser itself then refuses whatever would leave this server.
_CONTENT_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; frame-ancestors 'none'"
)


def swagger_files() -> Path:
    """Return the folder with Swagger UI's script and style.

    Raises:
        MissingDependencyError: If the package that carries them isn't installed.
    """
    # Found, not imported: only its files are wanted.
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise MissingDependencyError("Packages of the service are not installed", extra="service")
    return Path(spec.origin).parent / "static"


def install_docs_page(app: FastAPI) -> None:
    """Serve Swagger UI at /docs.

    Raises:
        MissingDependencyError: If its files aren't installed.
    """
    app.mount(ASSETS_URL, StaticFiles(directory=swagger_files()), name="docs-assets")

    @app.get(DOCS_URL, include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url=app.openapi_url or "/openapi.json",
            title=app.title,
            swagger_js_url=f"{ASSETS_URL}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS_URL}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS_URL}/favicon.png",
            swagger_ui_parameters={"validatorUrl": None, "tryItOutEnabled": True},
        )
        page.headers["Content-Security-Policy"] = _CONTENT_POLICY
        return page
