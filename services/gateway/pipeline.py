"""What a worker does with a job: the library from bytes to bytes, each stage timed."""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.errors import BackendError, ImageError, InputError, LandmarkError
from inversefacenet.image import decode_photo
from inversefacenet.stages import Recorder, recording, stage
from services.gateway.answers import answer_faces
from services.gateway.encodings import encode
from services.gateway.errors import WorkerCrashedError
from services.gateway.jobs import Answered, FaceMeasure, PhotoJob, Prepared, RenderJob, StageTime
from services.gateway.schemas import FaceModelInfo, ModelInfo, Part

if TYPE_CHECKING:
    from inversefacenet.backends import InferenceBackend
    from inversefacenet.landmarks import Face
    from inversefacenet.morphable_model import MorphableModel
    from inversefacenet.reconstruction import FoundFace, Reconstruction, Reconstructor

_MOST_PIXELS: Final = 16_000_000  # of all renderings and contours of a photo together

MODEL_NAME: Final = "inversefacenet"


@dataclass
class _Waiting:
    """A photo between its two halves; the pixels are kept only if the overlay needs them."""

    job: PhotoJob
    image: UInt8[np.ndarray, "height width 3"] | None
    size: tuple[int, int]
    found: list[FoundFace]
    truncated: bool
    stages: list[StageTime]


class NoBackend:
    """Takes the network's place in workers that never run it: the front asks Triton."""

    name = "triton"
    digest = ""

    def infer(
        self, crops: UInt8[np.ndarray, "faces 240 240 3"], *, timeout: float | None = None
    ) -> Float32[np.ndarray, "faces 350"]:
        """Refuse.

        Raises:
            BackendError: Always.
        """
        raise BackendError("This worker runs no network: its answers come from Triton.")


class Pipeline:
    """Answers jobs. One object serves all threads of its process."""

    def __init__(self, reconstructor: Reconstructor, model: ModelInfo | None = None) -> None:
        """Take what does the work.

        Args:
            reconstructor: The library's use case, loaded.
            model: What answers say of the network; by default what its backend says of itself.
        """
        self.reconstructor = reconstructor
        self.model = model or model_info(reconstructor.backend, reconstructor.model)
        self._waiting: dict[str, _Waiting] = {}

    def whole(self, job: PhotoJob, seconds: float | None = None) -> Answered:
        """Answer a photo with the network that runs here, within so many seconds.

        Raises:
            InverseFaceNetError: If the photo can't be read, has no face, or the network fails.
        """
        waiting = self._first_half(job)
        with recording(_keeper(waiting.stages)):
            thetas = self.reconstructor.infer(waiting.found, timeout=seconds)
        return self._second_half(waiting, thetas, self.model)

    def prepare(self, job: PhotoJob) -> Prepared:
        """Do what comes before the network, and keep the rest under a ticket.

        Raises:
            InverseFaceNetError: If the photo can't be read or has no face.
        """
        from inversefacenet.reconstruction import stack_crops

        waiting = self._first_half(job)
        # Random, so that a ticket of a worker that died can never name another's photo.
        ticket = uuid.uuid4().hex
        self._waiting[ticket] = waiting
        return Prepared(ticket, stack_crops(waiting.found), waiting.stages)

    def finish(
        self, ticket: str, thetas: Float32[np.ndarray, "faces 350"], model: ModelInfo, infer: StageTime
    ) -> Answered:
        """Do what comes after the network.

        Args:
            ticket: As `prepare` gave it; it is used up.
            thetas: What the network answered.
            model: What answered.
            infer: When and how long.

        Raises:
            WorkerCrashedError: If the photo's first half was in a worker that is gone.
            InverseFaceNetError: If the numbers are unusable.
        """
        waiting = self._waiting.pop(ticket, None)
        if waiting is None:
            raise WorkerCrashedError("The worker ended while it worked on this photo.")
        waiting.stages.append(infer)
        return self._second_half(waiting, thetas, model)

    def forget(self, ticket: str) -> None:
        """Drop a photo whose answer nobody waits for any more."""
        self._waiting.pop(ticket, None)

    def render(self, job: RenderJob) -> Answered:
        """Turn parameters into a picture or a mesh."""
        from services.gateway.renderings import answer_rendering

        stages: list[StageTime] = []
        with recording(_keeper(stages)):
            content, media_type = answer_rendering(self.reconstructor.model, self.model, job)
        return Answered(content, media_type, stages=stages)

    def probe(self) -> None:
        """Make a real inference on a blank crop.

        Raises:
            BackendError: If the network doesn't answer.
        """
        self.reconstructor.backend.infer(np.zeros((1, 240, 240, 3), np.uint8))

    def _first_half(self, job: PhotoJob) -> _Waiting:
        from inversefacenet.crop import masked_crop
        from inversefacenet.landmarks import Face
        from inversefacenet.reconstruction import FoundFace

        stages: list[StageTime] = []
        truncated = False
        with recording(_keeper(stages)):
            with stage("decode"):
                image = decode_photo(_file(job), max_bytes=job.max_bytes, max_pixels=job.max_pixels)
            known = [Face.known(points) for points in job.landmarks or ()]
            _check_limits(job, known)
            if job.crop:
                crop = masked_crop(image, known[0].landmarks if known else None)
                box = (0.0, 0.0, 240.0, 240.0)
                found = [FoundFace(Face(box, float("nan"), crop.landmarks), crop)]
            elif known:
                found = self.reconstructor.cut(image, known)
                truncated = False
            else:
                found = self.reconstructor.find(
                    image, job.faces, minimum_size=job.minimum_size, limit=job.max_faces + 1
                )
                truncated = len(found) > job.max_faces
                found = found[: job.max_faces]
        _check_work(job, len(found))
        size = (image.shape[1], image.shape[0])
        kept = image if Part.OVERLAY in job.output.parts else None
        return _Waiting(job, kept, size, found, truncated, stages)

    def _second_half(
        self, waiting: _Waiting, thetas: Float32[np.ndarray, "faces 350"], model: ModelInfo
    ) -> Answered:
        stages, output = waiting.stages, waiting.job.output
        with recording(_keeper(stages)):
            reconstructions = self.reconstructor.finish(waiting.found, thetas)
            answer = answer_faces(
                waiting.image, waiting.size, reconstructions, model, output, truncated=waiting.truncated
            )
            answer.timings_ms = timings(stages)
            with stage("encode"):
                content, media_type = encode(answer, output)
        return Answered(content, media_type, len(reconstructions), stages, _measures(reconstructions))


