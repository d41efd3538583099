"""Photo bytes in, answer bytes out: the worker pool, and Triton between a photo's two halves."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.confidence import ConfidenceModel
from inversefacenet.errors import BackendError, InverseFaceNetError
from services.gateway.context import current_notes
from services.gateway.deadline import Deadline
from services.gateway.edit_schemas import EditOptions
from services.gateway.errors import DrainingError, NotFoundError
from services.gateway.jobs import Answered, EditJob, PhotoJob, Prepared, RenderJob
from services.gateway.metrics import Metrics
from services.gateway.readiness import Readiness
from services.gateway.schemas import ModelInfo
from services.gateway.settings import Settings
from services.gateway.slots import missing_worker
from services.gateway.tracing import Tracing
from services.gateway.track_jobs import Followed, TrackJob
from services.gateway.workers import Place, WorkerPool

logger = logging.getLogger(__name__)


class RemoteBackend(Protocol):
    """Runs the network elsewhere, asked from the event loop.

    Attributes:
        name: Name of the engine, for answers and metrics.
        version: Its version of the network; empty before the first contact.
        digest: SHA-256 of the network's file; empty before the first contact.
    """

    name: str
    version: str
    digest: str

    async def infer_async(
        self,
        crops: UInt8[np.ndarray, "faces 240 240 3"],
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Float32[np.ndarray, "faces 350"]:
        """Run the network on masked sRGB crops, within so many seconds."""
        ...

    async def close_async(self) -> None:
        """End the connection."""
        ...


class Engine:
    """Holds what one service needs to answer: the pool, the remote network, the proof of readiness.

    Attributes:
        readiness: The proof that photos can be answered.
        draining: The service is stopping and takes no new work.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        pool: WorkerPool,
        model: ModelInfo,
        remote: RemoteBackend | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """Put the parts together; call it inside the running event loop.

        Args:
            settings: The operator's choices.
            metrics: Counters to keep.
            pool: The started workers.
            model: What they say of themselves.
            remote: Runs the network instead of the workers.
            tracing: Told the stages of each photo.
        """
        self._settings = settings
        self._metrics = metrics
        self._pool = pool
        self._remote = remote
        self._tracing = tracing or Tracing()
        self._model = model
        self._edit_options: EditOptions | None = None
        self.draining = False
        self.readiness = Readiness(self._probe, settings.probe_interval, settings.probe_timeout, metrics)
        metrics.backend_info.labels(remote.name if remote else model.backend).set(1)
        self._publish()

    @property
    def model(self) -> ModelInfo:
        """Which network and which face model answer now; at Triton another version may take over."""
        remote, model = self._remote, self._model
        if remote is not None and (remote.digest, remote.version) != (model.digest, model.version):
            self._model = model.model_copy(
                update={
                    "version": remote.version,
                    "digest": remote.digest,
                    "backend": remote.name,
                    "confidence_calibrated": ConfidenceModel.for_network(remote.digest).calibrated_for(
                        remote.digest, model.face_model.digest
                    ),
                }
            )
            self._publish()
        return self._model

    def _publish(self) -> None:
        self._metrics.model.clear()
        model = self._model
        self._metrics.model.labels(model.name, model.digest, model.face_model.name).set(1)
        # An empty digest is that of a Triton that hasn't answered yet.
        if model.digest and not model.confidence_calibrated:
            logger.warning(
                "the confidence in answers is not calibrated for this network: run training.calibrate",
                extra={"model": model.model_dump()},
            )

    def check_room(self) -> None:
        """Refuse a request while the queue is full or the service stops, before its body is read.

        Raises:
            OverloadedError: If there is no room.
            DrainingError: If the service is stopping.
        """
        if self.draining:
            raise DrainingError("The service is stopping: send the request again, to another instance.")
        self._pool.check_room()

    def models(self) -> list[ModelInfo]:
        """Return the networks that answer here."""
        return [self.model]

    def find_model(self, name: str) -> ModelInfo:
        """Return the network of a name.

        Raises:
            NotFoundError: If there is none.
        """
        for model in self.models():
            if model.name == name:
                return model
        known = ", ".join(model.name for model in self.models())
        raise NotFoundError(f"There is no model of that name; there is {known}.")

    async def reconstruct(
        self, job: PhotoJob | EditJob, deadline: Deadline, *, wait: bool = False
    ) -> Answered:
        """Reconstruct a photo's faces; and edit them, if the job is to.

        Args:
            job: The photo and what is wanted.
            deadline: Until when; work that is not done by then is dropped.
            wait: Wait for room instead of being refused, as photos of one request do for each other.

        Returns:
            The answer in the form that the job asks for.

        Raises:
            OverloadedError: If there is no room.
            DeadlineError: If the time runs out.
            InverseFaceNetError: If the photo can't be read, has no face, or the backend fails.
        """
        started = time.perf_counter()
        async with self._working(deadline, wait=wait) as place:
            if self._remote is None:
                left = deadline.check()
                answered, _ = await self._pool.run(place, "whole", job, left, deadline=deadline)
            else:
                answered = await self._around(self._remote, place, job, deadline)
        self._observe(answered, time.perf_counter() - started)
        return answered

    async def track(self, job: TrackJob, deadline: Deadline) -> Followed:
        """Do a frame of a video, once there is room; see `reconstruct`."""
        started = time.perf_counter()
        async with self._working(deadline, wait=True) as place:
            if self._remote is None:
                left = deadline.check()
                followed, _ = await self._pool.run(place, "track", job, left, deadline=deadline)
            else:
                followed = await self._track_around(self._remote, place, job, deadline)
        assert isinstance(followed, Followed)
        self._observe(followed.answered, time.perf_counter() - started)
        return followed

    @asynccontextmanager
    async def _working(self, deadline: Deadline, *, wait: bool) -> AsyncIterator[Place]:
        """Take a place for a photo or a frame, and count how its work ends."""
        outcome = "cancelled"
        place = await self._pool.enter(deadline, wait=wait)
        try:
            yield place
            outcome = "ok"
        except InverseFaceNetError as error:
            outcome = error.slug
            if isinstance(error, BackendError):
                # The last proof is worth nothing any more.
                self._pool.last_success = float("-inf")
                self.readiness.doubt()
            raise
        finally:
            place.leave()
            self._metrics.photos.labels(outcome).inc()

    async def _around(
        self, remote: RemoteBackend, place: Place, job: PhotoJob | EditJob, deadline: Deadline
    ) -> Answered:
        def forget(prepared: Prepared, slot: int) -> None:
            self._pool.drop_in(slot, "forget", prepared.ticket)

        prepared, slot = await self._pool.run(place, "prepare", job, deadline=deadline, unheard=forget)
        assert isinstance(prepared, Prepared)
        try:
            began, started = time.time(), time.perf_counter()
            thetas = await self._ask(remote, prepared.crops, deadline.check())
            infer = ("infer", began, time.perf_counter() - started)
            arguments = (prepared.ticket, thetas, self.model, infer, deadline.check())
            answered, _ = await self._pool.run_in(slot, place, "finish", *arguments, deadline=deadline)
        except BaseException:
            # Whatever went wrong, or if the caller is gone: the worker must not keep the photo.
            self._pool.drop_in(slot, "forget", prepared.ticket)
            raise
        assert isinstance(answered, Answered)
        return answered

    async def _track_around(
        self, remote: RemoteBackend, place: Place, job: TrackJob, deadline: Deadline
    ) -> Followed:
        def forget(step: Prepared | Followed, slot: int) -> None:
            if isinstance(step, Prepared):
                self._pool.drop_in(slot, "forget", step.ticket)

        step, slot = await self._pool.run(
            place, "prepare_track", job, self.model, deadline=deadline, unheard=forget
        )
        # Twice, where a face that was followed is lost and another one found.
        while isinstance(step, Prepared):
            try:
                began, started = time.time(), time.perf_counter()
                thetas = await self._ask(remote, step.crops, deadline.check())
                infer = ("infer", began, time.perf_counter() - started)
                arguments = (step.ticket, thetas, self.model, infer)
                following, _ = await self._pool.run_in(
                    slot, place, "finish_track", *arguments, deadline=deadline, unheard=forget
                )
            except BaseException:
                self._pool.drop_in(slot, "forget", step.ticket)
                raise
            step = following
        assert isinstance(step, Followed)
        return step

    async def _ask(
        self, remote: RemoteBackend, crops: UInt8[np.ndarray, "faces 240 240 3"], seconds: float
    ) -> Float32[np.ndarray, "faces 350"]:
        started = time.perf_counter()
        try:
            with self._tracing.span("infer", calls_out=True):
                metadata = self._tracing.inject()
                thetas = await remote.infer_async(crops, timeout=seconds, metadata=metadata)
        except InverseFaceNetError as error:
            self._metrics.backend_errors.labels(remote.name, error.slug).inc()
            raise
        self._pool.last_success = time.monotonic()
        self._metrics.backend_seconds.labels(remote.name).observe(time.perf_counter() - started)
        return thetas

    async def render(self, job: RenderJob, deadline: Deadline) -> Answered:
        """Turn parameters into a picture or a mesh; see `reconstruct`."""
        place = await self._pool.enter(deadline)
        try:
            answered, _ = await self._pool.run(place, "render", job, deadline=deadline)
        finally:
            place.leave()
        assert isinstance(answered, Answered)
        self._observe_stages(answered)
        return answered

    async def edit_options(self, deadline: Deadline) -> EditOptions:
        """Return what edits may name; a worker is asked once, for it has the face model."""
        if self._edit_options is None:
            place = await self._pool.enter(deadline)
            try:
                found, _ = await self._pool.run(place, "edit_options", deadline=deadline)
            finally:
                place.leave()
            assert isinstance(found, EditOptions)
            self._edit_options = found
        return self._edit_options

    def _observe(self, answered: Answered, seconds: float) -> None:
        self._metrics.stage_seconds.labels("whole").observe(seconds)
        self._metrics.faces.inc(answered.faces)
        self._metrics.faces_per_photo.observe(answered.faces)
        for measure in answered.measures:
            self._metrics.photometric.observe(measure.photometric)
            self._metrics.iou.observe(measure.iou)
            if measure.landmark == measure.landmark:  # NaN where nobody knows the landmarks
                self._metrics.landmark.observe(measure.landmark)
            if measure.confidence == measure.confidence:
                self._metrics.confidence.observe(measure.confidence)
        self._observe_stages(answered)
        notes = current_notes()
        if notes is not None:
            notes.details["faces"] = notes.details.get("faces", 0) + answered.faces

    def _observe_stages(self, answered: Answered) -> None:
        for name, _, seconds in answered.stages:
            self._metrics.stage_seconds.labels(name).observe(seconds)
        # The call to a remote network has a span of its own.
        own = answered.stages if self._remote is None else [s for s in answered.stages if s[0] != "infer"]
        self._tracing.stage_spans(own)

    async def _probe(self) -> None:
        """Make a real inference, unless a photo's was answered just now."""
        if self._pool.running and time.monotonic() - self._pool.last_success < self._settings.probe_interval:
            return
        deadline = Deadline.after(self._settings.probe_timeout)
        if not self._pool.running:
            raise missing_worker()
        if self._remote is None:
            await self._pool.run_first("probe", deadline=deadline)
        else:
            await self._ask(self._remote, np.zeros((1, 240, 240, 3), np.uint8), deadline.check())

    def begin_drain(self) -> None:
        """Take no new work from here on; what was accepted goes on."""
        self.draining = True
        self._metrics.draining.set(1)
        logger.info("draining")

    async def idle(self) -> None:
        """Return when no photo is being worked on."""
        await self._pool.idle()

    async def close(self) -> None:
        """Wait for the work that runs, and end the workers."""
        await self._pool.close()
        if self._remote is not None:
            await self._remote.close_async()
        self._metrics.ready.set(0)
