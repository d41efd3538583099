"""What a worker does with a job: the library from bytes to bytes, each stage timed."""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.errors import BackendError, ImageError, InputError, LandmarkError, NoFaceError
from inversefacenet.image import decode_photo
from inversefacenet.stages import recording, stage
from services.gateway.answers import answer_faces
from services.gateway.deadline import Deadline
from services.gateway.encodings import encode
from services.gateway.errors import WorkerCrashedError
from services.gateway.frame_work import FrameWork
from services.gateway.jobs import Answered, EditJob, FaceMeasure, PhotoJob, Prepared, RenderJob, StageTime
from services.gateway.refinement import check_effort, refined
from services.gateway.request_schemas import LARGEST_TEXTURE
from services.gateway.schemas import FaceModelInfo, ModelInfo, Part
from services.gateway.stage_times import keeper, timings
from services.gateway.track_jobs import Followed, TrackJob

if TYPE_CHECKING:
    from inversefacenet.backends import InferenceBackend
    from inversefacenet.landmarks import Face
    from inversefacenet.morphable_model import MorphableModel
    from inversefacenet.reconstruction import FoundFace, Reconstruction, Reconstructor
    from services.gateway.edit_schemas import EditOptions

_MOST_PIXELS: Final = 16_000_000  # of all renderings and contours of a photo together

MODEL_NAME: Final = "inversefacenet"


