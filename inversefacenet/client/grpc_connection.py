"""A server over gRPC. This module alone knows grpc; it is loaded when a connection is opened."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any, Final

from grpc_health.v1 import health_pb2

from inversefacenet import __version__
from inversefacenet.client import grpc_edits as edits
from inversefacenet.client import grpc_messages as messages
from inversefacenet.client import grpc_tracking as tracking
from inversefacenet.client.address import Tls
from inversefacenet.client.connection import Setup
from inversefacenet.client.edits import EditJob, EditOptions, EditResult
from inversefacenet.client.grpc_errors import failure_of, request_id_of
from inversefacenet.client.grpc_lanes import AsyncGrpcLane, GrpcLane
from inversefacenet.client.grpc_methods import Methods
from inversefacenet.client.requests import PhotoJob, RenderJob
from inversefacenet.client.results import Model, ReconstructionResult
from inversefacenet.client.retry import Deadline, RefusedError
from inversefacenet.client.tracking import Frame, FrameAnswer, TrackOptions
from inversefacenet.errors import InverseFaceNetError
from inversefacenet.v1 import editing_pb2, model_pb2

CHANNEL: Final = (
    # Answers with the meshes of many faces are larger than any photo.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A server that is gone without a word is noticed, while it owes us an answer.
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class GrpcConnection:
    """A server over gRPC, for use from any thread."""

    group = 1

    def __init__(self, setup: Setup) -> None:
        """Open a channel, which connects when it is first used.

        Raises:
            ImportError: If grpcio isn't installed.
            ConnectionSettingsError: If a TLS file can't be read.
        """
        self._grpc = _load_grpc()
        self._metadata = _metadata(setup)
        options = _options(setup)
        if setup.transport is not None:
            self._channel = setup.transport
        elif setup.address.secure:
            credentials = _credentials(self._grpc, setup.tls)
            self._channel = self._grpc.secure_channel(setup.address.target, credentials, options)
        else:
            self._channel = self._grpc.insecure_channel(setup.address.target, options)
        self._methods = Methods(self._channel)

    def reconstruct(self, job: PhotoJob, deadline: Deadline) -> ReconstructionResult:
        """Reconstruct a photo's faces; one attempt, see `connection.Connection`."""
        answer, call = self._call(self._methods.reconstruct, messages.reconstruct_request(job), deadline)
        return messages.reconstruction_of(answer, request_id_of(call.trailing_metadata()))

    def render(self, job: RenderJob, deadline: Deadline) -> bytes:
        """Draw a face."""
        answer, _ = self._call(self._methods.render, messages.render_request(job), deadline)
        return messages.rendering_of(answer)

    def edit(self, job: EditJob, deadline: Deadline) -> EditResult:
        """Edit a photo's faces."""
        answer, call = self._call(self._methods.edit, edits.edit_request(job), deadline)
        return edits.edit_of(answer, request_id_of(call.trailing_metadata()))

    def edit_options(self, deadline: Deadline) -> EditOptions:
        """List what edits may name."""
        request = editing_pb2.GetEditOptionsRequest()
        answer, _ = self._call(self._methods.edit_options, request, deadline, free=True)
        return edits.options_of(answer)

    def models(self, deadline: Deadline) -> tuple[Model, ...]:
        """List the networks."""
        answer, _ = self._call(self._methods.models, model_pb2.ListModelsRequest(), deadline, free=True)
        return tuple(messages.model_of(model) for model in answer.models)

    def ready(self, deadline: Deadline) -> bool:
        """Return whether the server says that it answers."""
        answer, _ = self._call(self._methods.check, health_pb2.HealthCheckRequest(), deadline)
        return messages.serving(answer)

    def lane(self, in_flight: int) -> GrpcLane:
        """Open a stream for many photos."""
        return GrpcLane(self._methods.stream, self._metadata, _failure)

    def track(self, frames: Iterator[Frame], options: TrackOptions) -> Iterator[FrameAnswer]:
        """Send a video's frames; see `tracking.FrameConnection`."""
        method, error = self._methods.track, self._grpc.RpcError
        return tracking.track(method, frames, options, self._metadata, _failure, error)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _call(self, method: Any, message: Any, deadline: Deadline, *, free: bool = False) -> tuple[Any, Any]:
        try:
            answer, call = method.with_call(message, timeout=deadline.check(), metadata=self._metadata)
        except self._grpc.RpcError as error:
            failure = _failure(error, free=free)
        else:
            return answer, call
        # Out here, so that its cause stays what the server said.
        raise failure


