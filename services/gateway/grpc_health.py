"""`grpc.health.v1` that proves itself: whoever asks gets the outcome of a real inference."""

from __future__ import annotations

import asyncio
from typing import Final

import grpc
from grpc_health.v1 import health_pb2

from services.gateway.engine import Engine
from services.gateway.errors import NotReadyError
from services.gateway.grpc_messages import Context

SERVICE: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
# Watchers are told of a change within the time that readiness trusts its proof, but not more often than this.
_SHORTEST_PAUSE: Final = 0.1


class Health:
    """Says whether photos can be answered; all services stand and fall together.

    Readiness remembers its proof for a moment, so that many watchers cost no more than one.
    """

    def __init__(
        self, engine: Engine, services: tuple[str, ...], interval: float, leaving: asyncio.Event
    ) -> None:
        """Take what it speaks for.

        Args:
            engine: Proves that it is ready.
            services: Full names of the services here; the empty name stands for the whole server.
            interval: Seconds between two looks on behalf of watchers.
            leaving: Set once the service takes no new work.
        """
        self._engine = engine
        self._services = frozenset({"", *services})
        self._pause = max(interval, _SHORTEST_PAUSE)
        self._leaving = leaving
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Let the watchers go."""
        self._ended.set()

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Answer once."""
        status = await self._status(request.service)
        if status == _UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no service of that name here.")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> None:
        """Answer now and at each change."""
        told = None
        while not self._ended.is_set():
            status = await self._status(request.service)
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            await self._wait()

    async def _status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
        if service not in self._services:
            return _UNKNOWN
        if self._leaving.is_set() or self._engine.draining:
            return _NOT_SERVING
        try:
            await self._engine.readiness.check()
        except NotReadyError:
            return _NOT_SERVING
        return _NOT_SERVING if self._leaving.is_set() else _SERVING

    async def _wait(self) -> None:
        """Return after the pause, or as soon as the service begins or ends to leave."""
        event = self._ended if self._leaving.is_set() else self._leaving
        try:
            async with asyncio.timeout(self._pause):
                await event.wait()
        except TimeoutError:
            return
