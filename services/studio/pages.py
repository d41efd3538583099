"""The page itself: a few files that come with the package, and the demo photo."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

DEMO_PHOTO: Final = "demo.jpg"

_MEDIA_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "jpg": "image/jpeg",
    "webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class StaticFile:
    """A file of the page.

    Attributes:
        content: Its bytes.
        media_type: What they are.
        tag: Changes with the content.
    """

    content: bytes
    media_type: str
    tag: str


def static_files() -> dict[str, StaticFile]:
    """Return the page's files by name, read into memory."""
    found = {}
    for entry in (resources.files("services.studio") / "static").iterdir():
        kind = entry.name.rpartition(".")[2]
        if kind in _MEDIA_TYPES:
            content = entry.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
            found[entry.name] = StaticFile(content, _MEDIA_TYPES[kind], tag)
    return found


def demo_photo() -> bytes:
    """Return the demo photo: `examples/astronaut.png` as JPEG, which comes with the package."""
    return (resources.files("services.studio") / "static" / DEMO_PHOTO).read_bytes()


def page_router() -> APIRouter:
    """Return the routes of the page's files: fixed names alone, so that no path can lead elsewhere."""
    router = APIRouter()
    files = static_files()

    def answer(request: Request, name: str) -> Response:
        file = files.get(name)
        if file is None:
            raise HTTPException(404)
        headers = {"ETag": file.tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    @router.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return answer(request, "index.html")

    @router.get("/favicon.ico", include_in_schema=False)
    async def icon(request: Request) -> Response:
        return answer(request, "icon.svg")

    @router.get("/static/{name}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        return answer(request, name)

    return router
