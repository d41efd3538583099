"""HTTP/1.1 over asyncio's streams: connections stay open, bodies come whole, nothing is parsed twice.

A general client would cost several milliseconds of the cores that the service is measured on; this one costs
a few tenths.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.load.requests import Request

_HEAD_LIMIT: Final = 1 << 20


class HttpError(Exception):
    """The other side doesn't speak HTTP as agreed, or has gone away."""


@dataclass(frozen=True)
class HttpReply:
    """An answer.

    Attributes:
        status: HTTP status.
        headers: Its headers, names in lower case.
        body: Its body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpConnection:
    """One connection, for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take an open connection's two ends."""
        self._reader = reader
        self._writer = writer
        self.usable = True

    @classmethod
    async def open(cls, host: str, port: int) -> HttpConnection:
        """Connect.

        Raises:
            OSError: If nobody listens there.
        """
        return cls(*await asyncio.open_connection(host, port, limit=_HEAD_LIMIT))

    @property
    def open_still(self) -> bool:
        """Whether the other side, as far as is known, hasn't closed the connection."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    async def exchange(self, head: bytes, body: bytes) -> HttpReply:
        """Send a request and read its answer.

        Raises:
            HttpError: If the connection ends before the answer does.
        """
        self.usable = False
        # Not drained: an answer that refuses the request may come before its body is sent.
        self._writer.write(head + body)
        try:
            reply = await self._reply()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            raise HttpError(f"the connection ended early: {type(error).__name__}") from error
        self.usable = reply.headers.get("connection", "").lower() != "close"
        return reply

    async def _reply(self) -> HttpReply:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.split("\r\n")
        fields = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        version, status_text, *_ = [*status_line.split(" ", 2), "", ""]
        if not version.startswith("HTTP/1.") or not status_text.isdecimal():
            raise HttpError("the answer is no HTTP")
        status = int(status_text)
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return HttpReply(status, headers, await self._chunks())
        length = int(headers.get("content-length", "0"))
        return HttpReply(status, headers, await self._reader.readexactly(length))

    async def _chunks(self) -> bytes:
        parts = []
        while True:
            line = await self._reader.readuntil(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            parts.append((await self._reader.readexactly(size + 2))[:-2])
            if size == 0:
                return b"".join(parts)

    def close(self) -> None:
        """Cut the connection, whatever is under way."""
        self.usable = False
        with contextlib.suppress(RuntimeError):  # the loop may have ended before us
            self._writer.transport.abort()


class HttpPool:
    """Open connections to one server; there are as many as requests under way at once."""

    def __init__(self, host: str, port: int) -> None:
        """Keep the address; nothing is opened."""
        self._host = host
        self._port = port
        self._idle: list[HttpConnection] = []
        self._heads: dict[tuple[object, ...], bytes] = {}

    async def send(self, request: Request) -> HttpReply:
        """Send a request.

        Raises:
            OSError: If nobody listens.
            HttpError: If there is no whole answer.
        """
        connection = self._take() or await HttpConnection.open(self._host, self._port)
        try:
            return await connection.exchange(self._head(request), request.body)
        finally:
            if connection.usable:
                self._idle.append(connection)
            else:
                connection.close()

    def _take(self) -> HttpConnection | None:
        """Return an idle connection that the server hasn't closed meanwhile."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open_still:
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Close all idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _head(self, request: Request) -> bytes:
        key = (request.path, len(request.body), request.headers)
        if key not in self._heads:
            self._heads[key] = "\r\n".join(self._lines(request)).encode("latin-1")
        return self._heads[key]

    def _lines(self, request: Request) -> Iterator[str]:
        yield f"POST {request.path} HTTP/1.1"
        yield f"host: {self._host}:{self._port}"
        yield f"content-length: {len(request.body)}"
        yield from (f"{name}: {value}" for name, value in request.headers)
        yield "\r\n"
