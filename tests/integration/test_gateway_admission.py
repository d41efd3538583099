"""Who may call, how much, for how long; in which order that is decided; and what the log says of it."""

import asyncio
import hashlib
import io
import json
import logging
import threading

import pytest
from gateway_support import (
    FakeReconstructor,
    assert_problem,
    broken_backend_error,
    gateway_of,
    metric,
    photo_bytes,
    scope_of,
    serve,
    wait_started,
)

from services.gateway.errors import WorkerCrashedError
from services.gateway.logging_config import JsonFormatter

URL = "/v1/reconstructions"
PNG = {"Content-Type": "image/png"}
KEY = "ifn_a-key-of-the-tests"
BEARER = {"Authorization": f"Bearer {KEY}"}
WORK = (
    ("POST", URL),
    ("POST", f"{URL}/batch"),
    ("POST", "/v1/renderings"),
    ("POST", "/v1/edits"),
    ("GET", "/v1/edits/options"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/inversefacenet"),
)


def keys(**values):
    return {"tests": {"sha256": hashlib.sha256(KEY.encode()).hexdigest(), **values}}


@pytest.fixture
def log_lines():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    gateway_logger = logging.getLogger("services.gateway")
    gateway_logger.addHandler(handler)
    gateway_logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    gateway_logger.removeHandler(handler)
    gateway_logger.setLevel(logging.NOTSET)


class Unread:
    """A body that notes whether anybody asks for it."""

    def __init__(self):
        self.read = False

    async def __aiter__(self):
        self.read = True
        yield photo_bytes()


async def post_unread(client, headers=None, url=URL):
    """Post a body and return the answer, which must come without a byte of the body having been read."""
    body = Unread()
    asked = {**PNG, "Expect": "100-continue", **(headers or {})}
    response = await client.post(url, content=body, headers=asked)
    assert not body.read
    return response


@pytest.mark.parametrize(("method", "path"), WORK)
@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}, {"Authorization": KEY}]
)
def test_work_needs_a_key(method, path, headers):
    async def check(client):
        response = await client.request(method, path, headers=headers)
        assert_problem(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_refusals_total", cause="unauthenticated") == 1

    serve(check, api_keys=keys())


@pytest.mark.parametrize("headers", [BEARER, {"X-API-Key": KEY}, {"authorization": f"bearer {KEY}"}])
def test_a_key_lets_in(headers):
    async def check(client):
        response = await client.post(URL, content=photo_bytes(), headers={**PNG, **headers})
        assert response.status_code == 200
        assert (await client.get("/v1/models", headers=headers)).status_code == 200
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_key_photos_total", key="tests") == 1

    serve(check, api_keys=keys())


@pytest.mark.parametrize(
    "path",
    ["/v2/health/live", "/v2/health/ready", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"],
)
def test_health_metrics_and_documentation_need_none(path):
    async def check(client):
        assert (await client.get(path)).status_code == 200

    serve(check, api_keys=keys())


def test_a_stranger_learns_nothing_but_that():
    async def check(client):
        # The query, the content type and the length are wrong too, and the body is never read.
        headers = {"Content-Type": "text/plain", "Content-Length": "999999999", "Accept": "text/html"}
        response = await post_unread(client, headers, f"{URL}?faces=some")
        assert_problem(response, 401, "unauthenticated")

    serve(check, api_keys=keys())


def test_the_order_of_the_checks():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(client):
        wrong = {**BEARER, "Accept": "text/html", "Content-Type": "text/plain", "Content-Length": "999999999"}
        tasks = [asyncio.create_task(client.post(URL, content=photo_bytes(), headers={**PNG, **BEARER}))]
        await wait_started(reconstructor)
        assert_problem(await post_unread(client, wrong), 503, "overloaded")
        gateway_of(client).engine.draining = True
        assert_problem(await post_unread(client, wrong), 503, "draining")
        gateway_of(client).engine.draining = False
        reconstructor.detector.hold.set()
        await asyncio.gather(*tasks)
        await gateway_of(client).engine.idle()
        assert_problem(await post_unread(client, wrong), 406, "not-acceptable")
        del wrong["Accept"]
        assert_problem(await post_unread(client, wrong), 415, "unsupported-media-type")
        del wrong["Content-Type"]
        assert_problem(await post_unread(client, wrong), 413, "body-too-large")
        with gateway_of(client).uploads.receiving():
            assert_problem(await post_unread(client, BEARER), 503, "too-many-uploads")
            form = {"Content-Type": "multipart/form-data; boundary=x", **BEARER}
            assert_problem(await post_unread(client, form), 503, "too-many-uploads")
        # The key's only photo went to the one that was answered.
        refused = await client.post(URL, content=photo_bytes(), headers={**PNG, **BEARER})
        assert_problem(refused, 429, "quota-exceeded")

    serve(check, reconstructor, api_keys=keys(photos_per_minute=1, burst=1), workers=1, queue=0, uploads=1)


def test_a_length_of_absurd_size():
    async def check(client):
        response = await post_unread(client, {"Content-Length": "9" * 5000})
        assert_problem(response, 413, "body-too-large")

    serve(check)


def test_the_quota_is_exact():
    async def check(client):
        clock = gateway_of(client).access._buckets["tests"]
        now = [clock._filled]
        clock._clock = lambda: now[0]

        async def post():
            return await client.post(URL, content=photo_bytes(), headers={**PNG, **BEARER})

        assert [(await post()).status_code for _ in range(2)] == [200, 200]
        refused = await post()
        assert_problem(refused, 429, "quota-exceeded")
        assert refused.headers["retry-after"] == "30"
        now[0] += 29.9
        assert (await post()).headers["retry-after"] == "1"
        now[0] += 0.1
        assert (await post()).status_code == 200
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_refusals_total", cause="quota") == 2
        assert metric(text, "inversefacenet_key_photos_total", key="tests") == 3

    serve(check, api_keys=keys(photos_per_minute=2))


def test_what_never_reached_a_worker_costs_nothing():
    reconstructor = FakeReconstructor()

    async def check(client):
        async def post(content=None, **values):
            headers = {**PNG, **BEARER, **values}
            return await client.post(
                URL, content=photo_bytes() if content is None else content, headers=headers
            )

        assert (await post(Accept="text/html")).status_code == 406
        assert (await post(**{"Content-Type": "text/plain"})).status_code == 415
        assert (await post(**{"X-Request-Timeout": "soon"})).status_code == 422
        by_url = {"photo": {"url": "https://example.org/a.png"}}
        response = await client.post(URL, json=by_url, headers=BEARER)
        assert_problem(response, 403, "url-input-disabled")
        response = await client.post(f"{URL}/batch", json={"photos": [by_url, 7]}, headers=BEARER)
        assert [one["status"] for one in response.json()["results"]] == [403, 422]
        reconstructor.detector.error = broken_backend_error()
        assert_problem(await post(), 503, "backend-unavailable")
        reconstructor.detector.error = None
        assert (await post()).status_code == 200
        assert_problem(await post(), 429, "quota-exceeded")

    serve(check, reconstructor, api_keys=keys(photos_per_minute=1, burst=1))


def test_photos_of_a_batch_are_charged_together_and_refunded_apart():
    reconstructor = FakeReconstructor()

    async def check(client):
        async def post(count):
            files = [("photo", ("a.png", photo_bytes()))] * count
            return await client.post(f"{URL}/batch", files=files, headers=BEARER)

        assert_problem(await post(5), 400, "invalid-input")
        assert (await post(3)).status_code == 200
        assert_problem(await post(2), 429, "quota-exceeded")
        reconstructor.detector.error = broken_backend_error()
        assert [one["status"] for one in (await post(1)).json()["results"]] == [503]
        reconstructor.detector.error = None
        assert [one["status"] for one in (await post(1)).json()["results"]] == [200]
        assert_problem(await post(1), 429, "quota-exceeded")
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_key_photos_total", key="tests") == 4

    serve(check, reconstructor, api_keys=keys(photos_per_minute=0.001, burst=4), workers=2)


def test_a_rendering_is_charged_like_a_photo():
    async def check(client):
        async def post(parameters):
            body = {"parameters": parameters, "size": 16}
            return await client.post("/v1/renderings", json=body, headers=BEARER)

        assert_problem(await post({"vector": [1]}), 422, "invalid-parameters")
        assert [(await post({})).status_code for _ in range(2)] == [200, 200]
        refused = assert_problem(await post({}), 429, "quota-exceeded")
        assert refused.retry_after == 60_000
        photo = await client.post(URL, content=photo_bytes(), headers={**PNG, **BEARER})
        assert_problem(photo, 429, "quota-exceeded")
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_key_photos_total", key="tests") == 2

    serve(check, api_keys=keys(photos_per_minute=0.001, burst=2))


def test_models_are_not_charged():
    async def check(client):
        for _ in range(3):
            assert (await client.get("/v1/models", headers=BEARER)).status_code == 200

    serve(check, api_keys=keys(photos_per_minute=0.001, burst=1))


@pytest.mark.parametrize("path", [URL, f"{URL}/batch"])
def test_a_photo_whose_worker_died_costs_nothing(path):
    reconstructor = FakeReconstructor()

    async def check(client):
        async def post():
            return await client.post(path, files={"photo": ("a.png", photo_bytes())}, headers=BEARER)

        reconstructor.detector.error = WorkerCrashedError("The worker ended.")
        assert "worker-crashed" in (await post()).text
        reconstructor.detector.error = None
        assert (await post()).status_code == 200
        assert_problem(await post(), 429, "quota-exceeded")
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_key_photos_total", key="tests") == 1

    serve(check, reconstructor, api_keys=keys(photos_per_minute=0.001, burst=1))


def test_all_photos_of_a_batch_whose_caller_left_are_counted():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(client):
        files = [("photo", ("a.png", photo_bytes()))] * 4
        batch = asyncio.create_task(client.post(f"{URL}/batch", files=files, headers=BEARER))
        await wait_started(reconstructor)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        reconstructor.detector.hold.set()
        await gateway_of(client).engine.idle()
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_key_photos_total", key="tests") == 4

    serve(check, reconstructor, api_keys=keys(photos_per_minute=100))


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", ""])
@pytest.mark.parametrize("path", [URL, f"{URL}/batch", "/v1/renderings", "/v1/edits"])
def test_a_wrong_time_is_refused(value, path):
    async def check(client):
        response = await post_unread(client, {"X-Request-Timeout": value}, path)
        problem = assert_problem(response, 422, "invalid-request")
        assert problem.errors[0].field.lower() == "header.x-request-timeout"

    serve(check)


def test_the_callers_time_ends_the_work():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(client):
        headers = {**PNG, "X-Request-Timeout": "0.1"}
        busy = asyncio.create_task(client.post(URL, content=photo_bytes(), headers=headers))
        await wait_started(reconstructor)
        waiting = await client.post(URL, content=photo_bytes(), headers=headers)
        assert_problem(waiting, 504, "deadline-exceeded")
        assert_problem(await busy, 504, "deadline-exceeded")
        reconstructor.detector.hold.set()
        assert (await client.post(URL, content=photo_bytes(), headers=PNG)).status_code == 200
        # The one that waited was dropped: no worker has ever seen it.
        assert reconstructor.detector.started._value == 1
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_refusals_total", cause="deadline") == 2

    serve(check, reconstructor, queue=5)


def test_the_callers_time_is_capped():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(client):
        headers = {**PNG, "X-Request-Timeout": "3600"}
        response = await client.post(URL, content=photo_bytes(), headers=headers)
        assert_problem(response, 504, "deadline-exceeded")
        reconstructor.detector.hold.set()

    serve(check, reconstructor, request_timeout=0.1, url_timeout=0.1)


def test_the_time_begins_with_the_request_not_with_its_body():
    async def body():
        yield photo_bytes()[:20]
        await asyncio.sleep(20)

    async def check(client):
        headers = {**PNG, "X-Request-Timeout": "0.05"}
        assert_problem(await client.post(URL, content=body(), headers=headers), 504, "deadline-exceeded")

    serve(check)


class Disconnecting:
    """A caller who sends a photo and then goes away."""

    def __init__(self):
        self.messages = iter([{"type": "http.request", "body": photo_bytes(), "more_body": False}])
        self.gone = asyncio.Event()
        self.answers = []

    async def receive(self):
        message = next(self.messages, None)
        if message is None:
            await self.gone.wait()
            message = {"type": "http.disconnect"}
        return message

    async def send(self, message):
        self.answers.append(message)


def test_work_for_a_caller_who_left_is_dropped(log_lines):
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(client):
        busy = asyncio.create_task(client.post(URL, content=photo_bytes(), headers=PNG))
        await wait_started(reconstructor)
        caller = Disconnecting()
        scope = scope_of(URL, {"content-type": "image/png"})
        leaving = asyncio.create_task(client._transport.app(scope, caller.receive, caller.send))
        engine = gateway_of(client).engine
        while engine._pool._occupied < 2:
            await asyncio.sleep(0)
        caller.gone.set()
        await leaving
        assert not caller.answers
        assert engine._pool._occupied == 1
        reconstructor.detector.hold.set()
        assert (await busy).status_code == 200
        text = (await client.get("/metrics")).text
        name = "inversefacenet_requests_total"
        assert metric(text, name, route=URL, outcome="client-closed-request") == 1
        assert metric(text, "inversefacenet_photos_total", outcome="cancelled") == 1
        assert metric(text, "inversefacenet_photos_total", outcome="ok") == 1

    serve(check, reconstructor, queue=5)
    # Only the photo whose caller stayed was ever worked on.
    assert reconstructor.backend.calls == 2
    assert {line["outcome"] for line in log_lines() if line["message"] == "request"} >= {
        "client-closed-request"
    }


def test_the_log_names_the_caller_never_the_key(log_lines):
    async def check(client):
        await client.post(f"{URL}?faces=all", content=photo_bytes(), headers={**PNG, **BEARER})
        files = [("photo", ("private.png", photo_bytes()))] * 3
        await client.post(f"{URL}/batch", files=files, headers={"X-API-Key": KEY})
        await client.get("/v1/models", headers={"X-API-Key": "a-wrong-key"})

    serve(check, api_keys=keys(), workers=2)
    one, several, stranger = [line for line in log_lines() if line["message"] == "request"]
    assert (one["caller"], one["photos"], one["faces"]) == ("tests", 1, 2)
    assert (several["caller"], several["photos"], several["faces"]) == ("tests", 3, 3)
    assert several["route"] == f"{URL}/batch"
    assert "caller" not in stranger
    for secret in (KEY, "a-wrong-key", "private.png"):
        assert secret not in json.dumps(log_lines())


def test_the_span_has_the_routes_name():
    seen = []

    async def check(client):
        tracing = gateway_of(client).tracing
        opened = tracing.request_span("GET", {})
        original = type(opened).record
        type(opened).record = lambda self, outcome, **values: seen.append((outcome, values))
        try:
            await client.get("/v1/models/inversefacenet")
            await client.get("/v1/models/other")
            await client.get("/nowhere")
            await client.head("/healthz")
        finally:
            type(opened).record = original

    serve(check)
    assert seen == [
        ("ok", {"failed": False, "route": "GET /v1/models/{name}"}),
        ("not-found", {"failed": False, "route": "GET /v1/models/{name}"}),
        ("not-found", {"failed": False, "route": "GET unmatched"}),
        ("ok", {"failed": False, "route": "HEAD /healthz"}),
    ]


def test_other_methods():
    async def check(client):
        head = await client.head("/v1/models")
        get = await client.get("/v1/models")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]
        for method, path in WORK:
            for other in ("PUT", "DELETE", "PATCH", "OPTIONS", "POST" if method == "GET" else "GET"):
                response = await client.request(other, path)
                assert_problem(response, 405, "method-not-allowed")
                assert response.headers["allow"] == method
        assert (await client.head(URL)).status_code == 405
        assert_problem(await client.get("/v1/nothing"), 404, "not-found")

    serve(check)
