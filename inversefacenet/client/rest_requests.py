"""Jobs as HTTP requests. No connection is needed."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlencode

from inversefacenet.client.requests import PhotoJob, RenderJob

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
RAW: Final = "application/octet-stream"
MESH_TYPES: Final = {"glb": "model/gltf-binary", "obj": "application/zip", "ply": "application/ply"}

RECONSTRUCTIONS: Final = "/v1/reconstructions"
BATCH: Final = "/v1/reconstructions/batch"
RENDERINGS: Final = "/v1/renderings"
MODELS: Final = "/v1/models"
READY: Final = "/v2/health/ready"


@dataclass(frozen=True, eq=False)
class HttpRequest:
    """What is sent.

    Attributes:
        method: GET or POST.
        path: With its query, below the server's address.
        headers: Media types of what is sent and wanted.
        body: The bytes.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def reconstruct_request(job: PhotoJob) -> HttpRequest:
    """Return a photo and what is asked of it as a request: the photo as it is, wherever that is possible."""
    options = photo_options(job)
    if job.url is not None:
        return post_json(RECONSTRUCTIONS, one_photo(job) | options, accepted())
    if not job.landmarks:
        if job.crop:
            options["input"] = "crop"
        return HttpRequest("POST", _with_query(RECONSTRUCTIONS, options), _wanted(RAW), job.content)
    # Landmarks of many faces are too long for an address.
    points = json.dumps([face.tolist() for face in job.landmarks])
    texts = {"landmarks": points, "input": "crop" if job.crop else "photo"}
    body, media_type = _form(texts, [job.content])
    return HttpRequest("POST", _with_query(RECONSTRUCTIONS, options), _wanted(media_type), body)


def batch_request(jobs: Sequence[PhotoJob]) -> HttpRequest:
    """Return several photos, of which the same is asked, as one request."""
    first = jobs[0]
    options = photo_options(first)
    if any(job.url is not None or job.landmarks for job in jobs):
        return post_json(BATCH, {"photos": [one_photo(job) for job in jobs]} | options, accepted())
    if first.crop:
        options["input"] = "crop"
    body, media_type = _form({}, [job.content for job in jobs])
    return HttpRequest("POST", _with_query(BATCH, options), _wanted(media_type), body)


def render_request(job: RenderJob) -> HttpRequest:
    """Return a face to draw as a request."""
    tree: dict[str, Any] = {"parameters": job.parameters.to_dict(), "geometry": job.geometry}
    tree["background"] = "transparent" if job.background is None else list(job.background)
    if job.size is not None:
        tree["size"] = job.size
    accept = "image/png"
    if job.mesh is not None:
        accept = MESH_TYPES[job.mesh.format or "glb"]
        tree |= _present(mesh_space=job.mesh.space, mesh_colours=job.mesh.colours)
    return post_json(RENDERINGS, tree, accept)


def models_request() -> HttpRequest:
    """Return the request for all networks."""
    return HttpRequest("GET", MODELS, {"Accept": JSON})


def ready_request() -> HttpRequest:
    """Return the question whether the server answers."""
    return HttpRequest("GET", READY, {"Accept": JSON})


def photo_options(job: PhotoJob) -> dict[str, Any]:
    """Return what is asked of a photo, by the names that the service gives it."""
    options = _present(
        faces=job.faces,
        minimum_size=job.minimum_size,
        mesh_format=job.mesh.format,
        mesh_space=job.mesh.space,
        mesh_colours=job.mesh.colours,
        texture_size=job.mesh.texture_size,
        size=job.size,
        # A server of before refinements knows no such option.
        refine=job.refine or None,
    )
    return options | {"return": list(job.parts)} if job.parts else options


def _present(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _with_query(path: str, options: Mapping[str, Any]) -> str:
    texts = {name: ",".join(value) if isinstance(value, list) else value for name, value in options.items()}
    return f"{path}?{urlencode(texts, safe=',')}" if texts else path


def one_photo(job: PhotoJob) -> dict[str, Any]:
    """Return a photo as a member of a JSON body."""
    source = {"base64": base64.b64encode(job.content).decode()} if job.url is None else {"url": job.url}
    tree: dict[str, Any] = {"photo": source, "crop": job.crop}
    if job.landmarks:
        tree["landmarks"] = [face.tolist() for face in job.landmarks]
    return tree


def post_json(path: str, tree: Mapping[str, Any], accept: str) -> HttpRequest:
    """Return a request with a JSON body."""
    headers = {"Content-Type": JSON, "Accept": accept}
    return HttpRequest("POST", path, headers, json.dumps(tree).encode())


def _wanted(content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type, "Accept": accepted()}


def accepted() -> str:
    """Return the media types that can be read here."""
    # Files come as they are in msgpack, without base64.
    return f"{MSGPACK}, {JSON};q=0.5" if find_spec("msgpack") else JSON


def _form(texts: Mapping[str, str], photos: Sequence[bytes]) -> tuple[bytes, str]:
    """Return `multipart/form-data` and its media type."""
    boundary = secrets.token_hex(16)
    pieces = []
    for name, text in texts.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        pieces += [head.encode(), text.encode(), b"\r\n"]
    for number, photo in enumerate(photos):
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="photo"; filename="{number}"\r\n'
            f"Content-Type: {RAW}\r\n\r\n"
        )
        pieces += [head.encode(), photo, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"
