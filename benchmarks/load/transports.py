"""Sends requests over either interface and says how they ended, in the codes of the service's problems."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from benchmarks.load.http_client import HttpError, HttpPool, HttpReply
from benchmarks.load.requests import DEADLINE, NO_CONNECTION, OK, RECONSTRUCT_STREAM, Request

_DETAILS: Final = "grpc-status-details-bin"
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Every client process has a connection of its own, however many channels others have opened.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class Reply:
    """How a request ended.

    Attributes:
        code: `ok` or a problem's code.
        retry_after: Whether the answer says when to try again.
        content: The answer's bytes.
    """

    code: str
    retry_after: bool = False
    content: bytes = b""


class Transport(Protocol):
    """One interface of one server."""

    async def send(self, request: Request) -> Reply:
        """Send a request; a failure is a reply too."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...


class RestTransport:
    """REST over persistent connections."""

    def __init__(self, address: str) -> None:
        """Keep the address, `host:port`."""
        host, _, port = address.rpartition(":")
        self._pool = HttpPool(host, int(port))

    async def send(self, request: Request) -> Reply:
        """Send a request."""
        try:
            return _rest_reply(await self._pool.send(request))
        except (OSError, HttpError):
            return Reply(NO_CONNECTION)

    async def close(self) -> None:
        """End all connections."""
        self._pool.close()


def _rest_reply(reply: HttpReply) -> Reply:
    if reply.status < 300:
        return Reply(OK, content=reply.body)
    retry = "retry-after" in reply.headers
    try:
        code = json.loads(reply.body)["code"]
    except (ValueError, KeyError, TypeError):
        code = f"status-{reply.status}"
    return Reply(str(code), retry, reply.body)


class GrpcTransport:
    """gRPC over one channel; messages are sent and received as the bytes that they are."""

    def __init__(self, address: str) -> None:
        """Open the channel; call it inside the running event loop."""
        from grpc import aio

        self._channel: Any = aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._unary: dict[str, Any] = {}

    async def send(self, request: Request) -> Reply:
        """Send a request."""
        from grpc import aio

        try:
            if request.stream:
                return await self._send_stream(request)
            if request.path not in self._unary:
                self._unary[request.path] = self._channel.unary_unary(request.path, None, None)
            call = self._unary[request.path](
                request.body, timeout=request.timeout, metadata=request.headers or None
            )
            return Reply(OK, content=await call)
        except aio.AioRpcError as error:
            return grpc_reply(error)

    async def _send_stream(self, request: Request) -> Reply:
        async def messages() -> AsyncIterator[bytes]:
            for message in request.stream:
                yield message

        call = self._channel.stream_stream(RECONSTRUCT_STREAM, None, None)(
            messages(), timeout=request.timeout
        )
        answers = [answer async for answer in call]
        return Reply(OK if len(answers) == len(request.stream) else f"{len(answers)}-answers")

    async def close(self) -> None:
        """End the channel."""
        await self._channel.close(None)


def grpc_reply(error: Any) -> Reply:
    """Read the problem's code out of an error's details."""
    from google.rpc import error_details_pb2, status_pb2

    code, retry = "", False
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS or not isinstance(value, bytes):
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info, delay = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                code = info.reason
            retry = retry or bool(detail.Unpack(delay))
    if not code:
        name: str = error.code().name
        code = {"DEADLINE_EXCEEDED": DEADLINE, "UNAVAILABLE": NO_CONNECTION}.get(
            name, name.lower().replace("_", "-")
        )
    return Reply(code, retry)


class BothTransports:
    """Sends each request over the interface that it is for."""

    def __init__(self, rest: str | None, grpc: str | None) -> None:
        """Take the addresses, `host:port`; call it inside the running event loop."""
        self._transports: dict[str, Transport] = {}
        if rest:
            self._transports["rest"] = RestTransport(rest)
        if grpc:
            self._transports["grpc"] = GrpcTransport(grpc)

    async def send(self, request: Request) -> Reply:
        """Send a request."""
        return await self._transports[request.interface].send(request)

    async def close(self) -> None:
        """End all connections."""
        await asyncio.gather(*(transport.close() for transport in self._transports.values()))
