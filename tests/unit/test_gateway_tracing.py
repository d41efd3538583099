"""Traces, as a collector sees them: a small OTLP server on the loopback address."""

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from inversefacenet.errors import BackendError, MissingDependencyError, NoFaceError
from services.gateway.context import begin_request
from services.gateway.tracing import Tracing, current_trace_id
from services.gateway.tracing_otlp import ReportingExporter

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=1"}
OURS = "services.gateway.tracing_otlp"


class Collector:
    """Takes spans, or refuses them with a status, or keeps the sender waiting."""

    def __init__(self):
        self.spans = {}
        self.resources = []
        self.paths = []
        self.status = 200
        self.asked = threading.Event()
        self.release = threading.Event()
        self.release.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.paths.append(self.path)
                collector.asked.set()
                collector.release.wait(20)
                if collector.status == 200:
                    collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.send_header("connection", "close")
                self.end_headers()
                self.close_connection = True

            def log_message(self, *arguments):
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, request):
        for resource in request.resource_spans:
            self.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
            for scope in resource.scope_spans:
                self.spans.update({span.name: span for span in scope.spans})


@pytest.fixture
def collector():
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.release.set()
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@contextmanager
def tracing_to(endpoint):
    tracing = Tracing.from_settings(endpoint, "1.2.3")
    try:
        yield tracing
    finally:
        tracing.shutdown(20)
        await_background()


@pytest.fixture(autouse=True)
def _loggers_as_before():
    yield
    logging.getLogger("opentelemetry").setLevel(logging.NOTSET)


def await_background():
    """Wait for threads that a shutdown left behind, so that no test disturbs the next."""
    for thread in threading.enumerate():
        if thread.name.startswith(("Otel", "flush-traces")):
            thread.join(20)


def attributes(span):
    return {attribute.key: attribute.value.string_value for attribute in span.attributes}


def test_without_an_endpoint_nothing_happens():
    tracing = Tracing.from_settings("", "1.2.3")
    assert type(tracing) is Tracing
    with tracing.request_span("/v1/reconstructions", PARENT) as request:
        with tracing.span("triton", calls_out=True):
            assert tracing.inject() == {}
        tracing.stage_spans([("decode", 1.0, 2.0)])
        request.record("ok")
        assert current_trace_id() is None
    tracing.shutdown()


