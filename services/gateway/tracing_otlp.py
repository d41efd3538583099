"""Traces by OpenTelemetry, sent in the background: a collector that is away disturbs nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from inversefacenet.errors import InverseFaceNetError
from services.gateway.context import current_request_id
from services.gateway.tracing import SHUTDOWN_SECONDS, Stage, TracedRequest, Tracing, trace_id_variable

SERVICE_NAME: Final = "inversefacenet"

_PATH: Final = "/v1/traces"
_EXPORT_SECONDS: Final = 5.0
_DELAY_SECONDS: Final = 1.0
_QUEUE: Final = 8192  # spans; a request has about ten
_BATCH: Final = 512
_LONGEST_HEADER: Final = 512  # characters of traceparent and tracestate that are read
_NANOSECONDS: Final = 1_000_000_000

logger = logging.getLogger(__name__)


class OtlpTracing(Tracing):
    """Records spans and sends them off in batches; past the queue's length they are dropped.

    The standard variables OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
    OTEL_TRACES_SAMPLER_ARG and OTEL_EXPORTER_OTLP_HEADERS are honoured.
    """

    def __init__(self, endpoint: str, service_version: str) -> None:
        """Start the thread that sends spans; nothing is connected yet.

        Args:
            endpoint: Base URL of the collector.
            service_version: What the traces say is running.
        """
        name = os.environ.get("OTEL_SERVICE_NAME", SERVICE_NAME)
        resource = Resource.create({"service.name": name, "service.version": service_version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        url = endpoint.rstrip("/") + _PATH
        self._exporter = ReportingExporter(OTLPSpanExporter(endpoint=url, timeout=_EXPORT_SECONDS))
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=_QUEUE,
                schedule_delay_millis=_DELAY_SECONDS * 1000,
                max_export_batch_size=_BATCH,
            )
        )
        self._tracer = self._provider.get_tracer(SERVICE_NAME, service_version)
        self._propagator = TraceContextTextMapPropagator()
        # The packages log every failed attempt; the exporter above says it once.
        self._noisy = logging.getLogger("opentelemetry")
        self._level = self._noisy.level
        self._noisy.setLevel(logging.CRITICAL)

    @contextlib.contextmanager
    def request_span(self, route: str, carrier: Mapping[str, str | bytes]) -> Iterator[TracedRequest]:
        """Open the span of a request, as a child of the caller's own if it sent one."""
        parent = self._propagator.extract(_trace_headers(carrier), context.Context())
        request_id = current_request_id()
        attributes = {"inversefacenet.request_id": request_id} if request_id else None
        span = self._tracer.start_span(route, parent, SpanKind.SERVER, attributes)
        entered = trace_id_variable.set(trace.format_trace_id(span.get_span_context().trace_id))
        try:
            with _current(span):
                yield _OtlpRequest(span)
        finally:
            # A stream's handler may be left in another context than it was entered in.
            with contextlib.suppress(ValueError):
                trace_id_variable.reset(entered)

    @contextlib.contextmanager
    def span(self, name: str, *, calls_out: bool = False) -> Iterator[None]:
        """Open a span within the current one."""
        kind = SpanKind.CLIENT if calls_out else SpanKind.INTERNAL
        with _current(self._tracer.start_span(name, kind=kind)):
            yield

    def stage_spans(self, stages: Iterable[Stage]) -> None:
        """Add spans with the times that they are given."""
        if not trace.get_current_span().is_recording():
            return
        for name, start, seconds in stages:
            begun = int(start * _NANOSECONDS)
            span = self._tracer.start_span(name, start_time=begun)
            span.end(begun + int(seconds * _NANOSECONDS))

    def inject(self) -> dict[str, str]:
        """Return `traceparent`, and `tracestate` if the caller sent one."""
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        return headers

    def shutdown(self, seconds: float = SHUTDOWN_SECONDS) -> None:
        """Deliver what is left, for a bounded time."""
        # The packages' own shutdown may wait for a collector for half a minute: it is left behind.
        flushing = threading.Thread(target=self._provider.shutdown, name="flush-traces", daemon=True)
        flushing.start()
        flushing.join(seconds)
        if flushing.is_alive():
            logger.warning("the last traces were not delivered in time and are dropped")
            self._exporter.give_up()
        else:
            self._noisy.setLevel(self._level)


class _OtlpRequest(TracedRequest):
    def __init__(self, span: Span) -> None:
        self._span = span

    def record(self, outcome: str, *, failed: bool = False, route: str | None = None) -> None:
        if route is not None:
            self._span.update_name(route)
        self._span.set_attribute("inversefacenet.outcome", outcome)
        if outcome != "ok":
            self._span.set_attribute("error.type", outcome)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR, outcome))


class ReportingExporter(SpanExporter):
    """Logs once when the collector stops taking traces, and once when it takes them again."""

    def __init__(self, exporter: SpanExporter) -> None:
        """Wrap the exporter that does the work."""
        self._exporter = exporter
        self._delivering = True
        self._given_up = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, unless nobody waits for that any more."""
        if self._given_up:
            return SpanExportResult.FAILURE
        result = self._exporter.export(spans)
        delivered = result is SpanExportResult.SUCCESS
        if delivered != self._delivering and not self._given_up:
            self._delivering = delivered
            if delivered:
                logger.info("the collector takes traces again")
            else:
                logger.warning("the collector does not take traces: they are dropped until it does")
        return result

    def give_up(self) -> None:
        """Stop trying again; an attempt that is under way ends by its own timeout."""
        self._given_up = True
        self._exporter.shutdown()

    def shutdown(self) -> None:
        """Close the connection."""
        if not self._given_up:
            self._exporter.shutdown()


@contextlib.contextmanager
def _current(span: Span) -> Iterator[None]:
    """Make a span the current one, and end it. Errors are noted by their slug, never by their message."""
    try:
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield
    except Exception as error:
        slug = error.slug if isinstance(error, InverseFaceNetError) else "internal"
        blamed = error.http_status >= 500 if isinstance(error, InverseFaceNetError) else True
        span.set_attribute("error.type", slug)
        if blamed:
            span.set_status(Status(StatusCode.ERROR, slug))
        raise
    finally:
        span.end()


def _trace_headers(carrier: Mapping[str, str | bytes]) -> dict[str, str]:
    """Pick the headers of W3C's trace context, if they are of a sane length."""
    found: dict[str, str] = {}
    for name in ("traceparent", "tracestate"):
        value = carrier.get(name)
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if text and len(text) <= _LONGEST_HEADER:
            found[name] = text
    return found
