"""Prometheus' configuration, rules and alerts, by promtool and against the service's own metrics."""

import re

import pytest
import yaml
from deploy_support import DEPLOY, METRIC, ROOT, promtool, queries, rules, slugs

from services.gateway.metrics import Metrics

PROMETHEUS = DEPLOY / "prometheus"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
# What a Triton server tells, as version 2.51 does; the GPU's come from servers that have one.
TRITON_METRICS = {
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_output_duration_us",
    "nv_inference_pending_request_count",
    "nv_gpu_utilization",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_memory_total_bytes",
}


def known_metrics():
    """Return the names of all samples that the service can write."""
    names = set()
    for family in Metrics().registry.collect():
        kinds = {
            "histogram": ("_bucket", "_sum", "_count"),
            "counter": ("_total",),
        }.get(family.type, ("",))
        names |= {family.name + suffix for suffix in kinds}
    return names


def used_metrics():
    for _, rule in rules():
        # Recorded names have colons; what remains are the service's and Triton's.
        yield from METRIC.findall(re.sub(r"\b[\w]+:[\w:]+", "", rule["expr"]))
    for _, _, query in queries():
        yield from METRIC.findall(re.sub(r"\b[\w]+:[\w:]+", "", query))


def test_promtool_accepts_the_configuration_and_the_rules():
    status, output = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert status == 0, output
    assert "2 rule files found" in output


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path):
    status, output = promtool("test", "rules", path)
    assert status == 0, output


def test_each_alert_fires_in_a_test():
    text = "".join(path.read_text() for path in TESTS)
    alerts = [rule["alert"] for _, rule in rules() if "alert" in rule]
    assert len(alerts) == len(set(alerts)) >= 15
    assert [alert for alert in alerts if alert not in text] == []


@pytest.mark.parametrize("rule", [rule for _, rule in rules() if "alert" in rule], ids=lambda r: r["alert"])
def test_each_alert_says_what_it_means_and_where_help_is(rule):
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == f"alert-{rule['alert'].lower()}"
    assert anchor in slugs((ROOT / page).read_text()), f"{page} has no heading 'Alert: {rule['alert']}'"


def test_rules_and_dashboard_use_metrics_that_exist():
    known = known_metrics() | TRITON_METRICS
    assert {"inversefacenet_requests_total", "inversefacenet_stage_seconds_bucket"} <= known
    assert set(used_metrics()) - known == set()


def test_recorded_names_are_all_made_somewhere():
    recorded = [rule["record"] for _, rule in rules() if "record" in rule]
    assert len(recorded) == len(set(recorded))
    texts = [rule["expr"] for _, rule in rules()] + [query for _, _, query in queries()]
    used = {name for text in texts for name in re.findall(r"\b[a-z_]+:[a-z]\w*:\w+", text)}
    assert used <= set(recorded)


def test_scrapes_come_often_enough_for_the_rules():
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert [job["job_name"] for job in config["scrape_configs"]][:2] == ["inversefacenet", "triton"]
    assert config["global"]["scrape_interval"] == "5s"
    datasource = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())
    assert datasource["datasources"][0]["jsonData"]["timeInterval"] == "5s"