def test_without_an_endpoint_the_packages_are_not_even_loaded(root):
    code = (
        "from services.gateway.tracing import Tracing; Tracing.from_settings('', '1'); import sys; "
        "print(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_missing_packages_are_named_only_if_they_are_needed(monkeypatch):
    monkeypatch.delitem(sys.modules, OURS, raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    Tracing.from_settings("", "1.2.3")
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[tracing\]"):
        Tracing.from_settings("http://127.0.0.1:1", "1.2.3")


def test_spans_arrive_as_children_of_the_callers(collector):
    started = time.time()
    with tracing_to(collector.endpoint + "/") as tracing:
        begin_request("request-7")
        with tracing.request_span("unmatched", PARENT) as request:
            assert current_trace_id() == TRACE
            tracing.stage_spans([("decode", started, 0.25), ("detect", started + 0.25, 1.5)])
            with tracing.span("triton", calls_out=True):
                headers = tracing.inject()
            request.record("ok", route="/v1/reconstructions")
        assert current_trace_id() is None
    spans = collector.spans
    assert set(spans) == {"/v1/reconstructions", "decode", "detect", "triton"}
    assert set(collector.paths) == {"/v1/traces"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    whole = spans["/v1/reconstructions"]
    assert whole.parent_span_id.hex() == CALLER
    assert whole.kind == Span.SPAN_KIND_SERVER
    assert attributes(whole) == {
        "inversefacenet.request_id": "request-7",
        "inversefacenet.outcome": "ok",
    }
    assert whole.status.code == Status.STATUS_CODE_UNSET
    assert {spans[name].parent_span_id for name in ("decode", "detect", "triton")} == {whole.span_id}
    assert spans["triton"].kind == Span.SPAN_KIND_CLIENT
    assert headers["traceparent"].split("-")[1:3] == [TRACE, spans["triton"].span_id.hex()]
    assert headers["tracestate"] == "vendor=1"
    decode, detect = spans["decode"], spans["detect"]
    assert decode.start_time_unix_nano == int(started * 1e9)
    assert decode.end_time_unix_nano - decode.start_time_unix_nano == 250_000_000
    assert detect.end_time_unix_nano - detect.start_time_unix_nano == 1_500_000_000
    assert collector.resources[0]["service.name"] == "inversefacenet"
    assert collector.resources[0]["service.version"] == "1.2.3"


@pytest.mark.parametrize(
    "carrier",
    [
        {},
        {"traceparent": "nonsense"},
        {"traceparent": f"00-{'0' * 32}-{CALLER}-01"},
        {"traceparent": f"00-{TRACE}-{CALLER}-01" + "x" * 4000},
        {"tracestate": "vendor=1"},
    ],
)
def test_without_a_sane_parent_each_request_starts_a_trace(collector, carrier):
    seen = []
    with tracing_to(collector.endpoint) as tracing:
        for name in ("first", "second"):
            with tracing.request_span(name, carrier):
                seen.append(current_trace_id())
    assert len({TRACE, *seen}) == 3
    assert [collector.spans[name].trace_id.hex() for name in ("first", "second")] == seen
    assert not collector.spans["first"].parent_span_id


def test_metadata_of_bytes_and_unsampled_callers(collector):
    with tracing_to(collector.endpoint) as tracing:
        with tracing.request_span("bytes", {"traceparent": PARENT["traceparent"].encode()}):
            pass
        with tracing.request_span("unsampled", {"traceparent": f"00-{TRACE}-{CALLER}-00"}):
            tracing.stage_spans([("decode", 1.0, 2.0)])
            assert current_trace_id() == TRACE
            assert tracing.inject()["traceparent"].endswith("-00")
    assert set(collector.spans) == {"bytes"}
    assert collector.spans["bytes"].trace_id.hex() == TRACE


def test_errors_are_noted_by_slug_and_never_by_message(collector):
    with tracing_to(collector.endpoint) as tracing:
        for name, error in (
            ("backend", BackendError("/srv/secret/model.onnx")),
            ("face", NoFaceError("secret")),
            ("bug", RuntimeError("secret")),
        ):
            with pytest.raises(type(error)), tracing.request_span(name, {}):
                raise error
        with tracing.request_span("answered", {}) as request:
            request.record("overloaded", failed=True)
        with tracing.request_span("callers-fault", {}) as request:
            request.record("no-face")
    spans = collector.spans
    found = {name: (attributes(span)["error.type"], span.status.code) for name, span in spans.items()}
    assert found == {
        "backend": ("backend-unavailable", Status.STATUS_CODE_ERROR),
        "face": ("no-face", Status.STATUS_CODE_UNSET),
        "bug": ("internal", Status.STATUS_CODE_ERROR),
        "answered": ("overloaded", Status.STATUS_CODE_ERROR),
        "callers-fault": ("no-face", Status.STATUS_CODE_UNSET),
    }
    assert b"secret" not in b"".join(span.SerializeToString() for span in spans.values())
    assert not any(span.events for span in spans.values())


def test_unreachable_collector_is_told_once_and_disturbs_nothing(caplog):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with caplog.at_level(logging.DEBUG):
        tracing = Tracing.from_settings(endpoint, "1.2.3")
        for _ in range(2000):
            with tracing.request_span("route", PARENT):
                tracing.stage_spans([("decode", 1.0, 2.0)])
        tracing.shutdown(0.3)
        await_background()
    lines = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert [(record.name, record.levelname) for record in lines] == [(OURS, "WARNING")]


def test_shutdown_does_not_wait_for_a_collector_that_hangs(collector, caplog):
    collector.release.clear()
    tracing = Tracing.from_settings(collector.endpoint, "1.2.3")
    with tracing.request_span("route", {}):
        pass
    tracing.shutdown(0.2)
    assert not collector.release.is_set()
    assert not collector.spans
    assert "not delivered in time" in caplog.text
    collector.release.set()
    await_background()


def test_collector_that_comes_back_is_told_too(collector, caplog):
    class Exporter(SpanExporter):
        def export(self, spans):
            return results.pop(0)

    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    results = [good, bad, bad, bad, good, good]
    exporter = ReportingExporter(Exporter())
    with caplog.at_level(logging.INFO):
        for _ in range(6):
            exporter.export([])
    exporter.shutdown()
    assert [record.levelname for record in caplog.records if record.name == OURS] == ["WARNING", "INFO"]


def test_threads_and_contexts_do_not_mix_traces(collector):
    """Two requests at once, whose parts take turns, keep their own children."""

    async def request(tracing, name, turn, other):
        with tracing.request_span(name, {}):
            for index in range(3):
                await turn.acquire()
                with tracing.span(f"{name}-{index}"):
                    other.release()

    async def both(tracing):
        first, second = asyncio.Semaphore(1), asyncio.Semaphore(0)
        await asyncio.gather(request(tracing, "a", first, second), request(tracing, "b", second, first))

    with tracing_to(collector.endpoint) as tracing:
        asyncio.run(both(tracing))
    for name in "ab":
        for index in range(3):
            child = collector.spans[f"{name}-{index}"]
            assert child.parent_span_id == collector.spans[name].span_id
    assert collector.spans["a"].trace_id != collector.spans["b"].trace_id
