"""A gateway of its own, asked over HTTP as its clients would."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]


class Gateway:
    """The service in a process of its own.

    Attributes:
        address: Where it listens.
        pid: Its process.
    """

    def __init__(self, folder, **settings):
        """Start it and wait until it listens; whether it is ready is another matter."""
        self._log = folder / f"gateway-{uuid.uuid4().hex}.jsonl"
        environment = {**os.environ, "IFN_PORT": "0", "IFN_GRPC_PORT": "", "IFN_PROBE_INTERVAL": "0.2"}
        environment.update({f"IFN_{name.upper()}": str(value) for name, value in settings.items()})
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.gateway"], cwd=ROOT, env=environment, stderr=log
            )
        self.pid = self._process.pid
        self.address = f"http://127.0.0.1:{self._wait_port()}"
        self.client = httpx.Client(base_url=self.address, timeout=60, limits=httpx.Limits(max_connections=64))
        self.wait(lambda: self.answers("/v2/health/live"), 120)

    def _wait_port(self):
        self.wait(lambda: '"starting"' in self._log.read_text(), 60)
        return re.search(r'"message": "starting".*"port": (\d+)', self._log.read_text())[1]

    def wait(self, happens, seconds):
        """Wait until something is so, and return how long that took."""
        started = time.monotonic()
        while not happens():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < started + seconds, self._log.read_text()[-4000:]
            time.sleep(0.02)
        return time.monotonic() - started

    def answers(self, path):
        """Say whether an address answers 200."""
        try:
            return self.client.get(path, timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def ready(self):
        """Say whether the gateway says that it is ready."""
        return self.answers("/v2/health/ready")

    def post(self, photo, timeout=None, **query):
        """Post a photo, and return the answer and how long it took."""
        headers = {"Content-Type": "image/png"}
        if timeout is not None:
            headers["X-Request-Timeout"] = str(timeout)
        started = time.monotonic()
        answer = self.client.post("/v1/reconstructions", params=query, content=photo, headers=headers)
        return answer, time.monotonic() - started

    def post_many(self, photos, **options):
        """Post photos at once, each on a connection of its own; yields what `post` returns, in order."""
        with ThreadPoolExecutor(len(photos)) as callers:
            yield from callers.map(lambda photo: self.post(photo, **options), photos)

    def metric(self, name):
        """Return the sum of a metric's samples."""
        text = self.client.get("/metrics").text
        samples = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, flags=re.M)
        return sum(map(float, samples))

    def descriptors(self):
        """Return how many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        """Return how many threads it has."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def memory(self):
        """Return its resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        """End it as an operator would, and return its exit code."""
        self.client.close()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def lines(self):
        """Return its log."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def kill(self):
        """End it if it still runs."""
        self.client.close()
        self._process.kill()
        self._process.wait()
