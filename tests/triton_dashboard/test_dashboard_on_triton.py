"""The dashboard's Triton row, on a real Triton server with the gateway in front and a real Prometheus."""

import re
import subprocess
import sys
import time

import pytest
from deploy_support import PHOTO, ROOT, post, queries, rules, running_gateway, running_prometheus

ROW = [entry for entry in queries() if entry[0] == "Triton" and "nv_gpu" not in entry[2]]


@pytest.fixture(scope="module")
def triton():
    """Start the server on free ports; yields them by name, and its process."""
    process = subprocess.Popen(
        [
            *(sys.executable, str(ROOT / "scripts" / "triton_server.py")),
            *("--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = next((line for line in process.stdout if line.startswith("grpc=")), "")
        assert line, "the server ended before it was ready"
        yield dict(re.findall(r"(\w+)=(\S+)", line)), process
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


@pytest.fixture(scope="module")
def prometheus(triton, tmp_path_factory):
    """Photos through gateway and Triton, the last of them after Triton was gone; yields Prometheus."""
    addresses, server = triton
    folder = tmp_path_factory.mktemp("triton")
    settings = {"IFN_BACKEND": "triton", "IFN_TRITON_URL": addresses["grpc"], "IFN_WORKERS": "1"}
    with (
        running_gateway(tmp_path_factory.mktemp("gateway"), **settings) as (gateway, _),
        running_prometheus(
            folder, inversefacenet=gateway.removeprefix("http://"), triton=addresses["metrics"]
        ) as started,
    ):
        began = time.monotonic()
        while time.monotonic() - began < 6:
            assert post(gateway, PHOTO) == 200
        answers = {(title, query): started.query(query) for _, title, query in ROW}
        server.terminate()
        assert server.wait(60) == 0
        for _ in range(3):
            assert post(gateway, PHOTO) in (503, 504)
            time.sleep(1)
        started.wait('up{job="triton"} == 0')
        for entry in ROW:
            if "Failed" in entry[1]:
                answers[entry[1:]] = started.wait(entry[2])
        yield started, answers


@pytest.mark.parametrize(("title", "query"), [entry[1:] for entry in ROW], ids=[entry[1] for entry in ROW])
def test_each_query_of_the_row_returns_data(prometheus, title, query):
    assert prometheus[1][title, query], query


def test_a_triton_that_is_gone_rings_and_its_errors_are_counted(prometheus):
    server, _ = prometheus
    server.wait('ALERTS{alertname="TritonDown"}')
    server.wait('sum(inversefacenet_backend_errors_total{backend="triton"}) > 0')
    server.wait("job_backend:inversefacenet_backend_seconds:p95_rate5m")


def test_rules_are_evaluated_without_error(prometheus):
    groups = prometheus[0].get("rules")["groups"]
    loaded = [rule for group in groups for rule in group["rules"]]
    assert len(loaded) == len(list(rules()))
    assert [rule["lastError"] for rule in loaded if rule["health"] != "ok"] == []
