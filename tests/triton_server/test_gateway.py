"""The gateway before a real Triton that is slow, stopped, killed, half dead or not there yet."""

import io
import threading
import time

import numpy as np
import pytest
from gateway import ROOT, Gateway
from PIL import Image

PHOTO = (ROOT / "examples" / "astronaut.png").read_bytes()
REFUSED = {502, 503, 504}


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def gateways(tmp_path):
    """Start gateways that end with the test."""
    running = []

    def start(server, **settings):
        running.append(
            Gateway(tmp_path, backend="triton", triton_url=getattr(server, "url", server), **settings)
        )
        return running[-1]

    yield start
    for gateway in running:
        gateway.kill()


@pytest.fixture
def photos(crops):
    """Twelve crops as files: they need no detector, so that many are under way at once."""
    return [png(crop) for crop in crops[:12]]


def vector(answer):
    """Return the parameters of an answer's largest face."""
    parameters = answer.json()["faces"][0]["parameters"]
    groups = ("rotation", "shape", "expression", "reflectance", "illumination")
    return np.concatenate([np.ravel(parameters[group]) for group in groups])


def test_triton_and_the_embedded_network_answer_alike(gateways, steady, tmp_path):
    gateway = gateways(steady)
    embedded = Gateway(tmp_path, backend="onnx", model_path="reference")
    try:
        (ours, _), (theirs, _) = embedded.post(PHOTO), gateway.post(PHOTO)
        np.testing.assert_allclose(vector(theirs), vector(ours), atol=1e-4)
        assert theirs.json()["model"]["backend"] == "triton"
        assert ours.json()["model"]["backend"] == "onnxruntime"
        # It is the same network, and each says so; versions are numbered by each repository.
        for name in ("name", "digest", "face_model"):
            assert theirs.json()["model"][name] == ours.json()["model"][name]
        assert theirs.json()["timings_ms"]["infer"] > 0
    finally:
        embedded.kill()
    assert gateway.stop() == 0
    assert not [line for line in gateway.lines() if line["level"] == "error"]


def test_each_caller_gets_its_own_face(gateways, steady, photos, answers):
    gateway = gateways(steady)
    for (answer, _), theta in zip(
        gateway.post_many(photos * 2, input="crop"), [*answers[:12]] * 2, strict=True
    ):
        assert answer.status_code == 200, answer.text
        np.testing.assert_allclose(vector(answer), theta, atol=1e-4)
    assert gateway.metric("inversefacenet_backend_seconds_count") >= 24


def test_killed_in_mid_request_and_back_again(gateways, start, photos):
    server = start(sleep_ms=300)
    gateway = gateways(server)
    gateway.wait(gateway.ready, 10)
    killer = threading.Timer(0.5, server.kill)
    killer.start()
    outcomes = list(gateway.post_many(photos, input="crop", timeout=8))
    killer.join()
    statuses = {answer.status_code for answer, _ in outcomes}
    assert statuses <= {200} | REFUSED
    assert statuses & REFUSED
    assert all(seconds < 9 for _, seconds in outcomes)
    for answer, _ in outcomes:
        if answer.status_code == 503:
            assert answer.headers["retry-after"]
            assert answer.headers["content-type"] == "application/problem+json"
    gateway.wait(lambda: not gateway.ready(), 2)
    assert gateway.answers("/v2/health/live")
    answer, seconds = gateway.post(photos[0], input="crop")
    assert answer.status_code == 503
    assert seconds < 2

    server.start()
    assert gateway.wait(gateway.ready, 5) < 2
    answer, _ = gateway.post(photos[0], input="crop")
    assert answer.status_code == 200


def test_stopped_and_continued(gateways, start, photos):
    server = start()
    gateway = gateways(server, probe_timeout=1)
    gateway.wait(gateway.ready, 10)
    server.pause()
    try:
        outcomes = list(gateway.post_many(photos, input="crop", timeout=1.5))
        assert {answer.status_code for answer, _ in outcomes} <= REFUSED
        assert all(seconds < 4 for _, seconds in outcomes)
        assert not gateway.ready()
        assert gateway.answers("/v2/health/live")
    finally:
        server.resume()
    assert gateway.wait(gateway.ready, 5) < 2
    assert gateway.post(photos[0], input="crop")[0].status_code == 200


def test_a_dead_stub_makes_the_gateway_not_ready(gateways, start, photos):
    server = start(explicit=True)
    gateway = gateways(server)
    gateway.wait(gateway.ready, 10)
    server.kill_stub()
    gateway.wait(lambda: not gateway.ready(), 5)
    # Triton itself notices nothing: only a real inference shows it.
    assert server.server_ready()
    assert server.model_ready()
    assert gateway.post(photos[0], input="crop")[0].status_code == 503
    server.unload()
    server.load()
    gateway.wait(gateway.ready, 5)
    assert gateway.post(photos[0], input="crop")[0].status_code == 200


def test_the_clients_time_is_what_triton_gets(gateways, start, photos):
    server = start(sleep_ms=1500)
    gateway = gateways(server, probe_timeout=10, probe_interval=300)
    gateway.wait(gateway.ready, 20)
    answer, seconds = gateway.post(photos[0], input="crop", timeout=0.5)
    assert answer.status_code == 504
    assert answer.json()["code"] == "deadline-exceeded"
    assert seconds < 1.4
    answer, _ = gateway.post(photos[0], input="crop", timeout=10)
    assert answer.status_code == 200


def test_a_gateway_that_starts_first_waits_for_triton(gateways, start, photos, tmp_path):
    server = start()
    server.kill()
    gateway = gateways(server, probe_timeout=1)
    assert not gateway.ready()
    assert gateway.post(photos[0], input="crop")[0].status_code == 503
    server.start()
    assert gateway.wait(gateway.ready, 10) < 2
    answer, _ = gateway.post(photos[0], input="crop")
    assert answer.status_code == 200
    assert len(answer.json()["model"]["digest"]) == 64


def test_restarts_leave_nothing_behind(gateways, start, photos):
    server = start()
    gateway = gateways(server, probe_timeout=1)
    gateway.wait(gateway.ready, 10)

    def round_trip():
        list(gateway.post_many(photos, input="crop"))
        server.kill()
        list(gateway.post_many(photos, input="crop", timeout=1))
        server.start()
        gateway.wait(gateway.ready, 5)
        list(gateway.post_many(photos, input="crop"))
        time.sleep(0.5)

    for _ in range(2):
        round_trip()
    before = gateway.descriptors(), gateway.threads(), gateway.memory()
    for _ in range(4):
        round_trip()
    after = gateway.descriptors(), gateway.threads(), gateway.memory()
    assert after[0] <= before[0] + 3
    assert after[1] <= before[1] + 3
    assert after[2] <= before[2] * 1.05
    assert gateway.metric("inversefacenet_queue_length") == 0
    assert gateway.metric("inversefacenet_workers_busy") == 0
    assert gateway.stop() == 0
