"""What a soak sends: all that callers do, good and bad, over both interfaces."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from benchmarks.load.requests import (
    CANCELLED,
    DEADLINE,
    OK,
    RENDER,
    Request,
    grpc_photo,
    grpc_stream,
    rest_photo,
)

SIZES: Final = (160, 250, 400, 512, 800, 1500)
"""Heights in pixels that the photo is scaled to."""

_PARTS: Final = ("mesh", "rendering", "overlay", "contours")
_ENUMS: Final = tuple(f"PART_{part.upper()}" for part in _PARTS)
_ACCEPTS: Final = (
    "application/msgpack",
    "multipart/mixed",
    "model/gltf-binary",
    "application/zip",
    "image/png",
)
_NO_FACE: Final = ("no-face",)
_DAMAGED: Final = ("truncated-image", "invalid-image", "unsupported-image", "empty-image", "no-face", OK)
_LATE: Final = (DEADLINE, OK)
_GONE: Final = (CANCELLED, OK)


def mixture(photo: bytes, *, grpc: bool, weight: int = 3) -> tuple[Request, ...]:
    """Return requests to choose from at random.

    Args:
        photo: An image file with a face.
        grpc: Whether the service speaks gRPC too.
        weight: How often plain photos stand in it, beside everything else once.
    """
    with Image.open(io.BytesIO(photo)) as source:
        picture = np.asarray(source.convert("RGB"))
    photos = [encoded(picture, side, form) for side in SIZES for form in ("JPEG", "PNG", "WEBP")]
    requests = [*weight * list(_rest(photos, picture))]
    if grpc:
        requests += weight * list(_grpc(photos, picture))
    requests += _bad_rest(photos)
    requests += _bad_grpc(photos) if grpc else []
    return tuple(requests)


def encoded(picture: UInt8[np.ndarray, "height width 3"], height: int, form: str) -> bytes:
    """Return a picture scaled to a height, as a file."""
    width = round(picture.shape[1] * height / picture.shape[0])
    buffer = io.BytesIO()
    Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR).save(buffer, form)
    return buffer.getvalue()


def _rest(photos: Sequence[bytes], picture: UInt8[np.ndarray, "height width 3"]) -> Iterator[Request]:
    for number, photo in enumerate(photos):
        yield rest_photo(f"rest photo {number}", photo)
    for part in _PARTS:
        yield rest_photo(f"rest {part}", photos[0], {"return": part})
    yield rest_photo("rest everything", photos[0], {"return": ",".join(_PARTS), "faces": "all"})
    for accept in _ACCEPTS:
        yield rest_photo(f"rest {accept}", photos[1], {"return": "mesh,overlay"}, {"accept": accept})
    yield _form(photos[0])
    yield _json("rest batch", "/v1/reconstructions/batch", {"photos": [_in_json(one) for one in photos[:3]]})
    yield _json("rest render", "/v1/renderings", {"parameters": {"rotation": [0.1, 0.2, 0.0]}})
    group = _side_by_side(picture)
    yield rest_photo("rest group", group, {"faces": "all"})


def _grpc(photos: Sequence[bytes], picture: UInt8[np.ndarray, "height width 3"]) -> Iterator[Request]:
    for number, photo in enumerate(photos):
        yield grpc_photo(f"grpc photo {number}", photo)
    for part in _ENUMS:
        yield grpc_photo(f"grpc {part}", photos[0], [part])
    yield grpc_photo("grpc everything", photos[0], _ENUMS)
    yield grpc_stream("grpc stream", photos[:4])
    yield Request("grpc render", "grpc", RENDER)
    yield grpc_photo("grpc group", _side_by_side(picture))


def _bad_rest(photos: Sequence[bytes]) -> list[Request]:
    photo = photos[3]
    return [
        rest_photo("rest truncated", photo[: len(photo) // 2], expected=_DAMAGED),
        rest_photo("rest noise", _noise(), expected=_DAMAGED),
        rest_photo("rest no face", blank(400), expected=_NO_FACE),
        rest_photo("rest too large", _huge(), expected=("image-too-large",)),
        rest_photo("rest cancelled", photo, cancel_after=0.02, expected=_GONE),
        rest_photo("rest late", photo, headers={"x-request-timeout": "0.03"}, expected=_LATE),
    ]


def _bad_grpc(photos: Sequence[bytes]) -> list[Request]:
    photo = photos[3]
    return [
        grpc_photo("grpc truncated", photo[: len(photo) // 2], expected=_DAMAGED),
        grpc_photo("grpc noise", _noise(), expected=_DAMAGED),
        grpc_photo("grpc no face", blank(400), expected=_NO_FACE),
        grpc_photo("grpc cancelled", photo, cancel_after=0.02, expected=_GONE),
        grpc_photo("grpc late", photo, timeout=0.03, expected=_LATE),
    ]


def _form(photo: bytes) -> Request:
    boundary = "one-of-many"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    body = head.encode() + photo + f"\r\n--{boundary}--\r\n".encode()
    return rest_photo(
        "rest form", body, headers={"content-type": f"multipart/form-data; boundary={boundary}"}
    )


def _json(name: str, path: str, body: object) -> Request:
    headers = (("content-type", "application/json"),)
    return Request(name, "rest", path, json.dumps(body).encode(), headers)


def _in_json(photo: bytes) -> dict[str, object]:
    return {"photo": {"base64": base64.b64encode(photo).decode("ascii")}}


def _side_by_side(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    return encoded(np.concatenate([picture, picture[:, ::-1]], axis=1), 512, "JPEG")


def blank(side: int) -> bytes:
    """Return a grey picture: a photo without a face."""
    return encoded(np.full((side, side, 3), 127, np.uint8), side, "PNG")


def _noise() -> bytes:
    return np.random.default_rng(0).bytes(20_000)


def _huge() -> bytes:
    """Return a small file of a picture with more pixels than the service takes."""
    buffer = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(buffer, "PNG")
    return buffer.getvalue()
