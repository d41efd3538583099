"""Connections to public addresses alone: a name is resolved, checked, and connected to as one step.

The HTTP client gets its connections here, so there is no request without the check, and no second look-up
that could answer differently from the one that was checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpcore

from services.gateway.addresses import Address
from services.gateway.errors import FetchError

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_ATTEMPTS: Final = 4
_READ_BYTES: Final = 16 * 1024  # parsing what a server sends holds the event loop: in small bites
_HEAD_BYTES: Final = 256 * 1024  # most that may come before the answer's headers are complete
_RESOLVERS: Final = 4
# One message for an unknown name and for a private one: the difference would map the inside of a network.
_NOT_PUBLIC: Final = (
    "The photo's address can't be used: its name must exist and lead to public addresses alone."
)


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Opens TCP connections, never to an address that is not allowed."""

    def __init__(self, allow: Callable[[Address], bool], resolve: Resolve | None = None) -> None:
        """Prepare; threads for looking up names start with the first name.

        Args:
            allow: Says of an address whether it may be connected to.
            resolve: Takes the place of the system's resolver: name and port to addresses.
        """
        self._allow = allow
        self._resolve = resolve or self._look_up
        self._network = httpcore.AnyIOBackend()
        # The system's resolver blocks, for long if a name's servers don't answer. In threads of its own it
        # holds up nothing but other names.
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> MeteredStream:
        """Resolve a name, check every address that it has, and connect to one of them.

        Args:
            host: A name, or an address as text.
            port: The port.
            timeout: Seconds for all attempts together, after the name was resolved.
            local_address: Passed on.
            socket_options: Passed on.

        Raises:
            FetchError: If the name has no address, or one that is not allowed.
            httpcore.ConnectError: If none of them answers.
        """
        candidates = (await self._checked(host, port))[:_ATTEMPTS]
        share = None if timeout is None else timeout / len(candidates)
        failure: httpcore.NetworkError | httpcore.TimeoutException = httpcore.ConnectError("no address")
        for address in candidates:
            try:
                stream = await self._network.connect_tcp(
                    str(address), port, share, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return MeteredStream(stream)
        raise failure

    async def close(self) -> None:
        """Let go of the resolver's threads; a look-up that hangs ends by itself."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def _checked(self, host: str, port: int) -> list[Address]:
        try:
            found = await self._resolve(host, port)
            addresses = [ipaddress.ip_address(text) for text in dict.fromkeys(found)]
        except (OSError, ValueError) as error:
            raise FetchError(_NOT_PUBLIC) from error
        if not addresses or not all(self._allow(address) for address in addresses):
            raise FetchError(_NOT_PUBLIC)
        return addresses

    async def _look_up(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._resolvers, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(socket_address[0]) for *_, socket_address in found]


class MeteredStream(httpcore.AsyncNetworkStream):
    """A connection that reads in small bites, and no more in all than it is allowed to."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        """Wrap a connection; at first it may read as much as an answer's headers may need."""
        self._stream = stream
        self._left = _HEAD_BYTES

    def allow(self, count: int) -> None:
        """Allow that many more bytes to be read."""
        self._left += count

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what has come.

        Raises:
            FetchError: If the server has sent more than is allowed.
        """
        data = await self._stream.read(min(max_bytes, _READ_BYTES), timeout)
        self._left -= len(data)
        if self._left < 0:
            raise FetchError("The photo's server sends more than a photo needs.")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> MeteredStream:
        """Begin TLS; what is read is counted after decryption."""
        return MeteredStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Tell about the connection what httpcore asks for."""
        return self._stream.get_extra_info(info)
