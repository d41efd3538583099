"""Everything that one service process holds, opened and closed together; both interfaces work with it."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from inversefacenet import __version__
from services.gateway.access import Access
from services.gateway.engine import Engine, RemoteBackend
from services.gateway.errors import NotReadyError
from services.gateway.metrics import Metrics
from services.gateway.pipeline import Pipeline
from services.gateway.settings import Settings
from services.gateway.slots import ProcessSlot, Slot, ThreadSlot, WorkerOptions
from services.gateway.tracing import Tracing
from services.gateway.uploads import Uploads
from services.gateway.workers import WorkerPool

if TYPE_CHECKING:
    from inversefacenet.reconstruction import Reconstructor
    from services.gateway.fetch import PhotoFetcher
    from services.gateway.grpc_server import GrpcServer

_WATCH_SECONDS = 1.0  # between two looks at readiness, at least

logger = logging.getLogger(__name__)


class Gateway:
    """What the interfaces need to answer.

    Attributes:
        settings: The operator's choices.
        metrics: Counters to keep.
        tracing: Spans to keep.
        access: Who may call, and how much.
        uploads: The bodies on their way.
        fetcher: Fetches photos by URL; None where that is switched off.
        engine: The workers; there once `open` is done.
        grpc_port: Port of the gRPC interface once it is open; None where it is off.
        opened: Whether `open` is done.
    """

    engine: Engine

    def __init__(
        self,
        settings: Settings,
        reconstructor: Reconstructor | None = None,
        remote: RemoteBackend | None = None,
    ) -> None:
        """Load nothing yet.

        Args:
            settings: The operator's choices.
            reconstructor: Works in threads, in place of what would be loaded.
            remote: Runs the network, in place of what the settings name.

        Raises:
            MissingDependencyError: If a setting asks for a package that isn't installed.
        """
        self.settings = settings
        self.metrics = Metrics()
        self.tracing = Tracing.from_settings(settings.otlp_endpoint, __version__)
        self.access = Access(settings.api_keys)
        self.uploads = Uploads(settings.uploads)
        self.fetcher: PhotoFetcher | None = None
        self.grpc_port: int | None = None
        self.opened = False
        self._grpc: GrpcServer | None = None
        self._grpc_end: asyncio.Future[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._reconstructor = reconstructor
        self._remote = remote

    async def open(self) -> None:
        """Load the models, prove that they answer, and begin to listen for gRPC.

        Raises:
            InverseFaceNetError: If a part is missing, damaged or doesn't answer.
            OSError: If the gRPC port can't be had.
        """
        settings = self.settings
        started = time.perf_counter()
        if self._remote is None and settings.backend == "triton":
            from inversefacenet.backends.triton import TritonBackend, TritonTls

            self._remote = TritonBackend(
                settings.triton_url,
                settings.triton_model,
                settings.triton_version,
                timeout=settings.triton_timeout,
                shared_memory=settings.triton_shared_memory,
                tls=TritonTls(settings.triton_ca, settings.triton_certificate, settings.triton_key)
                if settings.triton_tls
                else None,
            )
        pool = WorkerPool(
            await asyncio.to_thread(self._slots), settings.queue, self.metrics, settings.request_timeout
        )
        model = await pool.start()
        self.engine = Engine(settings, self.metrics, pool, model, self._remote, self.tracing)
        try:
            proved = await self._prove()
            logger.info("models loaded", extra={"seconds": round(time.perf_counter() - started, 3)})
            if settings.url_input:
                from services.gateway.fetch import PhotoFetcher

                self.fetcher = PhotoFetcher(
                    settings.url_timeout, settings.max_body_bytes, settings.url_redirects
                )
            if settings.grpc_port is not None:
                from services.gateway.grpc_server import GrpcServer

                self._grpc = GrpcServer(self)
                self.grpc_port = await self._grpc.start()
        except BaseException:
            await self.close()
            raise
        self._watching = asyncio.create_task(self._watch())
        self.opened = True
        logger.info(
            "ready" if proved else "started",
            extra={"model": self.engine.model.model_dump(), "grpc_port": self.grpc_port},
        )

    async def _prove(self) -> bool:
        """Say whether the network answers. Triton may come later: until then the service isn't ready."""
        try:
            await self.engine.readiness.check()
        except NotReadyError:
            if self._remote is None:
                raise
            logger.warning("Triton doesn't answer at %s: not ready until it does", self.settings.triton_url)
            return False
        return True

    def _slots(self) -> list[Slot]:
        settings = self.settings
        embedded = settings.backend == "onnx" and self._remote is None
        options = WorkerOptions(
            embedded,
            settings.model_path,
            settings.inference_threads,
            settings.minimum_face,
            settings.log_level,
            settings.face_model_path,
            settings.landmarks,
        )
        if self._reconstructor is not None:
            pipeline = Pipeline(self._reconstructor)
            return [ThreadSlot(pipeline) for _ in range(settings.workers)]
        if settings.isolation == "threads":
            from services.gateway.worker_process import load_pipeline

            pipeline = load_pipeline(options)
            return [ThreadSlot(pipeline) for _ in range(settings.workers)]
        return [ProcessSlot(options) for _ in range(settings.workers)]

    async def drain(self) -> None:
        """Say that the service is going, then wait for a moment so that load balancers can notice."""
        self.engine.begin_drain()
        if self._grpc is not None:
            await self._grpc.stop_serving()
        await asyncio.sleep(self.settings.drain_delay)
        self._stop_grpc()

    def _stop_grpc(self) -> None:
        """Begin to end the gRPC server, beside the REST server's end and with the same time for it."""
        if self._grpc is not None and self._grpc_end is None:
            self._grpc_end = asyncio.ensure_future(self._grpc.stop(self.settings.drain))

    async def _watch(self) -> None:
        """Keep readiness up to date for the metrics, also while nobody asks for it."""
        while True:
            await asyncio.sleep(max(self.settings.probe_interval, _WATCH_SECONDS))
            with suppress(NotReadyError):
                await self.engine.readiness.check()

    async def close(self) -> None:
        """Answer what was accepted, and let everything go."""
        if self._watching is not None:
            self._watching.cancel()
        self._stop_grpc()
        if self._grpc_end is not None:
            await self._grpc_end
        await self.engine.close()
        if self.fetcher is not None:
            await self.fetcher.close()
        await asyncio.to_thread(self.tracing.shutdown)
