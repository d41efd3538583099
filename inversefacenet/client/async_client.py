"""The client for asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import numpy as np
from jaxtyping import Float

from inversefacenet.client.address import Tls
from inversefacenet.client.connection import Entry, check_timeout, make_setup, open_async_connection
from inversefacenet.client.edits import EditOptions, EditResult, EditSettings, EditSpec, Other, edit_job
from inversefacenet.client.errors import ServiceUnavailableError
from inversefacenet.client.many import Limits, Outcome, reconstruct_many_async
from inversefacenet.client.requests import (
    Colour,
    MeshColours,
    MeshFormat,
    MeshSpace,
    Photo,
    PhotoJob,
    PhotoOptions,
    check_options,
    photo_job,
    render_job,
)
from inversefacenet.client.results import Model, ReconstructionResult
from inversefacenet.client.retry import Deadline, OnWait, RefusedError, with_retries_async
from inversefacenet.client.sync_client import IN_FLIGHT
from inversefacenet.client.tracking import (
    AsyncFrameConnection,
    Frame,
    FrameAnswer,
    TrackOptions,
    each_frame,
    over_grpc,
)
from inversefacenet.errors import InverseFaceNetError
from inversefacenet.parameters import Parameters

if TYPE_CHECKING:
    from inversefacenet.editing import Edit

Answer = TypeVar("Answer")


class AsyncClient:
    """A service of faces, over REST or gRPC, for one event loop; all else is as for `Client`."""

    def __init__(
        self,
        server: str,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        tls: Tls | None = None,
        transport: Any = None,
        allow_plaintext: bool = False,
        on_wait: OnWait | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            server: See `Client`, as for all that follows.
            api_key: Who calls.
            timeout: Seconds that each request may take, with all its retries.
            retries: How many further attempts a refused request gets.
            tls: Certificates, if those of the system don't do.
            transport: An `httpx.AsyncBaseTransport` or a `grpc.aio.Channel`.
            allow_plaintext: Send the key although nothing here encrypts the connection.
            on_wait: Called before each pause, on the event loop; it must not block.

        Raises:
            ConnectionSettingsError: If address, key or certificates can't be used.
            MissingDependencyError: If a package isn't installed.
        """
        self._setup = make_setup(
            server,
            api_key,
            timeout,
            retries,
            tls,
            transport,
            allow_plaintext=allow_plaintext,
            on_wait=on_wait,
        )
        self._timeout = timeout
        self._connection = open_async_connection(self._setup)
        self._closed = False

    async def reconstruct(
        self, photo: Photo, *, timeout: float | None = None, **options: Unpack[PhotoOptions]
    ) -> ReconstructionResult:
        """Reconstruct the faces of a photo; see `Client.reconstruct`."""
        job = await _job(photo, options)
        return await self._ask(lambda deadline: self._connection.reconstruct(job, deadline), timeout)

    def reconstruct_many(
        self,
        photos: Iterable[Photo] | AsyncIterable[Photo],
        *,
        in_flight: int = IN_FLIGHT,
        timeout: float | None = None,
        **options: Unpack[PhotoOptions],
    ) -> AsyncIterator[tuple[int, Outcome]]:
        """Reconstruct many photos, several at once; see `Client.reconstruct_many`."""
        check_options(options)
        limits = Limits(in_flight, min(self._connection.group, in_flight), self._seconds(timeout))

        async def alone(entry: Entry) -> ReconstructionResult:
            def attempt(deadline: Deadline) -> Awaitable[ReconstructionResult]:
                return self._connection.reconstruct(entry.job, deadline)

            return await with_retries_async(attempt, entry.deadline, self._setup.retries, self._setup.on_wait)

        return reconstruct_many_async(
            photos,
            lambda photo: _job(photo, options),
            lambda: self._connection.lane(in_flight),
            alone,
            limits,
        )

    async def render(
        self,
        parameters: Parameters | Float[np.ndarray, "350"],
        *,
        mesh_format: MeshFormat | None = None,
        mesh_space: MeshSpace | None = None,
        mesh_colours: MeshColours | None = None,
        size: int | None = None,
        geometry: bool = False,
        background: Colour | None = (0, 0, 0),
        timeout: float | None = None,
    ) -> bytes:
        """Draw a face; see `Client.render`."""
        job = render_job(parameters, mesh_format, mesh_space, mesh_colours, size, geometry, background)
        return await self._ask(lambda deadline: self._connection.render(job, deadline), timeout)

    async def edit(
        self,
        photo: Photo,
        edits: Iterable[EditSpec | Edit],
        *,
        others: Mapping[str, Other] | None = None,
        timeout: float | None = None,
        **settings: Unpack[EditSettings],
    ) -> EditResult:
        """Edit the faces of a photo; see `Client.edit`."""
        # Photos may be files.
        job = await asyncio.to_thread(edit_job, photo, edits, others, **settings)
        return await self._ask(lambda deadline: self._connection.edit(job, deadline), timeout)

    async def edit_options(self, *, timeout: float | None = None) -> EditOptions:
        """Return what edits may name at the server: lights and units of expression."""
        return await self._ask(lambda deadline: self._connection.edit_options(deadline), timeout)

    def track(
        self,
        frames: Iterable[Frame] | AsyncIterable[Frame],
        *,
        minimum_size: float | None = None,
        least_confidence: float | None = None,
        single_frames: bool = False,
    ) -> AsyncIterator[FrameAnswer]:
        """Follow the face of a video; see `Client.track`."""
        self._check_open()
        if not isinstance(self._connection, AsyncFrameConnection):
            raise over_grpc()
        options = TrackOptions(minimum_size, least_confidence, single_frames)
        return self._connection.track(each_frame(frames), options)

    async def models(self, *, timeout: float | None = None) -> tuple[Model, ...]:
        """Return the networks that answer at the server."""
        return await self._ask(lambda deadline: self._connection.models(deadline), timeout)

    async def ready(self, *, timeout: float | None = None) -> bool:
        """Return whether the server says that it can answer photos; False if it says nothing at all."""
        try:
            return await self._connection.ready(Deadline.after(self._seconds(timeout)))
        except (RefusedError, InverseFaceNetError):
            return False

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        await self._connection.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._setup.address.text!r})"

    async def _ask(self, attempt: Callable[[Deadline], Awaitable[Answer]], timeout: float | None) -> Answer:
        deadline = Deadline.after(self._seconds(timeout))
        return await with_retries_async(attempt, deadline, self._setup.retries, self._setup.on_wait)

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceUnavailableError("This client is closed: make a new one.")

    def _seconds(self, timeout: float | None) -> float:
        self._check_open()
        return self._timeout if timeout is None else check_timeout(timeout)


async def _job(photo: Photo, options: PhotoOptions) -> PhotoJob:
    if isinstance(photo, os.PathLike):
        return await asyncio.to_thread(photo_job, photo, options)
    return photo_job(photo, options)
