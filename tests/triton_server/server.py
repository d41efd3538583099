"""A real Triton server for tests: starts, stops, is killed, paused, loses its stub, loads and unloads."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from inversefacenet.networks import reference_path
from scripts import triton_server

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "model_repository" / "inversefacenet"
NETWORK = reference_path()
NAME = "inversefacenet"


class Repository:
    """A private model repository that links to the network.

    Attributes:
        folder: What Triton gets.
    """

    def __init__(self, folder, change=None, sleep_ms=None):
        """Write it.

        Args:
            folder: Where; made.
            change: Called with the configuration before it is written.
            sleep_ms: Milliseconds that the model sleeps before each batch.
        """
        self.folder = folder
        self._sleep_ms = sleep_ms
        self._change = change
        self._digests = {}
        (folder / NAME / "configs").mkdir(parents=True)
        self.add_version(1)

    def add_version(self, number, network=NETWORK):
        """Add a version, of the shipped network or another file."""
        version = self.folder / NAME / str(number)
        version.mkdir()
        (version / "model.onnx").symlink_to(network)
        real = NETWORK.with_name("model.py")
        shutil.copy(
            real if self._sleep_ms is None else Path(__file__).with_name("slow_model.py"),
            version / "model.py",
        )
        self._digests[number] = hashlib.sha256(network.read_bytes()).hexdigest()
        self._write()

    def remove_version(self, number):
        """Remove a version's folder; a server that has it loaded keeps it until the next load."""
        shutil.rmtree(self.folder / NAME / str(number))
        del self._digests[number]
        self._write()

    def _write(self):
        config = text_format.Parse(
            (MODEL / "configs" / "python.pbtxt").read_text(), model_config_pb2.ModelConfig()
        )
        # Two cores at most, and the tests' own work beside it.
        config.parameters["intra_op_threads"].string_value = "1"
        config.parameters["onnx_sha256"].string_value = self._digests[max(self._digests)]
        for number, digest in self._digests.items():
            config.parameters[f"onnx_sha256_{number}"].string_value = digest
        if self._sleep_ms is not None:
            config.parameters["sleep_ms"].string_value = str(self._sleep_ms)
            config.parameters["real_model"].string_value = str(NETWORK.with_name("model.py"))
            del config.model_warmup[:]
        if self._change:
            self._change(config)
        (self.folder / NAME / "configs" / "python.pbtxt").write_text(text_format.MessageToString(config))


class TritonServer:
    """One server on ports of its own, which it keeps from start to start.

    Attributes:
        ports: Where it listens.
        url: Where its gRPC listens, as the backend wants it.
    """

    def __init__(self, folder, repository, explicit=False):
        """Choose ports; nothing is started.

        Args:
            folder: For its log; made if it isn't there.
            repository: What it serves.
            explicit: Whether models are loaded and unloaded by hand; the model is loaded at the start.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "server.log"
        self.ports = triton_server.Ports.free()
        self.url = f"{triton_server.HOST}:{self.ports.grpc}"
        self._repository = repository
        self._arguments = ["--model-control-mode=explicit", f"--load-model={NAME}"] if explicit else []
        self._process = None
        self._prefix = f"inversefacenet-test-{os.getpid()}-{self.ports.grpc}-"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.kill()

    def start(self):
        """Start it and wait until it is ready."""
        assert self._process is None
        arguments = triton_server.command(
            triton_server.ENVIRONMENT, self._repository.folder, self.ports, self._prefix, self._arguments
        )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                arguments,
                stdout=log,
                stderr=log,
                env={**triton_server.process_environment(triton_server.ENVIRONMENT), "OMP_NUM_THREADS": "1"},
            )
        try:
            triton_server.wait_ready(self._process, self.ports, 60)
        except triton_server.ServerError:
            self.kill()
            sys.stderr.write(self.log.read_text()[-4000:])
            raise

    def stop(self, seconds=40):
        """Ask it to end, and wait; returns the exit code."""
        self._process.terminate()
        status = self._process.wait(seconds)
        self._process = None
        return status

    def kill(self):
        """Kill it and its stubs, and clear away what they leave; a server that isn't running is fine."""
        if self._process is None:
            return
        stubs = self.stubs()
        self._process.kill()
        self._process.wait()
        self._process = None
        for stub in stubs:
            _kill(stub)
        triton_server.remove_shared_memory(self._prefix)

    def pause(self):
        """Stop it in its tracks (SIGSTOP): connections stay, nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def stubs(self):
        """Return the process ids of its Python backend's stubs."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(status.read_text().rpartition(")")[2].split()[1])
                command = status.with_name("cmdline").read_bytes()
            except OSError:
                continue
            if parent == self._process.pid and b"triton_python_backend_stub" in command:
                found.append(int(status.parent.name))
        return found

    def kill_stub(self):
        """Kill the one stub, and wait until it is gone."""
        (stub,) = self.stubs()
        _kill(stub)

    def load(self):
        """Load the model, or load it anew."""
        self._post(f"v2/repository/models/{NAME}/load")

    def unload(self):
        """Unload the model, and wait until it is gone."""
        self._post(f"v2/repository/models/{NAME}/unload")
        deadline = time.monotonic() + 30
        while self.model_ready():
            assert time.monotonic() < deadline, "the model is still loaded"
            time.sleep(0.02)

    def model_ready(self):
        """Return what the server says of the model."""
        try:
            with urllib.request.urlopen(self._address(f"v2/models/{NAME}/ready"), timeout=5):
                return True
        except urllib.error.HTTPError:
            return False

    def server_ready(self):
        """Return what the server says of itself."""
        return triton_server.http_ready(self.ports.http)

    def executions(self):
        """Return how many crops were inferred, in how many batches, since the start."""
        address = f"http://{triton_server.HOST}:{self.ports.metrics}/metrics"
        with urllib.request.urlopen(address, timeout=5) as answer:
            text = answer.read().decode()
        return tuple(
            sum(float(value) for value in re.findall(rf"^{name}{{[^}}]*}} (\S+)$", text, flags=re.M))
            for name in ("nv_inference_count", "nv_inference_exec_count")
        )

    def shared_memory(self):
        """Return the names of the client regions that the server knows."""
        with urllib.request.urlopen(self._address("v2/systemsharedmemory/status"), timeout=5) as answer:
            return [region["name"] for region in json.load(answer)]

    def _post(self, path):
        request = urllib.request.Request(self._address(path), data=b"{}", method="POST")
        with urllib.request.urlopen(request, timeout=60):
            pass

    def _address(self, path):
        return f"http://{triton_server.HOST}:{self.ports.http}/{path}"


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        while True:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
            time.sleep(0.01)
    except (ProcessLookupError, FileNotFoundError):
        return
