"""SIGTERM under load, on a service that is guarded by TLS and keys: nobody who was let in goes away empty."""

import hashlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest
from certificates import self_signed
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inversefacenet.v1 import reconstruction_pb2
from inversefacenet.v1.reconstruction_pb2_grpc import ReconstructionServiceStub

ROOT = Path(__file__).resolve().parents[2]
PHOTO = (ROOT / "examples" / "astronaut.png").read_bytes()
KEY = "ifn_a-key-of-this-test"
HEADERS = {"X-API-Key": KEY, "Content-Type": "image/png"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself: its file and its key's."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def drain_delay():
    """How long the service waits between its two ends."""
    return "1.5"


@pytest.fixture
def service(tmp_path, certificate, drain_delay):
    """Start a guarded service with one worker; yields its process, its log and its two ports."""
    pem, private = certificate
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    settings = {
        "IFN_PORT": "0",
        "IFN_GRPC_PORT": "0",
        "IFN_WORKERS": "1",
        "IFN_QUEUE": "32",
        "IFN_DRAIN_DELAY": drain_delay,
        "IFN_API_KEYS": json.dumps({"tester": {"sha256": digest}}),
        "IFN_TLS_CERTIFICATE": str(pem),
        "IFN_TLS_KEY": str(private),
    }
    log = tmp_path / "log.jsonl"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.gateway"],
            cwd=ROOT,
            env={**os.environ, **settings},
            stderr=stream,
        )
    try:
        ports = None
        while ports is None:
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
            rest = re.search(r'"message": "starting".*"port": (\d+)', log.read_text())
            rpc = re.search(r'"message": "ready".*"grpc_port": (\d+)', log.read_text())
            ports = (int(rest[1]), int(rpc[1])) if rest and rpc else None
        yield process, log, ports
    finally:
        process.kill()
        process.wait()


def test_all_that_was_accepted_is_answered_and_readiness_goes_first(service, certificate):
    process, log, (rest, rpc) = service
    client = httpx.Client(
        base_url=f"https://127.0.0.1:{rest}",
        verify=ssl.create_default_context(cafile=certificate[0]),
        timeout=60,
    )
    credentials = grpc.ssl_channel_credentials(certificate[0].read_bytes())
    channel = grpc.secure_channel(f"127.0.0.1:{rpc}", credentials)
    health = health_pb2_grpc.HealthStub(channel)
    while client.get("/readyz").status_code != 200:
        time.sleep(0.05)
    assert client.post("/v1/reconstructions", content=PHOTO).status_code == 401
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING

    def by_rest(number):
        return client.post("/v1/reconstructions", content=PHOTO, headers=HEADERS).status_code

    def by_grpc(number):
        answer = ReconstructionServiceStub(channel).Reconstruct(
            reconstruction_pb2.ReconstructRequest(content=PHOTO), metadata=[("x-api-key", KEY)], timeout=60
        )
        return len(answer.faces)

    with ThreadPoolExecutor(16) as callers:
        rest_calls = [callers.submit(by_rest, number) for number in range(8)]
        grpc_calls = [callers.submit(by_grpc, number) for number in range(8)]
        while "inversefacenet_queue_length 0" in client.get("/metrics").text:
            time.sleep(0.005)
        time.sleep(0.2)  # for the rest of them to arrive
        process.send_signal(signal.SIGTERM)
        while client.get("/readyz").status_code == 200:
            time.sleep(0.005)
        # It listens still, and says that it is going.
        refused = client.post("/v1/reconstructions", content=PHOTO, headers=HEADERS)
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        assert client.get("/healthz").status_code == 200
        status = health.Check(health_pb2.HealthCheckRequest()).status
        assert status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert [call.result() for call in rest_calls] == [200] * 8
        assert [call.result() for call in grpc_calls] == [1] * 8
    client.close()
    channel.close()
    assert process.wait(60) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert not [line for line in lines if line["level"] in ("error", "critical")]
    assert KEY not in log.read_text()


@pytest.mark.parametrize("drain_delay", ["200"])
def test_a_second_signal_ends_it_at_once(service):
    process, log, _ = service
    process.send_signal(signal.SIGTERM)
    while "draining" not in log.read_text():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 1
    assert "Traceback" not in log.read_text()
