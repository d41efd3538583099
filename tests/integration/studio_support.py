"""Stand-ins for detector and network, and a client that runs the studio in this process."""

from __future__ import annotations

import asyncio
import io
from contextlib import asynccontextmanager
from functools import cache

import httpx
import numpy as np
from PIL import Image

from inversefacenet.errors import NoFaceError
from inversefacenet.landmarks import Face
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import PARAMETER_COUNT, Parameters
from inversefacenet.reconstruction import Reconstructor
from inversefacenet.rendering import render
from services.studio.app import create_app
from services.studio.settings import Settings

ORIGIN = "http://127.0.0.1"


@cache
def face_model():
    return MorphableModel.load_default()


@cache
def rendered_face():
    return render(face_model(), Parameters.neutral())


@cache
def photo_bytes(form="PNG"):
    """A photo of 320 x 300 pixels that shows the mean face, drawn at the size of the crop."""
    picture = np.full((300, 320, 3), (120, 130, 140), np.uint8)
    face = rendered_face()
    picture[30:270, 40:280][face.mask] = face.image[face.mask]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, form)
    return buffer.getvalue()


def black_photo():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    return buffer.getvalue()


class FakeDetector:
    """Finds the mean face, and a smaller one beside it, in every photo that is not black."""

    def detect(self, image, *, faces="largest", minimum_size=None, limit=None):
        if not image.any():
            raise NoFaceError("No face was found. Use another photo.")
        landmarks = (rendered_face().landmarks + np.array([40, 30])).astype(np.float32)
        found = [
            Face((45.0, 35.0, 275.0, 265.0), 1.5, landmarks, 0.005),
            Face((45.0, 35.0, 160.0, 150.0), 1.0, (landmarks * np.float32(0.5)).astype(np.float32), 0.005),
        ]
        return found[: 1 if faces == "largest" else limit]


class FakeBackend:
    """Answers the mean face in white light for whatever it sees."""

    name = "fake"
    digest = "ab" * 32

    def infer(self, crops, *, timeout=None):
        answer = np.zeros((len(crops), PARAMETER_COUNT), np.float32)
        answer[:] = Parameters.neutral().vector()
        return answer


def settings(**values):
    # The optimiser takes its time: a test that wants it says so.
    return Settings(_env_file=None, **{"refine": 0, **values})


@asynccontextmanager
async def running(**values):
    """Run a studio; yields a client and the studio itself."""
    app = create_app(settings(**values), Reconstructor(FakeDetector(), FakeBackend(), face_model()))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            yield client, app.state.studio


def with_studio(work, **values):
    """Run a coroutine function with a client and a studio."""

    async def run():
        async with running(**values) as (client, studio):
            return await work(client, studio)

    return asyncio.run(run())


async def opened(client, photo=None):
    """Open a photo and return the session's address and the answer."""
    answer = await client.post("/api/sessions", content=photo or photo_bytes())
    assert answer.status_code == 201, answer.text
    found = answer.json()
    return f"/api/sessions/{found['session']}", found


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(np.int16)