class AsyncGrpcConnection:
    """A server over gRPC, for one event loop: the one in which it is first used."""

    group = 1

    def __init__(self, setup: Setup) -> None:
        """Prepare; the channel is opened by the first call, in its event loop.

        Raises:
            ImportError: If grpcio isn't installed.
            ConnectionSettingsError: If a TLS file can't be read.
        """
        self._grpc = _load_grpc()
        self._setup = setup
        self._metadata = _metadata(setup)
        self._credentials = _credentials(self._grpc, setup.tls) if setup.address.secure else None
        self._lock = threading.Lock()
        self._channel: Any = None
        self._opened: Methods | None = None

    @property
    def _methods(self) -> Methods:
        with self._lock:
            if self._opened is None:
                self._channel = self._open()
                self._opened = Methods(self._channel)
            return self._opened

    def _open(self) -> Any:
        aio, setup, options = self._grpc.aio, self._setup, _options(self._setup)
        if setup.transport is not None:
            return setup.transport
        if self._credentials is not None:
            return aio.secure_channel(setup.address.target, self._credentials, options)
        return aio.insecure_channel(setup.address.target, options)

    async def reconstruct(self, job: PhotoJob, deadline: Deadline) -> ReconstructionResult:
        """Reconstruct a photo's faces; one attempt, see `connection.Connection`."""
        answer, call = await self._call(
            self._methods.reconstruct, messages.reconstruct_request(job), deadline
        )
        return messages.reconstruction_of(answer, request_id_of(await call.trailing_metadata()))

    async def render(self, job: RenderJob, deadline: Deadline) -> bytes:
        """Draw a face."""
        answer, _ = await self._call(self._methods.render, messages.render_request(job), deadline)
        return messages.rendering_of(answer)

    async def edit(self, job: EditJob, deadline: Deadline) -> EditResult:
        """Edit a photo's faces."""
        answer, call = await self._call(self._methods.edit, edits.edit_request(job), deadline)
        return edits.edit_of(answer, request_id_of(await call.trailing_metadata()))

    async def edit_options(self, deadline: Deadline) -> EditOptions:
        """List what edits may name."""
        request = editing_pb2.GetEditOptionsRequest()
        answer, _ = await self._call(self._methods.edit_options, request, deadline, free=True)
        return edits.options_of(answer)

    async def models(self, deadline: Deadline) -> tuple[Model, ...]:
        """List the networks."""
        answer, _ = await self._call(self._methods.models, model_pb2.ListModelsRequest(), deadline, free=True)
        return tuple(messages.model_of(model) for model in answer.models)

    async def ready(self, deadline: Deadline) -> bool:
        """Return whether the server says that it answers."""
        answer, _ = await self._call(self._methods.check, health_pb2.HealthCheckRequest(), deadline)
        return messages.serving(answer)

    def lane(self, in_flight: int) -> AsyncGrpcLane:
        """Open a stream for many photos."""
        return AsyncGrpcLane(self._methods.stream, self._metadata, _failure)

    def track(self, frames: AsyncIterator[Frame], options: TrackOptions) -> AsyncIterator[FrameAnswer]:
        """Send a video's frames; see `tracking.AsyncFrameConnection`."""
        method, error = self._methods.track, self._grpc.RpcError
        return tracking.track_async(method, frames, options, self._metadata, _failure, error)

    async def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()

    async def _call(
        self, method: Any, message: Any, deadline: Deadline, *, free: bool = False
    ) -> tuple[Any, Any]:
        call = method(message, timeout=deadline.check(), metadata=self._metadata)
        try:
            return await call, call
        except self._grpc.RpcError as error:
            failure = _failure(error, free=free)
        raise failure


def _load_grpc() -> ModuleType:
    import grpc
    import grpc.aio

    return grpc


def _options(setup: Setup) -> list[tuple[str, int]]:
    options = list(CHANNEL)
    if setup.address.loopback:
        # What is meant for this machine is no business of a proxy.
        options.append(("grpc.enable_http_proxy", 0))
    return options


def _credentials(grpc: ModuleType, tls: Tls | None) -> Any:
    ca, key, certificate = (tls or Tls()).contents()
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _metadata(setup: Setup) -> tuple[tuple[str, str], ...]:
    agent = (("x-client", f"inversefacenet/{__version__}"),)
    return agent if setup.api_key is None else (*agent, ("authorization", f"Bearer {setup.api_key}"))


def _failure(error: Any, *, free: bool = False) -> InverseFaceNetError | RefusedError:
    """Return what to raise for an error of grpc's, of a call of either kind; `free` ones may be repeated."""
    code, details = error.code(), error.details()
    return failure_of(code.name, details or code.name, error.trailing_metadata(), free=free)
