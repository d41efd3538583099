"""The dashboard and its provisioning, as far as files can tell."""

import json
from itertools import combinations

import yaml
from deploy_support import DASHBOARD, DEPLOY, ROOT, panels

PROVISIONING = DEPLOY / "grafana" / "provisioning"


def test_panels_are_distinct_explained_and_do_not_overlap():
    dashboard = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for row, panel in panels():
        assert row, panel["title"]
        assert panel["description"], panel["title"]
    for one, other in combinations(dashboard["panels"], 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, (one["title"], other["title"])
        assert a["x"] + a["w"] <= 24


def test_every_query_goes_to_the_data_source_that_the_viewer_chose():
    for _, panel in panels():
        for target in panel.get("targets", ()):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(letters) == len(set(letters))


def test_grafana_finds_what_is_provisioned():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    mounted = dict(
        volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"] if "./" in volume
    )
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    provider = yaml.safe_load((PROVISIONING / "dashboards" / "inversefacenet.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    assert mounted["./deploy/grafana/dashboards"] == folder
    source = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in compose["services"]
    chosen = json.loads(DASHBOARD.read_text())["templating"]["list"][0]["current"]
    assert chosen == {"text": source["name"], "value": source["uid"]}
