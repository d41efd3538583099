"""A gateway and a Triton server, each as its operator starts it, on loopback ports that the system chose."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from inversefacenet.networks import REFERENCE, reference_path

ROOT: Final = Path(__file__).resolve().parents[2]
HOST: Final = "127.0.0.1"

_READY_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 90.0
_THREADS: Final = re.compile(r'(key: "intra_op_threads" value { string_value: )"\d+"')
_PORTS: Final = re.compile(r"^grpc=(\S+) http=(\S+) metrics=(\S+)$", re.MULTILINE)


class ServerError(Exception):
    """A server didn't start or end as it should; the message says why."""


class Server:
    """A child process that writes a log, ends on SIGTERM, and is killed with us at the latest."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """Start it.

        Args:
            command: What to run.
            log: Where its output goes; what was there is lost.
            environment: All its variables.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("wb") as stream:
            # The working folder is the log's: a file `.env` of the checkout doesn't reach it.
            self._process = subprocess.Popen(
                command,
                cwd=log.parent,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def output(self) -> str:
        """Return what it has written."""
        return self.log.read_text(errors="replace")

    def check(self) -> None:
        """Return if it runs.

        Raises:
            ServerError: If it has ended.
        """
        if self._process.poll() is not None:
            raise ServerError(f"{self.log.name}: ended with {self._process.poll()}: {self.output()[-2000:]}")

    def wait_for(self, condition: Any, seconds: float = _READY_SECONDS) -> Any:
        """Ask again and again until the answer isn't None, and return it.

        Raises:
            ServerError: If the server ends before, or the time is over.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.check()
            found = condition()
            if found is not None:
                return found
            time.sleep(0.05)
        raise ServerError(f"{self.log.name}: not ready after {seconds:g} s: {self.output()[-2000:]}")

    def stop(self) -> int:
        """Ask it to end, and return its exit code; a negative one if it had to be killed."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class GatewayServer(Server):
    """`python -m services.gateway`.

    Attributes:
        rest: Address of REST, `host:port`.
        grpc: Address of gRPC; None where it is off.
    """

    def __init__(self, folder: Path, name: str = "gateway", **settings: object) -> None:
        """Start it and wait until it is ready.

        Args:
            folder: Where its log goes.
            name: Name of the log.
            **settings: Settings by their names in lower case, without the prefix; None and True are written
                as an empty value and as true.

        Raises:
            ServerError: If it doesn't become ready.
        """
        chosen = {"host": HOST, "port": 0, "grpc_port": 0, "model_path": REFERENCE, **settings}
        super().__init__(
            [sys.executable, "-m", "services.gateway"], folder / f"{name}.log", gateway_environment(chosen)
        )
        try:
            self.rest: str = self.wait_for(self._find_rest)
            self.wait_for(self._is_ready)
            port = self._logged("ready").get("grpc_port")
        except BaseException:
            self.stop()
            raise
        self.grpc: str | None = f"{HOST}:{port}" if port else None

    def _find_rest(self) -> str | None:
        port = self._logged("starting").get("port")
        return f"{HOST}:{port}" if port else None

    def _is_ready(self) -> bool | None:
        try:
            return True if self.get("/v2/health/ready") else None
        except OSError:
            return None

    def _logged(self, message: str) -> dict[str, Any]:
        """Return the first log line with a message."""
        for line in self.output().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and entry.get("message") == message:
                return entry
        return {}

    def get(self, path: str) -> bytes:
        """Return the answer to a GET.

        Raises:
            OSError: If there is none, or its status is no success.
        """
        with urllib.request.urlopen(f"http://{self.rest}{path}", timeout=30) as answer:
            content: bytes = answer.read()
        return content

    def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Return all samples by name and sorted labels."""
        from prometheus_client.parser import text_string_to_metric_families

        families = text_string_to_metric_families(self.get("/metrics").decode())
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that carry these labels; 0 if there are none."""
        wanted = set(labels.items())
        full = f"inversefacenet_{name}"
        return sum(
            value
            for (found, carried), value in self.metrics().items()
            if found == full and wanted <= set(carried)
        )


def gateway_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return the variables of a gateway: ours without its settings, and those given here."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("IFN_")}
    kept["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
    # As `make run` and the image have it: the workers are the parallelism.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        kept.setdefault(name, "1")
    return {**kept, **{f"IFN_{name.upper()}": _text(value) for name, value in settings.items()}}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


class TritonServer(Server):
    """`python scripts/triton_server.py`, in the environment that `make triton` has made.

    Attributes:
        grpc: Its address, `host:port`.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        """Start it and wait until it is ready.

        Args:
            folder: Where its log and its model repository go.
            threads: Threads of one inference.

        Raises:
            ServerError: If it doesn't become ready.
        """
        repository = triton_repository(folder / "models", threads)
        command = [sys.executable, str(ROOT / "scripts" / "triton_server.py")]
        command += ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
        command += ["--repository", str(repository)]
        super().__init__(command, folder / "triton.log", {**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            self.grpc: str = self.wait_for(self._find_address)
        except BaseException:
            self.stop()
            raise

    def _find_address(self) -> str | None:
        found = _PORTS.search(self.output())
        return found[1] if found else None


def triton_repository(folder: Path, threads: int) -> Path:
    """Write a model repository that is the project's own but for the threads of one inference.

    Returns:
        The folder.
    """
    source, target = ROOT / "model_repository" / "inversefacenet", folder / "inversefacenet"
    shutil.rmtree(folder, ignore_errors=True)
    version = reference_path().parent
    for name in (version.name, "configs"):
        (target / name).mkdir(parents=True)
    (target / version.name / "model.onnx").symlink_to(version / "model.onnx")
    shutil.copy(version / "model.py", target / version.name)
    config = (source / "configs" / "python.pbtxt").read_text()
    changed, count = _THREADS.subn(rf'\g<1>"{threads}"', config)
    if count != 1:
        raise ServerError("python.pbtxt sets no intra_op_threads.")
    (target / "configs" / "python.pbtxt").write_text(changed)
    return folder
