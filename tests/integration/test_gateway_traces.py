"""One trace from the caller through the gateway to Triton, as a collector sees it."""

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from gateway_support import FakeReconstructor, make_settings, photo_bytes
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.gateway.app import create_app

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


@pytest.fixture
def collector():
    """An OTLP collector; gives its address and the list of spans that it fills."""
    spans = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.send_header("connection", "close")
            self.end_headers()
            self.close_connection = True

        def log_message(self, *arguments):
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", spans
    server.shutdown()
    thread.join()
    server.server_close()


class Remote:
    """Stands in for Triton and remembers what came with each request."""

    name, version, digest = "triton", "1", "ef" * 32

    def __init__(self):
        self.metadata = []

    async def infer_async(self, crops, *, timeout=None, metadata=None):
        self.metadata.append(dict(metadata or {}))
        return FakeReconstructor().backend.infer(crops)

    async def close_async(self):
        """Nothing is open."""


def test_a_photo_is_one_trace_from_the_caller_to_triton(collector):
    endpoint, spans = collector
    remote = Remote()

    async def run():
        app = create_app(make_settings(otlp_endpoint=endpoint), FakeReconstructor(), remote)
        async with app.router.lifespan_context(app):
            remote.metadata.clear()  # the probe of the start
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                headers = {"Content-Type": "image/png", "traceparent": f"00-{TRACE}-{CALLER}-01"}
                answer = await client.post("/v1/reconstructions", content=photo_bytes(), headers=headers)
                assert answer.status_code == 200

    asyncio.run(asyncio.wait_for(run(), 60))
    ours = {span.name: span for span in spans if span.trace_id.hex() == TRACE}
    root = ours["POST /v1/reconstructions"]
    assert root.parent_span_id.hex() == CALLER
    for stage in ("decode", "crop", "infer", "geometry", "render", "measure", "encode"):
        assert ours[stage].parent_span_id == root.span_id, stage
        assert root.start_time_unix_nano <= ours[stage].start_time_unix_nano
        assert ours[stage].end_time_unix_nano <= root.end_time_unix_nano
    assert [m["traceparent"].split("-")[1:3] for m in remote.metadata] == [
        [TRACE, ours["infer"].span_id.hex()]
    ]
