"""Stand-ins for detector and network, and a client that runs the application in this process."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache

import httpx
import numpy as np
from PIL import Image

from inversefacenet.errors import BackendError, NoFaceError
from inversefacenet.landmarks import Face
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.reconstruction import Reconstructor
from inversefacenet.rendering import render
from services.gateway.app import create_app
from services.gateway.schemas import Problem
from services.gateway.settings import Settings

DIGEST = "ab" * 32


def photo_bytes(width=64, height=48, colour=(200, 150, 120), form="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, format=form)
    return buffer.getvalue()


@cache
def face_model():
    return MorphableModel.load_default()


@cache
def mean_landmarks():
    """Where the mean face's landmarks lie when it fills a photo of 64 x 48 pixels."""
    landmarks = render(face_model(), Parameters.neutral()).landmarks
    return (landmarks * 0.19 + np.array([9, 1])).astype(np.float32)


class FakeDetector:
    """Finds the same face, and a smaller one, in every photo that is not black."""

    def __init__(self):
        self.started = threading.Semaphore(0)
        self.hold = None
        self.error = None
        self.asked = {}

    def detect(self, image, *, faces="largest", minimum_size=None, limit=None):
        self.asked = {"faces": faces, "minimum_size": minimum_size, "limit": limit}
        self.started.release()
        if self.hold is not None:
            self.hold.wait(20)
        if self.error is not None:
            raise self.error
        if not image.any():
            raise NoFaceError("No face was found.")
        landmarks = mean_landmarks()
        found = [
            Face(box=(8.0, 6.0, 52.0, 42.0), score=1.25, landmarks=landmarks),
            Face(box=(0.0, 0.0, 8.0, 8.0), score=0.5, landmarks=landmarks * np.float32(0.2)),
        ]
        return found[: 1 if faces == "largest" else limit]


class FakeBackend:
    """Turns each face by its crop's red: a full red is a radian."""

    name = "fake"
    digest = DIGEST

    def __init__(self):
        self.calls = 0
        self.error = None
        self.hold = None

    def infer(self, crops, *, timeout=None):
        self.calls += 1
        if self.hold is not None:
            self.hold.wait(20)
        if self.error is not None:
            raise self.error
        theta = np.tile(Parameters.neutral().vector(), (len(crops), 1))
        theta[:, 0] = crops[..., 0].max(axis=(1, 2)) / np.float32(255)
        return theta


class FakeReconstructor(Reconstructor):
    """The real pipeline with the real face model; detector and network are stand-ins."""

    detector: FakeDetector
    backend: FakeBackend

    def __init__(self):
        super().__init__(FakeDetector(), FakeBackend(), face_model())


def make_settings(**changes):
    values = {
        "workers": 1,
        "queue": 1,
        "probe_interval": 0.0,
        "grpc_port": None,
        "_env_file": None,
        **changes,
    }
    return Settings(**values)


@asynccontextmanager
async def running(reconstructor, **changes) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(make_settings(**changes), reconstructor)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield client


def serve(
    check: Callable[[httpx.AsyncClient], Awaitable[None]],
    reconstructor: FakeReconstructor | None = None,
    **changes,
) -> None:
    """Run an asynchronous check against a fresh application."""

    async def run():
        async with running(reconstructor or FakeReconstructor(), **changes) as client:
            await check(client)

    asyncio.run(asyncio.wait_for(run(), 60))


def scope_of(path, headers):
    """Return the ASGI scope of a POST, for what httpx can't do."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("gateway", 80),
        "client": ("127.0.0.1", 1),
    }


def gateway_of(client):
    """Return the gateway behind a client."""
    return client._transport.app.state.gateway


def assert_problem(response, status, code):
    """Check that an answer is a certain problem, and return it."""
    assert response.status_code == status, response.content[:500]
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert (problem.status, problem.code) == (status, code), problem.detail
    assert problem.type == f"urn:inversefacenet:problem:{code}"
    assert problem.request_id == response.headers["x-request-id"]
    return problem


def broken_backend_error():
    return BackendError("The network /srv/secret/model.onnx failed.")


async def wait_started(reconstructor: FakeReconstructor):
    """Wait, off the event loop, until a photo has reached the detector."""
    assert await asyncio.to_thread(reconstructor.detector.started.acquire, timeout=20)


def metric(text, name, **labels):
    """Return one sample of the text format; None if it isn't there."""
    from prometheus_client.parser import text_string_to_metric_families

    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items()):
                return sample.value
    return None
