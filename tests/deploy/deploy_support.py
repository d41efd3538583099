"""The programs and files that the tests of deploy/ share."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PHOTO = (ROOT / "examples" / "astronaut.png").read_bytes()
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "inversefacenet.json"
METRIC = re.compile(r"\b(?:inversefacenet|process|nv)_[a-z0-9_]+\b")
# What the dashboard's variables stand for, for a server that is scraped each second.
VARIABLES = {"$__rate_interval": "10s", "$__range": "1m", "$instance": ".*"}


def program(name, package):
    """Return the path of a program, or say which package brings it."""
    path = shutil.which(name)
    assert path, f"{name} is missing: install the Debian package '{package}' (apt-get install {package})"
    return path


def promtool(*arguments):
    result = subprocess.run(
        [program("promtool", "prometheus"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


def rules():
    """Yield each rule of deploy/prometheus with the name of its group."""
    for path in sorted((DEPLOY / "prometheus" / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield group["name"], rule


def panels():
    """Yield each panel of the dashboard with the row that it stands in."""
    row = ""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        else:
            yield row, panel


def queries():
    """Yield (row, panel, query) of the dashboard, its variables filled in."""
    for row, panel in panels():
        for target in panel.get("targets", ()):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            assert "$" not in query, f"{panel['title']}: a variable that this test doesn't know: {query}"
            yield row, panel["title"], query


def slugs(markdown):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#{1,6} (.+)$", markdown, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def post(address, content, key=None, content_type="application/octet-stream"):
    """Send a photo; returns the status."""
    headers = {"Content-Type": content_type} | ({"X-API-Key": key} if key else {})
    request = urllib.request.Request(f"{address}/v1/reconstructions", data=content, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


class Prometheus:
    """A running Prometheus server."""

    def __init__(self, address):
        self.address = address

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{query}", timeout=30) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {json.load(error)['error']}") from error

    def query(self, expression, **parameters):
        """Return the labels and the value of each sample."""
        data = self.get("query", query=expression, **parameters)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(sample["metric"], float(sample["value"][1])) for sample in data["result"]]

    def value(self, expression):
        samples = self.query(expression)
        assert len(samples) == 1, f"{expression}: {samples}"
        return samples[0][1]

    def wait(self, condition, seconds=60):
        """Ask until an expression gives anything."""
        for _ in range(seconds * 4):
            if samples := self.query(condition):
                return samples
            time.sleep(0.25)
        raise AssertionError(f"never came true: {condition}")


@contextmanager
def running_gateway(folder, **settings):
    """Start the service on free ports; yields its address and its process, and ends it."""
    log = folder / "log.jsonl"
    environment = {
        **os.environ,
        "IFN_HOST": "127.0.0.1",
        "IFN_PORT": "0",
        "IFN_GRPC_PORT": "0",
        "IFN_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **settings,
    }
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.gateway"], cwd=ROOT, env=environment, stderr=stream
        )
    try:
        yield _address(process, log), process
    finally:
        process.kill()
        process.wait()


def _address(process, log):
    for _ in range(1200):
        assert process.poll() is None, log.read_text()
        port = re.search(r'"message": "starting".*"port": (\d+)', log.read_text())
        if port:
            address = f"http://127.0.0.1:{port[1]}"
            try:
                with urllib.request.urlopen(f"{address}/v2/health/ready", timeout=10):
                    return address
            except OSError:
                pass
        time.sleep(0.1)
    raise AssertionError(f"not ready: {log.read_text()}")


@contextmanager
def running_prometheus(folder, **targets):
    """Start Prometheus with the project's configuration and rules; yields it, and ends it.

    It differs from the project's in being quicker, scraping and evaluating each second, and in finding the
    jobs' targets not by name but here: `inversefacenet="host:port"`.
    """
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"] = [
        {"job_name": job["job_name"], "static_configs": [{"targets": [targets[job["job_name"]]]}]}
        for job in config["scrape_configs"]
        if job["job_name"] in targets
    ]
    (folder / "rules").mkdir()
    for path in (DEPLOY / "prometheus" / "rules").glob("*.yml"):
        text = yaml.safe_load(path.read_text())
        for group in text["groups"]:
            group.pop("interval", None)
        (folder / "rules" / path.name).write_text(yaml.safe_dump(text))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                program("prometheus", "prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            cwd=folder,
            stdout=stream,
            stderr=stream,
        )
    try:
        server = Prometheus(f"http://127.0.0.1:{port}")
        for _ in range(240):
            assert process.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"{server.address}/-/ready", timeout=5).close()
                break
            except OSError:
                time.sleep(0.25)
        for job in targets:
            server.wait(f'up{{job="{job}"}} == 1')
        yield server
    finally:
        process.terminate()
        process.wait(30)
