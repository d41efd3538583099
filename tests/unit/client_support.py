"""A server's answers, and a client of either kind that is asked one thing."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json

import httpx
import msgpack
import numpy as np

from inversefacenet.client import AsyncClient, Client
from inversefacenet.parameters import Parameters

KINDS = ("sync", "async")
SERVER = "http://127.0.0.1:1"
MODEL = {
    "name": "inversefacenet",
    "version": "1",
    "digest": "ab" * 32,
    "backend": "onnxruntime",
    "face_model": {"name": "open", "digest": "cd" * 32},
    "confidence_calibrated": True,
}
LANDMARKS = np.arange(136, dtype=np.float32).reshape(68, 2)


def theta():
    return Parameters.from_vector(np.linspace(-1, 1, 350, dtype=np.float32))


def tree(packed=False):
    """A reconstruction as the service writes it in JSON, or in msgpack."""

    def file(content, media_type):
        body = {"content": content} if packed else {"base64": base64.b64encode(content).decode()}
        return {"media_type": media_type, **body}

    return {
        "id": "r1",
        "model": MODEL,
        "image": {"width": 640, "height": 480},
        "faces": [
            {
                "box": {"left": 1.0, "top": 2.0, "right": 3.0, "bottom": 4.0},
                "score": 1.5,
                "parameters": theta().to_dict(),
                "placement": {
                    "camera_distance": 700.0,
                    "scale": 2.0,
                    "offset": [3.0, 4.0],
                    "crop_scale": 5.0,
                    "crop_offset": [6.0, 7.0],
                },
                "quality": {
                    "photometric": 10.0,
                    "photometric_visible": 9.0,
                    "iou": 0.9,
                    "iou_hull": 0.8,
                    "landmark": 2.0,
                    "nme": 0.1,
                    "confidence": 0.6,
                    "verdict": "doubtful",
                },
                "landmarks68": LANDMARKS.tolist(),
                "mesh": {"format": "glb", **file(b"glTF", "model/gltf-binary")},
                "pictures": {"rendering": {"width": 8, "height": 8, **file(b"\x89PNG", "image/png")}},
            }
        ],
        "truncated": False,
        "timings_ms": {"decode": 1.5},
        "overlay": {"width": 640, "height": 480, **file(b"over", "image/png")},
    }


def answer(content=None, status=200, packed=False, **headers):
    """An answer of the service."""
    content = tree(packed) if content is None else content
    body = msgpack.packb(content) if packed else json.dumps(content).encode()
    media_type = "application/msgpack" if packed else "application/json"
    return httpx.Response(
        status, content=body, headers={"Content-Type": media_type, "X-Request-ID": "q1"} | headers
    )


def problem(status, code, detail="What is wrong.", **headers):
    """A problem as the service answers it."""
    body = {"type": f"urn:x:{code}", "title": code, "status": status, "detail": detail, "code": code}
    body["request_id"] = "q1"
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(
        status, content=json.dumps(body), headers={"Content-Type": "application/problem+json"} | headers
    )


class Replies:
    """Answers requests one after the other, and keeps them."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        if callable(reply):
            return reply(request)
        # A response can be read once.
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    @property
    def transport(self):
        return httpx.MockTransport(self)


def ask(kind, what, *arguments, server=SERVER, transport=None, client=None, **options):
    """Ask a fresh client of a kind; what comes piece by piece comes as a list."""
    settings = {"transport": transport, **(client or {})}
    if kind == "sync":
        with Client(server, **settings) as opened:
            found = getattr(opened, what)(*arguments, **options)
            return list(found) if what == "reconstruct_many" else found

    async def run():
        async with AsyncClient(server, **settings) as opened:
            found = getattr(opened, what)(*arguments, **options)
            if inspect.isawaitable(found):
                return await found
            return [one async for one in found]

    return asyncio.run(asyncio.wait_for(run(), 30))


class Naps:
    """Takes the place of sleeping, and keeps how long it would have been."""

    def __init__(self):
        self.seconds = []

    def sleep(self, seconds):
        self.seconds.append(seconds)

    async def sleep_async(self, seconds):
        self.seconds.append(seconds)
