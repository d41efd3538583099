"""What both protocols offer to the clients, so that the clients needn't know which one is spoken."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from inversefacenet.client.address import Address, Tls, check_key, read_address
from inversefacenet.client.edits import EditJob, EditOptions, EditResult
from inversefacenet.client.errors import ConnectionSettingsError
from inversefacenet.client.requests import PhotoJob, RenderJob
from inversefacenet.client.results import Model, ReconstructionResult
from inversefacenet.client.retry import Deadline, OnWait, RefusedError
from inversefacenet.errors import InverseFaceNetError, MissingDependencyError

_EXTRAS: Final = {"rest": "client", "grpc": "grpc"}


@dataclass(frozen=True)
class Setup:
    """How to reach a server.

    Attributes:
        address: Where it is.
        api_key: Who calls; never shown.
        tls: PEM files, if the usual ones don't do.
        transport: Carries the requests in place of what would be opened: httpx transport or gRPC channel.
        retries: How many further attempts a refused request gets.
        on_wait: Hears of the pauses before them.
    """

    address: Address
    api_key: str | None
    tls: Tls | None
    transport: Any
    retries: int
    on_wait: OnWait | None = None

    def __repr__(self) -> str:
        return f"Setup({self.address.text!r}, api_key={'given' if self.api_key else None})"


def make_setup(
    server: str,
    api_key: str | None,
    timeout: float,
    retries: int,
    tls: Tls | None,
    transport: Any,
    *,
    allow_plaintext: bool,
    on_wait: OnWait | None = None,
) -> Setup:
    """Check what a client is made with; see `Client`.

    Raises:
        ConnectionSettingsError: If something of it can't be used.
    """
    address = read_address(server)
    check_key(api_key, address, allow_plaintext=allow_plaintext)
    check_timeout(timeout)
    if retries < 0:
        raise ConnectionSettingsError(f"There can't be {retries} retries: give 0 or more.")
    if tls is not None:
        tls.check(address)
    return Setup(address, api_key, tls, transport, retries, on_wait)


def check_timeout(timeout: float) -> float:
    """Return a time limit after checking it.

    Raises:
        ConnectionSettingsError: If it is no positive number of seconds.
    """
    if not 0 < timeout < math.inf:
        raise ConnectionSettingsError(f"A timeout is a positive number of seconds, not {timeout}.")
    return timeout


def open_connection(setup: Setup) -> Connection:
    """Open a connection of the protocol that the address names; what it needs is imported only now.

    Raises:
        MissingDependencyError: If a package isn't installed.
        ConnectionSettingsError: If a TLS file can't be used.
    """
    with _needing(_EXTRAS[setup.address.protocol]):
        if setup.address.protocol == "grpc":
            from inversefacenet.client.grpc_connection import GrpcConnection

            return GrpcConnection(setup)
        from inversefacenet.client.rest_connection import RestConnection

        return RestConnection(setup)


def open_async_connection(setup: Setup) -> AsyncConnection:
    """Open a connection for asyncio; see `open_connection`."""
    with _needing(_EXTRAS[setup.address.protocol]):
        if setup.address.protocol == "grpc":
            from inversefacenet.client.grpc_connection import AsyncGrpcConnection

            return AsyncGrpcConnection(setup)
        from inversefacenet.client.rest_connection import AsyncRestConnection

        return AsyncRestConnection(setup)


@contextmanager
def _needing(extra: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(
            f"This address needs {error.name}, which is not installed", extra=extra
        ) from error


@dataclass(frozen=True, eq=False)
class Entry:
    """One of many photos, on its way.

    Attributes:
        index: Its place among the photos, from 0.
        job: The photo.
        deadline: Until when it must be answered.
    """

    index: int
    job: PhotoJob
    deadline: Deadline


@dataclass(frozen=True, eq=False)
class Settled:
    """What became of one of many photos; a `RefusedError` asks for another attempt of its own."""

    index: int
    outcome: ReconstructionResult | InverseFaceNetError | RefusedError


@dataclass(frozen=True, eq=False)
class Broken:
    """The lane carries nothing any more; photos that were on it are not answered."""

    failure: Exception


Event = Settled | Broken


@runtime_checkable
class Lane(Protocol):
    """Carries many photos, several at once."""

    def send(self, entries: Sequence[Entry]) -> None:
        """Send photos; returns at once."""
        ...

    def next(self, timeout: float) -> Event | None:
        """Return what happens next; None if nothing does in so many seconds."""
        ...

    def close(self) -> None:
        """Let go of everything; photos that are still on their way are forgotten."""
        ...


@runtime_checkable
class AsyncLane(Protocol):
    """The same for asyncio."""

    async def send(self, entries: Sequence[Entry]) -> None:
        """Send photos; returns at once."""
        ...

    async def next(self, timeout: float) -> Event | None:
        """Return what happens next; None if nothing does in so many seconds."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


@runtime_checkable
class Connection(Protocol):
    """A server, for use from any thread. Each method is one attempt.

    A method raises `RefusedError` where the server can't have begun, and an `InverseFaceNetError` elsewhere.

    Attributes:
        group: How many photos travel together on a lane.
    """

    group: int

    def reconstruct(self, job: PhotoJob, deadline: Deadline) -> ReconstructionResult:
        """Reconstruct a photo's faces."""
        ...

    def render(self, job: RenderJob, deadline: Deadline) -> bytes:
        """Draw a face."""
        ...

    def edit(self, job: EditJob, deadline: Deadline) -> EditResult:
        """Edit a photo's faces."""
        ...

    def edit_options(self, deadline: Deadline) -> EditOptions:
        """List what edits may name."""
        ...

    def models(self, deadline: Deadline) -> tuple[Model, ...]:
        """List the networks."""
        ...

    def ready(self, deadline: Deadline) -> bool:
        """Return whether the server says that it answers."""
        ...

    def lane(self, in_flight: int) -> Lane:
        """Open a lane for many photos."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


@runtime_checkable
class AsyncConnection(Protocol):
    """The same for asyncio."""

    group: int

    async def reconstruct(self, job: PhotoJob, deadline: Deadline) -> ReconstructionResult:
        """Reconstruct a photo's faces."""
        ...

    async def render(self, job: RenderJob, deadline: Deadline) -> bytes:
        """Draw a face."""
        ...

    async def edit(self, job: EditJob, deadline: Deadline) -> EditResult:
        """Edit a photo's faces."""
        ...

    async def edit_options(self, deadline: Deadline) -> EditOptions:
        """List what edits may name."""
        ...

    async def models(self, deadline: Deadline) -> tuple[Model, ...]:
        """List the networks."""
        ...

    async def ready(self, deadline: Deadline) -> bool:
        """Return whether the server says that it answers."""
        ...

    def lane(self, in_flight: int) -> AsyncLane:
        """Open a lane for many photos."""
        ...

    async def close(self) -> None:
        """End the connection."""
        ...
