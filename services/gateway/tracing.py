"""Traces: where the time of a request went, across the gateway, its workers and Triton.

What is here does nothing and costs nothing; `Tracing.from_settings` returns `tracing_otlp`'s implementation
where the operator has named a collector. Spans carry names, times, a request's id and its outcome: never
anything of a photo, nor a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Final

from inversefacenet.errors import MissingDependencyError

SHUTDOWN_SECONDS: Final = 2.0

Stage = tuple[str, float, float]
"""A stage of the work: its name, its start (seconds since 1970), how many seconds it took."""

trace_id_variable: ContextVar[str | None] = ContextVar("inversefacenet_trace_id", default=None)


def current_trace_id() -> str | None:
    """Return the id of the trace that this context works for, for log lines; 32 hexadecimal digits."""
    return trace_id_variable.get()


class TracedRequest:
    """A request's span while it is open."""

    def record(self, outcome: str, *, failed: bool = False, route: str | None = None) -> None:
        """Say how the request ended.

        Args:
            outcome: 'ok', or the slug of the problem that was answered.
            failed: Whether the service is to blame; what callers do wrong is no failure of a server's span.
            route: The span's name, if it wasn't known at the start.
        """


class Tracing:
    """Traces nothing."""

    @classmethod
    def from_settings(cls, endpoint: str, service_version: str) -> Tracing:
        """Start tracing if there is somewhere to send traces to.

        Args:
            endpoint: Base URL of an OTLP collector that speaks HTTP with protobuf, such as
                'http://collector:4318'; empty: don't trace.
            service_version: What the traces say is running.

        Raises:
            MissingDependencyError: If there is an endpoint, but OpenTelemetry isn't installed.
        """
        if not endpoint:
            return Tracing()
        try:
            from services.gateway.tracing_otlp import OtlpTracing
        except ImportError as error:
            raise MissingDependencyError(
                "Traces need OpenTelemetry, which is not installed: leave IFN_OTLP_ENDPOINT empty, or do",
                extra="tracing",
            ) from error
        return OtlpTracing(endpoint, service_version)

    def request_span(
        self, route: str, carrier: Mapping[str, str | bytes]
    ) -> AbstractContextManager[TracedRequest]:
        """Open the span of a request; all spans within it become its children.

        Args:
            route: The span's name; a route or full gRPC method, of which there are few.
            carrier: HTTP headers or gRPC metadata, whose W3C `traceparent` is continued.
        """
        return _NOTHING

    def span(self, name: str, *, calls_out: bool = False) -> AbstractContextManager[None]:
        """Open a span within the current one, around one photo of several or around a call.

        Args:
            name: The span's name, of which there are few.
            calls_out: Whether it is a call to another server; `inject` within it gives that server's parent.
        """
        return _NO_SPAN

    def stage_spans(self, stages: Iterable[Stage]) -> None:
        """Add spans for stages that are already over, such as a worker process has reported."""

    def inject(self) -> dict[str, str]:
        """Return headers that let another server continue the trace: none, or `traceparent`."""
        return {}

    def shutdown(self, seconds: float = SHUTDOWN_SECONDS) -> None:
        """Deliver what is left, then stop. Blocks: call it off the event loop.

        Args:
            seconds: The longest that it may take; what isn't delivered by then is dropped.
        """


class _Nothing(TracedRequest):
    """A span that isn't there."""

    def __enter__(self) -> TracedRequest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class _NoSpan:
    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


_NOTHING: Final = _Nothing()
_NO_SPAN: Final = _NoSpan()
