"""Around every request: its id, its log line, its counters, and the last net for unforeseen errors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.calls import ARRIVED, CALLER
from services.gateway.context import REQUEST_ID_HEADER, RequestNotes, begin_request
from services.gateway.gateway import Gateway
from services.gateway.problems import unexpected_problem

UNMATCHED_ROUTE: Final = "unmatched"
CLIENT_GONE: Final = "client-closed-request"
CLIENT_GONE_STATUS: Final = 499

_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 64 * 1024 * 1024

logger = logging.getLogger("services.gateway.request")


class RequestMiddleware:
    """Plain ASGI, so that it sees a request's first and last byte and copies none of them."""

    def __init__(self, app: ASGIApp, gateway: Gateway, quiet_routes: frozenset[str]) -> None:
        """Wrap an application.

        Args:
            app: What answers.
            gateway: Its counters and spans are kept.
            quiet_routes: Routes whose log lines are of level debug: health checks and scrapes, also while
                the service isn't ready, which the log says once, when it changes.
        """
        self._app = app
        self._metrics = gateway.metrics
        self._tracing = gateway.tracing
        self._quiet_routes = quiet_routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        # HEAD is answered like GET; the server leaves the body out.
        scope = {**scope, ARRIVED: time.monotonic(), "method": "GET" if method == "HEAD" else method}
        headers = Headers(scope=scope)
        notes = begin_request(headers.get(REQUEST_ID_HEADER))
        exchange = _Exchange(receive, send, headers, notes)
        started = time.perf_counter()
        with self._metrics.answering(), self._tracing.request_span(method, headers) as span:
            try:
                await self._app(scope, exchange.receive, exchange.send)
            except (ClientDisconnect, asyncio.CancelledError) as error:
                notes.outcome = CLIENT_GONE
                exchange.status = CLIENT_GONE_STATUS
                if isinstance(error, asyncio.CancelledError):
                    raise
            except Exception as error:
                response = unexpected_problem(error)
                if exchange.status == 0:
                    await response(scope, exchange.receive, exchange.send)
            finally:
                route = getattr(scope.get("route"), "path", UNMATCHED_ROUTE)
                failed = exchange.status >= HTTPStatus.INTERNAL_SERVER_ERROR
                span.record(notes.outcome, failed=failed, route=f"{method} {route}")
                self._record(scope, method, notes, exchange, time.perf_counter() - started)

    def _record(
        self, scope: Scope, method: str, notes: RequestNotes, exchange: _Exchange, seconds: float
    ) -> None:
        route = getattr(scope.get("route"), "path", UNMATCHED_ROUTE)
        self._metrics.outcome(route, notes.outcome, seconds)
        calm = exchange.status < 400 or exchange.status == HTTPStatus.SERVICE_UNAVAILABLE
        quiet = route in self._quiet_routes and calm
        fields: dict[str, Any] = {
            "method": method,
            "route": route,
            "status": exchange.status,
            "outcome": notes.outcome,
            "seconds": round(seconds, 6),
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
            **notes.details,
        }
        if CALLER in scope:
            fields["caller"] = scope[CALLER]
        logger.log(logging.DEBUG if quiet else logging.INFO, "request", extra=fields)


class _Exchange:
    """Counts what passes, adds the headers, and ends politely when a body was not read to its end."""

    def __init__(self, receive: Receive, send: Send, headers: Headers, notes: RequestNotes) -> None:
        self._receive = receive
        self._send = send
        self._notes = notes
        self._body_pending = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        # Such a client waits for our word before it sends anything.
        self._asks_first = "expect" in headers
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.bytes_in += len(message.get("body", b""))
            self._body_pending = message.get("more_body", False)
        else:
            self._body_pending = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID_HEADER] = self._notes.request_id
            headers.setdefault("X-Content-Type-Options", "nosniff")
            headers.setdefault("Cache-Control", "no-store")
            if self._body_pending:
                headers["Connection"] = "close"
            await self._send(message)
            return
        self.bytes_out += len(message.get("body", b""))
        if message.get("more_body", False) or not self._body_pending:
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._linger()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _linger(self) -> None:
        """Drop what still arrives for a moment: the answer was sent before the body had been read.

        A connection that is closed while its client still sends is reset, and the client then loses the
        answer that says why. What is read here is thrown away piece by piece, within bounds.
        """
        if self._asks_first and self.bytes_in == 0:
            return
        allowance = self.bytes_in + _LINGER_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while self._body_pending and self.bytes_in < allowance:
                    await self.receive()
