"""Photo bytes in, JSON bytes out: the library behind the worker pool, each stage timed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from inversefacenet.image import decode_photo
from services.gateway.answers import answer_faces
from services.gateway.context import current_notes
from services.gateway.metrics import Metrics
from services.gateway.readiness import Readiness
from services.gateway.schemas import FaceChoice, FaceModelInfo, ModelInfo, Part
from services.gateway.settings import Settings
from services.gateway.workers import WorkerPool

if TYPE_CHECKING:
    from inversefacenet.reconstruction import Reconstruction, Reconstructor

logger = logging.getLogger(__name__)


class Engine:
    """Holds what one process needs to answer: the reconstructor, the pool, the proof of readiness."""

    def __init__(self, settings: Settings, metrics: Metrics, reconstructor: Reconstructor) -> None:
        """Put the parts together; call it inside the running event loop.

        Args:
            settings: The operator's choices.
            metrics: Counters to keep.
            reconstructor: The library's use case, loaded and warm.
        """
        self._settings = settings
        self._metrics = metrics
        self._reconstructor = reconstructor
        self._pool = WorkerPool(settings.workers, settings.queue, metrics)
        self.readiness = Readiness(
            lambda: probe(reconstructor), settings.probe_interval, settings.probe_timeout, metrics
        )
        self.model = model_info(reconstructor)
        metrics.model.labels(self.model.name, self.model.digest, self.model.face_model.name).set(1)

    def check_room(self) -> None:
        """Refuse a request while the queue is full, before its body is read.

        Raises:
            OverloadedError: If there is no room.
        """
        self._pool.check_room()

    async def reconstruct(self, photo: bytes, faces: FaceChoice, parts: Set[Part]) -> bytes:
        """Reconstruct a photo's faces in a worker.

        Args:
            photo: The file's bytes.
            faces: The largest face or all of them.
            parts: What the answer is to hold.

        Returns:
            A `ReconstructionAnswer` as JSON.

        Raises:
            InverseFaceNetError: If the photo can't be read, has no face, or the backend fails.
        """
        return await self._pool.run(lambda: self._work(photo, faces, parts))

    def _work(self, photo: bytes, faces: FaceChoice, parts: Set[Part]) -> bytes:
        stages = _Stages(self._metrics)
        with stages.timed("decode"):
            image = decode_photo(
                photo, max_bytes=self._settings.max_body_bytes, max_pixels=self._settings.max_pixels
            )
        with stages.timed("reconstruct"):
            reconstructions = self._reconstructor.reconstruct(image, faces=faces)
        self._observe(reconstructions)
        with stages.timed("encode"):
            answer = answer_faces(image, reconstructions, self.model, parts)
        answer.timings_ms.update({name: round(1000 * seconds, 3) for name, seconds in stages.seconds.items()})
        return answer.model_dump_json(exclude_none=True).encode()

    def _observe(self, reconstructions: list[Reconstruction]) -> None:
        self._metrics.faces.inc(len(reconstructions))
        for reconstruction in reconstructions:
            self._metrics.photometric.observe(reconstruction.quality.photometric)
            self._metrics.iou.observe(reconstruction.quality.iou)
        notes = current_notes()
        if notes is not None:
            notes.details["faces"] = len(reconstructions)

    def close(self) -> None:
        """Wait for the work that runs, and end the threads."""
        self._pool.close()
        self.readiness.close()


class _Stages:
    """Times the stages of one reconstruction."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = time.perf_counter() - started
            self._metrics.stage_seconds.labels(stage).observe(self.seconds[stage])


def model_info(reconstructor: Reconstructor) -> ModelInfo:
    """Name the network and the face model that answer."""
    backend, face_model = reconstructor.backend, reconstructor.model
    return ModelInfo(
        name=backend.name,
        digest=backend.digest,
        face_model=FaceModelInfo(name=face_model.name, digest=face_model.digest),
    )


def probe(reconstructor: Reconstructor) -> None:
    """Make a real inference on a blank crop.

    Raises:
        InverseFaceNetError: If the backend doesn't answer.
    """
    reconstructor.backend.infer(np.zeros((1, 240, 240, 3), np.uint8))


def load_reconstructor(settings: Settings) -> Reconstructor:
    """Load detector, network and face model, and warm them up.

    Raises:
        InverseFaceNetError: If a part is missing or damaged.
    """
    from inversefacenet.backends.onnx import OnnxBackend
    from inversefacenet.reconstruction import Reconstructor

    started = time.perf_counter()
    reconstructor = Reconstructor(backend=OnnxBackend(settings.model_path, threads=settings.threads))
    warm_up(reconstructor)
    logger.info("models loaded", extra={"seconds": round(time.perf_counter() - started, 3)})
    return reconstructor


def warm_up(reconstructor: Reconstructor) -> None:
    """Take a rendered face through everything that a photo goes through.

    The first photo then costs what the thousandth costs: by then numba has compiled its kernels and dlib
    has read its files.

    Raises:
        InverseFaceNetError: If a part doesn't work.
    """
    from inversefacenet.errors import NoFaceError
    from inversefacenet.landmarks import Face
    from inversefacenet.parameters import Parameters
    from inversefacenet.rendering import render

    rendering = render(reconstructor.model, Parameters.neutral())
    border = 80
    picture = np.pad(rendering.image, ((border, border), (border, border), (0, 0)), constant_values=128)
    # The detector may or may not take it for a face; the rest goes on with what we know of it.
    with suppress(NoFaceError):
        reconstructor.detector.detect(picture, faces="largest")
    side = float(len(picture))
    face = Face(box=(0.0, 0.0, side, side), score=0.0, landmarks=rendering.landmarks + np.float32(border))
    answer_faces(
        picture, reconstructor.reconstruct_faces(picture, [face]), model_info(reconstructor), set(Part)
    )
