"""What a worker does with a frame of a video: the library from bytes to bytes, each stage timed.

The video's state comes with the frame and goes with its answer: any worker may do the next frame.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from inversefacenet.image import decode_photo
from inversefacenet.stages import recording, stage
from services.gateway.errors import WorkerCrashedError
from services.gateway.jobs import Answered, FaceMeasure, Prepared, StageTime
from services.gateway.protobuf import MEDIA_TYPE
from services.gateway.schemas import ModelInfo
from services.gateway.stage_times import keeper, timings
from services.gateway.track_jobs import Followed, TrackJob

if TYPE_CHECKING:
    from inversefacenet.reconstruction import Reconstructor
    from inversefacenet.tracking.frames import Pending, TrackedFrame
    from inversefacenet.tracking.steps import TrackingSteps


@dataclass
class _Waiting:
    """A frame between two of its steps."""

    job: TrackJob
    steps: TrackingSteps
    pending: Pending
    size: tuple[int, int]
    stages: list[StageTime]


class FrameWork:
    """Does frames; one object serves all threads of its process."""

    def __init__(self, reconstructor: Reconstructor) -> None:
        """Take what does the work."""
        self._reconstructor = reconstructor
        self._waiting: dict[str, _Waiting] = {}
        self._usual: TrackingSteps | None = None

    def whole(self, job: TrackJob, model: ModelInfo, seconds: float | None = None) -> Followed:
        """Answer a frame with the network that runs here, within so many seconds.

        Raises:
            InverseFaceNetError: If the frame can't be read, or the network fails.
        """
        step = self._begin(job, model)
        while isinstance(step, _Waiting):
            with recording(keeper(step.stages)):
                (theta,) = self._reconstructor.infer([step.pending.found], timeout=seconds)
            step = self._proceed(step, theta, model)
        return step

    def prepare(self, job: TrackJob, model: ModelInfo) -> Prepared | Followed:
        """Do what comes before the network, and keep the rest under a ticket; see `Pipeline.prepare`.

        Raises:
            InverseFaceNetError: If the frame can't be read.
        """
        return self._kept(self._begin(job, model))

    def finish(
        self, ticket: str, thetas: Float32[np.ndarray, "faces 350"], model: ModelInfo, infer: StageTime
    ) -> Prepared | Followed:
        """Do what comes after the network; it may have to be asked once more, for a face that was searched.

        Args:
            ticket: As `prepare` or `finish` gave it; it is used up.
            thetas: What the network answered.
            model: What answered.
            infer: When and how long.

        Raises:
            WorkerCrashedError: If the frame's first half was in a worker that is gone.
            InverseFaceNetError: If the numbers are unusable.
        """
        waiting = self._waiting.pop(ticket, None)
        if waiting is None:
            raise WorkerCrashedError("The worker ended while it worked on this frame.")
        waiting.stages.append(infer)
        (theta,) = thetas
        return self._kept(self._proceed(waiting, theta, model))

    def forget(self, ticket: str) -> None:
        """Drop a frame whose answer nobody waits for any more."""
        self._waiting.pop(ticket, None)

    def _kept(self, step: _Waiting | Followed) -> Prepared | Followed:
        from inversefacenet.reconstruction import stack_crops

        if isinstance(step, Followed):
            return step
        ticket = uuid.uuid4().hex
        self._waiting[ticket] = step
        return Prepared(ticket, stack_crops([step.pending.found]), step.stages)

    def _begin(self, job: TrackJob, model: ModelInfo) -> _Waiting | Followed:
        from inversefacenet.tracking.frames import TrackedFrame

        steps, stages = self._steps(job), list[StageTime]()
        with recording(keeper(stages)):
            with stage("decode"):
                image = decode_photo(job.content, max_bytes=job.max_bytes, max_pixels=job.max_pixels)
            step = steps.begin(image, job.seconds, job.state)
        size = (image.shape[1], image.shape[0])
        if isinstance(step, TrackedFrame):
            return _followed(step, job, size, model, stages)
        return _Waiting(job, steps, step, size, stages)

    def _proceed(
        self, waiting: _Waiting, theta: Float32[np.ndarray, "350"], model: ModelInfo
    ) -> _Waiting | Followed:
        from inversefacenet.tracking.frames import TrackedFrame

        with recording(keeper(waiting.stages)):
            step = waiting.steps.proceed(waiting.pending, theta)
        if isinstance(step, TrackedFrame):
            return _followed(step, waiting.job, waiting.size, model, waiting.stages)
        return replace(waiting, pending=step)

    def _steps(self, job: TrackJob) -> TrackingSteps:
        from inversefacenet.tracking.options import TrackingOptions
        from inversefacenet.tracking.steps import TrackingSteps

        if self._usual is None:  # made for the first frame: photos don't need it
            self._usual = TrackingSteps(self._reconstructor)
        options = TrackingOptions(minimum_size=job.minimum_size)
        if job.least_confidence is not None:
            options = replace(options, least_confidence=job.least_confidence)
        return self._usual.with_options(options)


def _followed(
    tracked: TrackedFrame,
    job: TrackJob,
    size: tuple[int, int],
    model: ModelInfo,
    stages: list[StageTime],
) -> Followed:
    from services.gateway.protobuf_tracks import encode_frame

    with recording(keeper(stages)), stage("encode"):
        content = encode_frame(tracked, size, model, timings(stages), single_frames=job.single_frames)
    face = tracked.reconstruction
    measures = (
        []
        if face is None
        else [FaceMeasure(face.quality.photometric, face.quality.iou, face.quality.nme, face.confidence)]
    )
    return Followed(Answered(content, MEDIA_TYPE, len(measures), stages, measures), tracked.next)
