"""What one process holds: the pipeline, the photos, and the threads that work on them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.editing import LIGHTS
from inversefacenet.landmarks import FaceDetector
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.reconstruction import Reconstructor
from services.studio.controls import expression_controls
from services.studio.errors import SupersededError
from services.studio.head import layout_bytes
from services.studio.pages import demo_photo
from services.studio.portrait import open_portrait
from services.studio.sessions import Session, SessionStore
from services.studio.settings import Settings
from services.studio.workers import Lane

Answer = TypeVar("Answer")

_SWEEP_SECONDS = 15.0

logger = logging.getLogger(__name__)


class Studio:
    """One process's state.

    Attributes:
        settings: The operator's choices.
        sessions: The photos.
        photos: Threads for what takes seconds: new photos, files to take home.
        edits: Threads for what takes milliseconds.
        layout: The mesh's layout for the page's viewer.
    """

    def __init__(self, settings: Settings, reconstructor: Reconstructor | None = None) -> None:
        """Load nothing yet.

        Args:
            settings: The operator's choices.
            reconstructor: In place of the one that the settings describe.
        """
        self.settings = settings
        self.sessions = SessionStore(settings.max_sessions, settings.max_memory_bytes, settings.session_idle)
        self.photos = Lane("studio-photo", settings.photo_workers, settings.queue)
        self.edits = Lane("studio-edit", settings.edit_workers, settings.queue)
        self.layout = b""
        self._reconstructor = reconstructor
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def reconstructor(self) -> Reconstructor:
        """The pipeline, once `open` has loaded it."""
        if self._reconstructor is None:
            raise RuntimeError("the studio is not open yet")
        return self._reconstructor

    @property
    def model(self) -> MorphableModel:
        """The face model."""
        return self.reconstructor.model

    async def open(self) -> None:
        """Load the models and run every step once, so that the first visitor doesn't wait for compilers.

        Raises:
            InverseFaceNetError: If a model is missing or damaged.
        """
        if self._reconstructor is None:
            self._reconstructor = await self.photos.run(partial(load_reconstructor, self.settings))
            await self.photos.run(partial(warm_up, self._reconstructor))
        self.layout = await self.photos.run(partial(layout_bytes, self.model))
        self._sweeper = asyncio.ensure_future(self._sweep())

    async def close(self) -> None:
        """Drop what waits, and all photos."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        self.photos.close()
        self.edits.close()

    def options(self) -> dict[str, object]:
        """Return what the page's controls are made of, ready for JSON."""
        return {
            "lights": [
                {"name": name, "coefficients": light.coefficients().tolist()}
                for name, light in LIGHTS.items()
            ],
            "expressions": expression_controls(self.model.unit_names),
            "max_bytes": self.settings.max_body_bytes,
            "idle_seconds": self.settings.session_idle,
        }

    async def latest(self, session: Session, kind: str, number: int, work: Callable[[], Answer]) -> Answer:
        """Do an edit's work, unless a later edit of the same kind comes while it waits for a thread.

        Raises:
            SupersededError: If one came.
        """
        session.announce(kind, number)

        def unless_obsolete() -> Answer:
            if session.obsolete(kind, number):
                raise SupersededError("A later edit came before this one was begun.")
            return work()

        return await self.edits.run(unless_obsolete)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, self.settings.session_idle))
            self.sessions.sweep()


def load_reconstructor(settings: Settings) -> Reconstructor:
    """Load the pipeline that the settings describe.

    Raises:
        InverseFaceNetError: If a model is missing or damaged.
    """
    model = MorphableModel.load(settings.face_model_path) if settings.face_model_path else None
    detector = FaceDetector(predictor=settings.landmarks)
    detector.load()
    return Reconstructor(detector, OnnxBackend(settings.model_path), model)


def warm_up(reconstructor: Reconstructor) -> None:
    """Run each step once on the demo photo."""
    from services.studio.anatomy import PARTS, part_picture
    from services.studio.look import Look

    data = demo_photo()
    portrait = open_portrait(
        reconstructor, data, max_bytes=len(data), max_pixels=64_000_000, max_faces=1, refine=1
    )
    turned = Look(edits=[{"edit": "relight", "light": "left"}, {"edit": "pose", "yaw": 5}])
    for view in ("photo", "model"):
        portrait.picture(turned, 256, view)
    for part in PARTS:
        part_picture(portrait.model, portrait.reconstruction.parameters, part, 64)