@dataclass
class _Waiting:
    """A photo between its two halves; the pixels are kept only if the answer needs them.

    The last of the faces that were found belong to other photos, which an edit takes something from.
    """

    job: PhotoJob
    image: UInt8[np.ndarray, "height width 3"] | None
    size: tuple[int, int]
    found: list[FoundFace]
    truncated: bool
    stages: list[StageTime]
    edit: EditJob | None = None
    others: tuple[str, ...] = ()


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
        self._frames = FrameWork(reconstructor)

    def whole(self, job: PhotoJob | EditJob, seconds: float | None = None) -> Answered:
        """Answer a photo with the network that runs here, within so many seconds.

        Raises:
            InverseFaceNetError: If the photo can't be read, has no face, or the network fails.
        """
        deadline = _deadline(seconds)
        waiting = self._first_half(job)
        with recording(keeper(waiting.stages)):
            thetas = self.reconstructor.infer(waiting.found, timeout=seconds)
        return self._second_half(waiting, thetas, self.model, deadline)

    def prepare(self, job: PhotoJob | EditJob) -> Prepared:
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
        self,
        ticket: str,
        thetas: Float32[np.ndarray, "faces 350"],
        model: ModelInfo,
        infer: StageTime,
        seconds: float | None = None,
    ) -> Answered:
        """Do what comes after the network, within so many seconds.

        Args:
            ticket: As `prepare` gave it; it is used up.
            thetas: What the network answered.
            model: What answered.
            infer: When and how long.
            seconds: As for `whole`.

        Raises:
            WorkerCrashedError: If the photo's first half was in a worker that is gone.
            InverseFaceNetError: If the numbers are unusable.
        """
        waiting = self._waiting.pop(ticket, None)
        if waiting is None:
            raise WorkerCrashedError("The worker ended while it worked on this photo.")
        waiting.stages.append(infer)
        return self._second_half(waiting, thetas, model, _deadline(seconds))

    def forget(self, ticket: str) -> None:
        """Drop a photo whose answer nobody waits for any more."""
        self._waiting.pop(ticket, None)
        self._frames.forget(ticket)

    def track(self, job: TrackJob, seconds: float | None = None) -> Followed:
        """Answer a frame of a video with the network that runs here; see `FrameWork.whole`."""
        return self._frames.whole(job, self.model, seconds)

    def prepare_track(self, job: TrackJob, model: ModelInfo) -> Prepared | Followed:
        """Do what comes before the network for a frame; see `FrameWork.prepare`."""
        return self._frames.prepare(job, model)

    def finish_track(
        self, ticket: str, thetas: Float32[np.ndarray, "faces 350"], model: ModelInfo, infer: StageTime
    ) -> Prepared | Followed:
        """Do what comes after the network for a frame; see `FrameWork.finish`."""
        return self._frames.finish(ticket, thetas, model, infer)

    def render(self, job: RenderJob) -> Answered:
        """Turn parameters into a picture or a mesh."""
        from services.gateway.renderings import answer_rendering

        stages: list[StageTime] = []
        with recording(keeper(stages)):
            content, media_type = answer_rendering(self.reconstructor.model, self.model, job)
        return Answered(content, media_type, stages=stages)

    def edit_options(self) -> EditOptions:
        """Return what edits may name."""
        from services.gateway.edit_answers import edit_options

        return edit_options(self.reconstructor.model)

    def probe(self) -> None:
        """Make a real inference on a blank crop.

        Raises:
            BackendError: If the network doesn't answer.
        """
        self.reconstructor.backend.infer(np.zeros((1, 240, 240, 3), np.uint8))

    def _first_half(self, job: PhotoJob | EditJob) -> _Waiting:
        stages: list[StageTime] = []
        with recording(keeper(stages)):
            if isinstance(job, EditJob):
                waiting = self._begin_edit(job, stages)
            else:
                waiting = self._begin(job, stages, keep=job.output.needs_photo)
        return waiting

    def _begin_edit(self, job: EditJob, stages: list[StageTime]) -> _Waiting:
        from services.gateway.edit_answers import check_edits

        # What is wrong with the edits is told before anything is done for them.
        check_edits(self.reconstructor.model, job)
        waiting = self._begin(job.photo, stages, keep=True)
        waiting.edit = job
        for name, other in job.others.items():
            if isinstance(other, PhotoJob):
                try:
                    found = self._begin(other, stages, keep=False).found
                except (InputError, NoFaceError) as error:
                    raise type(error)(f"The photo of '{name}': {error}") from error
                waiting.found += found
                waiting.others += (name,)
        check_effort(job.photo.refine, len(waiting.found))
        return waiting

    def _begin(self, job: PhotoJob, stages: list[StageTime], *, keep: bool) -> _Waiting:
        from inversefacenet.crop import masked_crop
        from inversefacenet.landmarks import Face
        from inversefacenet.reconstruction import FoundFace

        truncated = False
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
        else:
            found = self.reconstructor.find(
                image, job.faces, minimum_size=job.minimum_size, limit=job.max_faces + 1
            )
            truncated = len(found) > job.max_faces
            found = found[: job.max_faces]
        _check_work(job, len(found))
        check_effort(job.refine, len(found))
        size = (image.shape[1], image.shape[0])
        return _Waiting(job, image if keep else None, size, found, truncated, stages)

    def _second_half(
        self,
        waiting: _Waiting,
        thetas: Float32[np.ndarray, "faces 350"],
        model: ModelInfo,
        deadline: Deadline | None,
    ) -> Answered:
        stages, output = waiting.stages, waiting.job.output
        with recording(keeper(stages)):
            reconstructions = self.reconstructor.finish(waiting.found, thetas)
            reconstructions = refined(self.reconstructor, reconstructions, waiting.job.refine, deadline)
            own = reconstructions[: len(reconstructions) - len(waiting.others)]
            if waiting.edit is None:
                answer = answer_faces(
                    waiting.image, waiting.size, own, model, output, truncated=waiting.truncated
                )
                answer.timings_ms = timings(stages)
                with stage("encode"):
                    content, media_type = encode(answer, output)
            else:
                content, media_type = self._edited(waiting, own, reconstructions[len(own) :], model, deadline)
        return Answered(content, media_type, len(own), stages, _measures(own))

    def _edited(
        self,
        waiting: _Waiting,
        faces: list[Reconstruction],
        lent: list[Reconstruction],
        model: ModelInfo,
        deadline: Deadline | None,
    ) -> tuple[bytes, str]:
        from services.gateway.edit_answers import answer_edit
        from services.gateway.edit_encodings import encode_edit

        assert waiting.edit is not None
        assert waiting.image is not None, "an edit keeps its photo"
        others = {name: one.parameters for name, one in zip(waiting.others, lent, strict=True)}
        answer = answer_edit(
            waiting.image, faces, others, waiting.edit, model, truncated=waiting.truncated, deadline=deadline
        )
        answer.timings_ms = timings(waiting.stages)
        with stage("encode"):
            return encode_edit(answer, waiting.job.output)


def _deadline(seconds: float | None) -> Deadline | None:
    return None if seconds is None else Deadline.after(seconds)


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
    output = job.output
    if Part.MESH in output.parts and output.mesh_colours == "photo":
        texels = faces * output.texture_size**2
        if texels > LARGEST_TEXTURE**2:
            raise InputError(
                f"The textures of {faces} faces are too large together: ask for a smaller texture_size or "
                f"fewer faces. {LARGEST_TEXTURE} x {LARGEST_TEXTURE} texels are the most."
            )
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


def model_info(backend: InferenceBackend, face_model: MorphableModel, version: str = "") -> ModelInfo:
    """Name the network and the face model that answer."""
    from inversefacenet.confidence import ConfidenceModel

    calibrated = ConfidenceModel.for_network(backend.digest).calibrated_for(backend.digest, face_model.digest)
    return ModelInfo(
        name=MODEL_NAME,
        version=version,
        digest=backend.digest,
        backend=backend.name,
        face_model=FaceModelInfo(name=face_model.name, digest=face_model.digest),
        confidence_calibrated=calibrated,
    )
