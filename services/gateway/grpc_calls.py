"""Around every gRPC call: its id, its log line, its counters, and errors as codes with details."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Any, Final

import grpc
from grpc import aio

from inversefacenet.errors import DeadlineError, InverseFaceNetError
from services.gateway.context import REQUEST_ID_HEADER, RequestNotes, begin_request
from services.gateway.errors import NotFoundError
from services.gateway.gateway import Gateway
from services.gateway.grpc_errors import code_of, status_of, trailing_of
from services.gateway.grpc_messages import Context, MessageLostError, caller_name, metadata_of
from services.gateway.middleware import CLIENT_GONE, UNMATCHED_ROUTE
from services.gateway.outward import foreseen
from services.gateway.tracing import TracedRequest

REQUEST_ID_KEY: Final = REQUEST_ID_HEADER.lower()
BODY_UNREADABLE: Final = "body-too-large"

_QUIET_SERVICES: Final = ("/grpc.health.v1.", "/grpc.reflection.")

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

logger = logging.getLogger("services.gateway.request")

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class UnknownMethodError(NotFoundError):
    """The caller names a method that this server doesn't have."""

    grpc_code = "UNIMPLEMENTED"


class CallInterceptor(aio.ServerInterceptor):  # type: ignore[type-arg]
    """Wraps the handler of each call, before anything of the call's messages is read."""

    def __init__(self, gateway: Gateway) -> None:
        """Take what keeps counters and spans."""
        self._gateway = gateway

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the handler of a call with everything around it."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return grpc.stream_unary_rpc_method_handler(self._wrapped(_unmatched, UNMATCHED_ROUTE))
        return _replaced(handler, lambda inner: self._wrapped(inner, handler_call_details.method))

    def _wrapped(self, inner: Callable[..., Any], route: str) -> Callable[..., Any]:
        if inspect.isasyncgenfunction(inner):

            async def generate(request: Any, context: Context) -> AsyncIterator[Any]:
                call = _Call(self._gateway, route, context)
                try:
                    async for message in inner(request, context):
                        yield message
                except BaseException as error:
                    await call.fail(error)
                    raise
                finally:
                    call.record()

            return generate

        async def answer(request: Any, context: Context) -> Any:
            call = _Call(self._gateway, route, context)
            try:
                return await inner(request, context)
            except BaseException as error:
                await call.fail(error)
                raise
            finally:
                call.record()

        return answer


class _Call:
    """One call, from its first byte to its log line."""

    def __init__(self, gateway: Gateway, route: str, context: Context) -> None:
        self._metrics = gateway.metrics
        self._route = route
        self._context = context
        metadata = metadata_of(context)
        self._started = time.perf_counter()
        self._code = grpc.StatusCode.OK
        self._notes: RequestNotes = begin_request(metadata.get(REQUEST_ID_KEY))
        self._trailing = ((REQUEST_ID_KEY, self._notes.request_id),)
        # A watch on health stays open for good, and isn't work.
        self._quiet = route.startswith(_QUIET_SERVICES)
        context.set_trailing_metadata(self._trailing)
        self._around = ExitStack()
        self._span = TracedRequest()
        self._at_fault = False
        self._recorded = False
        if not self._quiet:
            self._around.enter_context(gateway.metrics.answering())
            self._span = self._around.enter_context(gateway.tracing.request_span(route, metadata))

    async def fail(self, error: BaseException) -> None:
        """Note an error and answer it, if there is still somebody to answer to."""
        if isinstance(error, aio.AbortError):
            self._note_abort()
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._note_gone()
        elif isinstance(error, MessageLostError):
            # The connection has said so already, in its own words.
            self._code, self._notes.outcome = grpc.StatusCode.RESOURCE_EXHAUSTED, BODY_UNREADABLE
            with suppress(Exception):
                await self._context.abort(self._code, str(error), self._trailing)
        elif isinstance(error, Exception):
            await self._abort(foreseen(error))

    async def _abort(self, error: InverseFaceNetError) -> None:
        self._code, self._notes.outcome = code_of(error), error.slug
        self._at_fault = error.http_status >= 500
        status = status_of(error, self._notes.request_id)
        trailing = (*self._trailing, *trailing_of(error, status))
        # Before the answer goes out, so that whoever has it finds it counted.
        self.record()
        await self._context.abort(self._code, status.message, trailing)

    def _note_abort(self) -> None:
        """Note what a handler that is not ours has answered by itself."""
        self._code = _CODES.get(self._context.code(), grpc.StatusCode.UNKNOWN)
        self._notes.outcome = self._code.name.lower().replace("_", "-")

    def _note_gone(self) -> None:
        left = self._context.time_remaining()
        if left is not None and left <= 0:
            self._code, self._notes.outcome = grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineError.slug
        else:
            self._code, self._notes.outcome = grpc.StatusCode.CANCELLED, CLIENT_GONE

    def record(self) -> None:
        """Count the call and write its log line, once."""
        if self._recorded:
            return
        self._recorded = True
        self._span.record(self._notes.outcome, failed=self._at_fault)
        self._around.close()
        seconds = time.perf_counter() - self._started
        self._metrics.outcome(self._route, self._notes.outcome, seconds)
        quiet = self._quiet and self._code is not grpc.StatusCode.UNKNOWN
        fields: dict[str, Any] = {
            "method": "gRPC",
            "route": self._route,
            "status": self._code.name,
            "outcome": self._notes.outcome,
            "caller": caller_name.get(),
            "seconds": round(seconds, 6),
            **self._notes.details,
        }
        logger.log(logging.DEBUG if quiet else logging.INFO, "request", extra=fields)


def _replaced(handler: Any, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
    """Return a handler of the same kind with another behaviour."""
    makers = {
        (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
        (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
        (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
    }
    make, inner = makers[handler.request_streaming, handler.response_streaming]
    return make(wrap(inner), handler.request_deserializer, handler.response_serializer)


async def _unmatched(messages: Any, context: Context) -> None:
    """Refuse a call of a method that doesn't exist."""
    raise UnknownMethodError("There is no such method here: server reflection lists what there is.")