def _keeper(stages: list[StageTime]) -> Recorder:
    def keep(name: str, began: float, seconds: float) -> None:
        stages.append((name, began, seconds))

    return keep


def _file(job: PhotoJob) -> bytes:
    if not job.base64:
        return job.content
    try:
        return base64.b64decode(job.content, validate=True)
    except binascii.Error as error:
        raise ImageError(f"The photo's base64 text can't be read: {error}.") from error


def _check_limits(job: PhotoJob, known: list[Face]) -> None:
    if len(known) > job.max_faces:
        raise LandmarkError(f"Landmarks of {len(known)} faces came; the limit is {job.max_faces} a photo.")
    if job.crop and len(known) > 1:
        raise LandmarkError(f"A crop shows one face, but landmarks of {len(known)} came.")


def _check_work(job: PhotoJob, faces: int) -> None:
    """Bound what one photo may ask to be drawn."""
    drawn = len(job.output.parts & {Part.RENDERING, Part.CONTOURS}) * faces * job.output.size**2
    if drawn > _MOST_PIXELS:
        raise InputError(
            f"The pictures of {faces} faces have too many pixels together: ask for a smaller size or fewer "
            f"faces. {_MOST_PIXELS:,} pixels are the most."
        )


def _measures(reconstructions: list[Reconstruction]) -> list[FaceMeasure]:
    return [
        FaceMeasure(one.quality.photometric, one.quality.iou, one.quality.nme, one.confidence)
        for one in reconstructions
    ]


def timings(stages: list[StageTime]) -> dict[str, float]:
    """Return milliseconds by stage; a stage that ran several times is summed up."""
    total: dict[str, float] = {}
    for name, _, seconds in stages:
        total[name] = total.get(name, 0.0) + 1000 * seconds
    return {name: round(milliseconds, 3) for name, milliseconds in total.items()}


def model_info(backend: InferenceBackend, face_model: MorphableModel, version: str = "") -> ModelInfo:
    """Name the network and the face model that answer."""
    from inversefacenet.confidence import ConfidenceModel

    calibrated = ConfidenceModel.load_default().calibrated_for(backend.digest, face_model.digest)
    return ModelInfo(
        name=MODEL_NAME,
        version=version,
        digest=backend.digest,
        backend=backend.name,
        face_model=FaceModelInfo(name=face_model.name, digest=face_model.digest),
        confidence_calibrated=calibrated,
    )


def warm_up(pipeline: Pipeline) -> None:
    """Take a rendered face through everything that a photo goes through.

    The first photo then costs what the thousandth costs: by then numba has compiled its kernels and dlib
    has read its files.

    Raises:
        InverseFaceNetError: If a part doesn't work.
    """
    from contextlib import suppress

    from inversefacenet.errors import NoFaceError
    from inversefacenet.landmarks import Face
    from inversefacenet.parameters import Parameters
    from inversefacenet.rendering import render
    from services.gateway.jobs import Output

    reconstructor = pipeline.reconstructor
    neutral = Parameters.neutral()
    rendering = render(reconstructor.model, neutral)
    border = 80
    picture = np.pad(rendering.image, ((border, border), (border, border), (0, 0)), constant_values=128)
    # The detector may or may not take it for a face; the rest goes on with what we know of it.
    with suppress(NoFaceError):
        reconstructor.detector.detect(picture, faces="largest")
    found = reconstructor.cut(picture, [Face.known(rendering.landmarks + np.float32(border))])
    reconstructions = reconstructor.finish(found, neutral.vector()[None])
    output = Output(frozenset(Part))
    size = (picture.shape[1], picture.shape[0])
    encode(answer_faces(picture, size, reconstructions, pipeline.model, output), output)
    if not isinstance(reconstructor.backend, NoBackend):
        pipeline.probe()
