"""The addresses that the page asks; all of them are its own affair and may change with it."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from services.studio.anatomy import PARTS, part_picture
from services.studio.bodies import read_body, read_json
from services.studio.downloads import MEDIA_TYPES, download
from services.studio.errors import PhotoFormError
from services.studio.head import head_bytes, texture_bytes
from services.studio.look import FaceRequest, LookRequest, PictureRequest
from services.studio.pages import demo_photo
from services.studio.portrait import SECOND, Portrait, choose_face, open_portrait
from services.studio.sessions import Session
from services.studio.studio import Studio

BINARY: Final = "application/octet-stream"
LIGHT_HEADER: Final = "Studio-Light"
POSE_HEADER: Final = "Studio-Pose"

_PART_SIZE: Final = 240
_THUMBNAIL_SIZE: Final = 128

router = APIRouter(prefix="/api", include_in_schema=False)


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio


def _data_url(content: bytes, media_type: str) -> dict[str, str]:
    return {"type": media_type, "base64": base64.b64encode(content).decode()}


def _answer(session: Session) -> dict[str, Any]:
    return {"session": session.name, **session.portrait.summary()}


@router.get("/health")
async def health(request: Request) -> dict[str, str]:
    """Say that the studio is there: it listens only when everything is loaded."""
    return {"status": "ok"}


@router.get("/options")
async def options(request: Request) -> dict[str, object]:
    """Return what the controls are made of."""
    return _studio(request).options()


@router.get("/head")
async def layout(request: Request) -> Response:
    """Return the mesh's layout."""
    return Response(_studio(request).layout, media_type=BINARY)


@router.get("/demo")
async def demo() -> Response:
    """Return the demo photo, which the page then sends like any other."""
    return Response(demo_photo(), media_type="image/jpeg")


@router.post("/sessions", status_code=201)
async def open_session(request: Request) -> dict[str, Any]:
    """Take a photo, as the body itself."""
    studio = _studio(request)
    portrait = await _read_photo(studio, request)
    return _answer(studio.sessions.add(portrait))


@router.post("/sessions/{name}/face")
async def face(request: Request, name: str) -> dict[str, Any]:
    """Choose another face of the photo, or fit the same more closely."""
    studio = _studio(request)
    session = studio.sessions.get(name)
    wanted = await read_json(request, FaceRequest, studio.settings.body_timeout)
    steps = studio.settings.refine if wanted.refine is None else wanted.refine
    session.portrait = await studio.photos.run(
        partial(choose_face, studio.reconstructor, session.portrait, wanted.face, steps)
    )
    return _answer(session)


@router.post("/sessions/{name}/second")
async def second(request: Request, name: str) -> dict[str, Any]:
    """Take a second photo, whose face edits may refer to as "second"; of the photo nothing is kept."""
    studio = _studio(request)
    session = studio.sessions.get(name)
    other = await _read_photo(studio, request)
    session.portrait = session.portrait.with_other(SECOND, other.reconstruction.parameters)
    small = await studio.edits.run(partial(other.thumbnail, _THUMBNAIL_SIZE))
    return {
        "quality": other.reconstruction.assessment(),
        "thumbnail": _data_url(small, "image/jpeg"),
        "faces": len(other.found),
    }


@router.post("/sessions/{name}/picture")
async def picture(request: Request, name: str) -> Response:
    """Return the edited face and its surroundings, with the light and the pose that it has."""
    studio = _studio(request)
    session = studio.sessions.get(name)
    wanted = await read_json(request, PictureRequest, studio.settings.body_timeout)
    portrait = session.portrait
    content, parameters = await studio.latest(
        session,
        f"picture-{wanted.view}",
        wanted.number,
        lambda: portrait.picture(wanted.look, wanted.size, wanted.view),
    )
    headers = {
        LIGHT_HEADER: json.dumps([round(float(value), 5) for value in parameters.illumination.ravel()]),
        POSE_HEADER: json.dumps([round(float(value), 5) for value in parameters.rotation]),
    }
    return Response(content, media_type="image/jpeg", headers=headers)


@router.post("/sessions/{name}/head")
async def head(request: Request, name: str) -> Response:
    """Return the edited head's vertices and colours."""
    studio = _studio(request)
    session = studio.sessions.get(name)
    wanted = await read_json(request, LookRequest, studio.settings.body_timeout)
    portrait = session.portrait

    def work() -> bytes:
        return head_bytes(portrait.model, portrait.resolve(wanted.look)[1])

    return Response(await studio.latest(session, "head", wanted.number, work), media_type=BINARY)


@router.post("/sessions/{name}/parts")
async def parts(request: Request, name: str) -> dict[str, Any]:
    """Return shape, expression, skin and light of the edited face, each as a picture."""
    studio = _studio(request)
    session = studio.sessions.get(name)
    wanted = await read_json(request, LookRequest, studio.settings.body_timeout)
    portrait = session.portrait

    def work() -> dict[str, Any]:
        parameters = portrait.resolve(wanted.look)[1]
        own = portrait.reconstruction.parameters
        return {
            part: _data_url(part_picture(portrait.model, parameters, part, _PART_SIZE, own), "image/png")
            for part in PARTS
        }

    return await studio.latest(session, "parts", wanted.number, work)


@router.get("/sessions/{name}/texture")
async def texture(request: Request, name: str) -> Response:
    """Return the photo as a texture of the head."""
    studio = _studio(request)
    portrait = studio.sessions.get(name).portrait
    content = await studio.photos.run(partial(texture_bytes, portrait))
    return Response(content, media_type="image/jpeg")


@router.post("/sessions/{name}/download/{file}")
async def take_home(request: Request, name: str, file: str) -> Response:
    """Return a file to keep."""
    studio = _studio(request)
    if file not in MEDIA_TYPES:
        raise HTTPException(404)
    session = studio.sessions.get(name)
    wanted = await read_json(request, LookRequest, studio.settings.body_timeout)
    content = await studio.photos.run(partial(download, session.portrait, wanted.look, file))
    return Response(
        content,
        media_type=MEDIA_TYPES[file],
        headers={"Content-Disposition": f'attachment; filename="{file}"'},
    )


@router.delete("/sessions/{name}", status_code=204)
@router.post("/sessions/{name}/forget", status_code=204)
async def forget(request: Request, name: str) -> Response:
    """Let a photo go; that it isn't there (any more) is no error."""
    _studio(request).sessions.forget(name)
    return Response(status_code=204)


async def _read_photo(studio: Studio, request: Request) -> Portrait:
    settings = studio.settings
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("multipart/"):
        raise PhotoFormError(
            "The studio reads a photo as the body itself, not as a form: curl --data-binary @photo.jpg ..."
        )
    data = await read_body(request, settings.max_body_bytes, settings.body_timeout)
    return await studio.photos.run(
        partial(
            open_portrait,
            studio.reconstructor,
            data,
            max_bytes=settings.max_body_bytes,
            max_pixels=settings.max_pixels,
            max_faces=settings.max_faces,
            refine=settings.refine,
        )
    )
