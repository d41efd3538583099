"""A real Prometheus scrapes a real gateway; each query of the dashboard and each rule is run on it."""

import hashlib
import io
import json
import math
import re
import signal
import subprocess
import time
import urllib.request

import numpy as np
import pytest
import yaml
from deploy_support import (
    DEPLOY,
    METRIC,
    PHOTO,
    post,
    program,
    promtool,
    queries,
    rules,
    running_gateway,
    running_prometheus,
)
from PIL import Image

KEYS = {"shop": "the key of a shop", "trial": "the key of a trial"}
# Rows and metrics that only a gateway with a remote backend, and that backend, can fill.
REMOTE_ROW = "Triton"
REMOTE_METRICS = re.compile(r"\bnv_|inversefacenet_backend_(seconds|errors)|:inversefacenet_backend_")
HERE = [entry for entry in queries() if entry[0] != REMOTE_ROW]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """Start the service with two keys, one of them with a quota; yields its address and its process."""
    keys = {name: {"sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in KEYS.items()}
    keys["trial"] |= {"photos_per_minute": 1, "burst": 1}
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, IFN_WORKERS="2", IFN_API_KEYS=json.dumps(keys)) as started:
        yield started


@pytest.fixture(scope="module")
def prometheus(gateway, tmp_path_factory):
    """Start Prometheus with the project's rules on the gateway, scraping each second."""
    folder = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(folder, inversefacenet=gateway[0].removeprefix("http://")) as server:
        yield server


def grey():
    buffer = io.BytesIO()
    Image.fromarray(np.full((300, 400, 3), 127, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def traffic(gateway, prometheus):
    """Send good photos and bad ones for some scrapes; returns how many answers had which outcome."""
    address, _ = gateway
    sent = {
        "ok": (PHOTO, KEYS["shop"], 200),
        "no-face": (grey(), KEYS["shop"], 422),
        "unsupported-image": (b"no picture", KEYS["shop"], 415),
        "truncated-image": (PHOTO[:50_000], KEYS["shop"], 400),
        "unauthenticated": (PHOTO, "a guess", 401),
    }
    # One photo fits into the quota.
    assert post(address, PHOTO, KEYS["trial"]) == 200
    count = 0
    began = time.monotonic()
    while time.monotonic() - began < 6:
        for content, key, status in sent.values():
            assert post(address, content, key) == status
        assert post(address, PHOTO, KEYS["trial"]) == 429
        count += 1
    counts = dict.fromkeys(sent, count) | {"ok": count + 1, "quota-exceeded": count}
    # Two scrapes after the last answer.
    scraped = prometheus.query("time()")[0][1]
    prometheus.wait(f"min(timestamp(inversefacenet_ready)) > {scraped + 1}")
    return counts


def test_what_was_sent_is_what_prometheus_counts(prometheus, traffic):
    for outcome, count in traffic.items():
        query = f'sum(inversefacenet_requests_total{{route="/v1/reconstructions",outcome="{outcome}"}})'
        assert prometheus.value(query) == count, outcome
    assert prometheus.value("inversefacenet_faces_total") == traffic["ok"]
    assert prometheus.value('inversefacenet_refusals_total{cause="quota"}') == traffic["quota-exceeded"]
    assert (
        prometheus.value('inversefacenet_refusals_total{cause="unauthenticated"}')
        == traffic["unauthenticated"]
    )
    assert {labels["key"] for labels, _ in prometheus.query("inversefacenet_key_photos_total")} >= set(KEYS)


@pytest.mark.parametrize(
    ("title", "query"), [(title, query) for _, title, query in HERE], ids=[entry[1] for entry in HERE]
)
def test_each_query_of_the_dashboard_returns_data(prometheus, traffic, title, query):
    samples = prometheus.query(query)
    assert samples, f"{title}: {query}"
    assert any(math.isfinite(value) for _, value in samples), f"{title}: {samples}"


def test_panels_show_what_happened(prometheus, traffic):
    answers = {
        title: prometheus.query(query)
        for _, title, query in queries()
        if title in ("Ready", "Answered without fault", "Photos by key", "Where a photo's time goes")
    }
    assert answers["Ready"] == [({}, 1.0)]
    # Bad photos and missing keys are no fault of the service.
    assert answers["Answered without fault"] == [({}, 1.0)]
    stages = {labels["stage"]: value for labels, value in answers["Where a photo's time goes"]}
    assert {"queue", "decode", "detect", "landmarks", "crop", "infer", "render", "encode"} <= set(stages)
    assert "whole" not in stages


def test_queries_for_triton_are_sound_though_nothing_answers_them_here(prometheus):
    remote = [query for row, _, query in queries() if row == REMOTE_ROW]
    assert len(remote) >= 10
    for query in remote:
        # Prometheus parses it, and all it asks for is a remote backend's own.
        assert prometheus.query(query) == []
        assert all(REMOTE_METRICS.search(name) for name in METRIC.findall(query))


def test_all_rules_are_evaluated_without_error(prometheus, traffic):
    prometheus.wait("job:inversefacenet_requests:rate5m > 0")
    groups = prometheus.get("rules")["groups"]
    loaded = [rule for group in groups for rule in group["rules"]]
    assert len(loaded) == len(list(rules()))
    assert [rule for rule in loaded if rule["health"] != "ok" or rule.get("lastError")] == []
    empty = {
        rule["name"]
        for rule in loaded
        if rule["type"] == "recording"
        and not REMOTE_METRICS.search(rule["query"])
        and not prometheus.query(rule["name"])
    }
    assert empty == set()
    assert prometheus.query('ALERTS{alertstate="firing", severity="critical"}') == []


def test_the_autoscaler_gets_a_number_from_pods_that_work_and_from_ones_that_rest(prometheus, traffic):
    path = DEPLOY / "kubernetes" / "autoscaling" / "prometheus-adapter.yaml"
    (rule,) = yaml.safe_load(path.read_text())["rules"]["custom"]
    assert prometheus.get("series", **{"match[]": rule["seriesQuery"].replace('namespace!="",pod!="",', "")})
    series = rule["name"]["matches"].strip("^$")

    def ask(window):
        query = rule["metricsQuery"].replace("[2m]", f"[{window}]")
        for name, value in (
            ("Series", series),
            ("LabelMatchers", 'job="inversefacenet"'),
            ("GroupBy", "instance"),
        ):
            query = query.replace(f"<<.{name}>>", value)
        assert "<<" not in query
        ((labels, seconds),) = prometheus.query(query)
        assert set(labels) == {"instance"}
        return seconds

    assert 0 < ask("2m") < 10
    # Over a window without photos the histogram gives no number, but the rule does.
    assert ask("1ms") == 0


def test_promtool_finds_nothing_wrong_with_the_metrics(gateway, traffic):
    with urllib.request.urlopen(f"{gateway[0]}/metrics", timeout=10) as response:
        text = response.read()
    result = subprocess.run(
        [program("promtool", "prometheus"), "check", "metrics"], input=text, capture_output=True, check=False
    )
    # It can't know that these are named by the Prometheus client.
    told = [line for line in result.stderr.decode().splitlines() if "_created" not in line]
    assert told == []
    assert promtool("--version")[0] == 0


def test_a_gateway_that_is_gone_rings(gateway, prometheus, traffic):
    gateway[1].send_signal(signal.SIGKILL)
    samples = prometheus.wait('ALERTS{alertname="InverseFaceNetDown"}')
    assert samples[0][0]["severity"] == "critical"
