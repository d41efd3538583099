"""Runs a real Triton server without a container, from a wheel; standard library alone.

    python scripts/triton_server.py --setup     makes the server's own environment, .venv-triton, and ends
    python scripts/triton_server.py             serves model_repository/ until Ctrl-C or SIGTERM

The wheel brings the server and its Python backend, no other: so it serves `configs/python.pbtxt`, on the CPU.
Arguments after `--` go to tritonserver. Once the server is ready one line says where: `grpc= http= metrics=`.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-triton"
CONSTRAINTS = ROOT / "constraints-triton.txt"
REPOSITORY = ROOT / "model_repository"
STAMP = ".ready"
SHARED_MEMORY = Path("/dev/shm")
HOST = "127.0.0.1"
START_SECONDS = 120.0
# So that a new version, or a model whose process died, can be loaded while the server runs.
RELOADING = ["--model-control-mode=explicit", "--load-model=*"]
# The wheel has a stub for each Python from 3.8 to 3.13; this project and numpy before 2 narrow that down.
VERSIONS = ((3, 11), (3, 12))

# The preface of an HTTP/2 client with empty settings; a server answers with its own settings (frame type 4).
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
HTTP2_SETTINGS = 4

_ASK = (
    "import sys, sysconfig as s; print(s.get_path('purelib'), s.get_config_var('LIBDIR'), "
    "s.get_config_var('INSTSONAME') or '', '%d.%d' % sys.version_info[:2], sep='\\n')"
)


class ServerError(Exception):
    """The server can't be set up or started; the message says why."""


@dataclass(frozen=True)
class Ports:
    """Where a server listens, all on the loopback address."""

    grpc: int
    http: int
    metrics: int

    @classmethod
    def free(cls) -> Ports:
        """Let the system choose three ports."""
        probes = [socket.socket() for _ in range(3)]
        try:
            for probe in probes:
                probe.bind((HOST, 0))
            return cls(*(probe.getsockname()[1] for probe in probes))
        finally:
            for probe in probes:
                probe.close()


def main() -> int:
    """Set up or serve.

    Returns:
        The server's exit code, or 1 if it couldn't start.
    """
    options = _options()
    try:
        if options.setup:
            set_up(options.environment)
            return 0
        chosen = Ports.free()
        ports = Ports(
            options.grpc_port or chosen.grpc,
            options.http_port or chosen.http,
            options.metrics_port or chosen.metrics,
        )
        return serve(options.environment, options.repository, ports, options.arguments)
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def set_up(environment: Path = ENVIRONMENT) -> None:
    """Make the server's environment, or leave it alone if it is there.

    Raises:
        ServerError: If this interpreter can't run the server, or an install fails.
    """
    stamp = environment / STAMP
    wanted = CONSTRAINTS.read_text()
    if stamp.is_file() and stamp.read_text() == wanted:
        stamp.touch()
        return
    if sys.version_info[:2] not in VERSIONS:
        known = " or ".join(".".join(map(str, version)) for version in VERSIONS)
        raise ServerError(
            f"this is Python {sys.version_info[0]}.{sys.version_info[1]}, but Triton from a wheel needs "
            f"Python {known} (its stubs, and numpy before 2): start this script with one of those."
        )
    print(f"Installing Triton into {environment.name} (once; it fetches about 100 MB) ...", flush=True)
    python = str(environment / "bin" / "python")
    pip = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--constraint",
        str(CONSTRAINTS),
    ]
    _call([sys.executable, "-m", "venv", "--clear", str(environment)])
    _call([*pip, "numpy", "onnxruntime"])
    # The wheel is wanted for the server in it: nothing that its Python package needs is installed.
    _call([*pip, "--no-deps", "nvidia-pytriton"])
    server, _, version = _inside(environment)
    backend = environment / "backends" / "python"
    backend.mkdir(parents=True)
    for file in (
        server / "backends" / "python" / "libtriton_python.so",
        server / "backends" / "python" / "triton_python_backend_utils.py",
        server / "python_backend_stubs" / version / "triton_python_backend_stub",
    ):
        if not file.is_file():
            raise ServerError(f"the wheel has no {file.relative_to(server)}.")
        (backend / file.name).symlink_to(file)
    stamp.write_text(wanted)


def serve(environment: Path, repository: Path, ports: Ports, arguments: list[str]) -> int:
    """Run the server in the foreground until it ends or is told to.

    Returns:
        The server's exit code.

    Raises:
        ServerError: If it can't start.
    """
    check_ports(ports)
    prefix = f"inversefacenet-triton-{os.getpid()}-"
    # In a group of its own, so that a terminal's Ctrl-C reaches it once: from here.
    server = subprocess.Popen(
        command(environment, repository, ports, prefix, [*RELOADING, *arguments]),
        env=process_environment(environment),
        start_new_session=True,
    )

    def stop(number: int, frame: FrameType | None) -> None:
        server.terminate()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        wait_ready(server, ports)
        print(f"grpc={HOST}:{ports.grpc} http={HOST}:{ports.http} metrics={HOST}:{ports.metrics}", flush=True)
        return server.wait()
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
        remove_shared_memory(prefix)


def command(
    environment: Path, repository: Path, ports: Ports, prefix: str, arguments: list[str] | None = None
) -> list[str]:
    """Return the server's command line.

    Args:
        environment: What `set_up` made.
        repository: A folder of models.
        ports: Where to listen.
        prefix: What the names of the Python backend's shared memory start with.
        arguments: More arguments for the server; they win over the ones given here.

    Raises:
        ServerError: If there is no such environment or repository.
    """
    if not (environment / STAMP).is_file():
        raise ServerError("Triton isn't installed yet: python scripts/triton_server.py --setup")
    if not repository.is_dir():
        raise ServerError(f"there is no model repository {repository}.")
    server, _, _ = _inside(environment)
    return [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={repository.resolve()}",
        f"--backend-directory={environment / 'backends'}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        f"--cache-directory={server / 'caches'}",
        "--model-config-name=python",
        f"--grpc-address={HOST}",
        f"--grpc-port={ports.grpc}",
        f"--http-address={HOST}",
        f"--http-port={ports.http}",
        f"--metrics-address={HOST}",
        f"--metrics-port={ports.metrics}",
        "--allow-gpu-metrics=false",
        *(arguments or []),
    ]


def process_environment(environment: Path) -> dict[str, str]:
    """Return the environment variables with which the server and its stubs find their interpreter.

    Raises:
        ServerError: If the interpreter has no shared library; the server would hang without a word.
    """
    _, library, _ = _inside(environment)
    if not library.is_file():
        raise ServerError(
            f"Triton's Python backend needs its interpreter's shared library, but {library} isn't there: "
            "make .venv-triton with a Python that was built with --enable-shared."
        )
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return {
        **os.environ,
        # A stub's site-packages are those of the first python3 on PATH.
        "PATH": os.pathsep.join([str(environment / "bin"), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join([str(library.parent), *([inherited] if inherited else [])]),
    }


def wait_ready(server: subprocess.Popen[bytes], ports: Ports, seconds: float = START_SECONDS) -> None:
    """Wait until the server answers over gRPC and says over HTTP that it and its models are ready.

    Raises:
        ServerError: If it ends before, or takes too long.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = server.poll()
        if status is not None:
            raise ServerError(
                f"tritonserver ended with exit code {status} before it was ready; its lines say why."
            )
        if grpc_answers(ports.grpc) and http_ready(ports.http):
            return
        time.sleep(0.05)
    raise ServerError(f"tritonserver was not ready after {seconds:.0f} s.")


def grpc_answers(port: int) -> bool:
    """Tell if a gRPC server answers there."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(HTTP2_PREFACE)
            frame = connection.recv(9)
    except OSError:
        return False
    return len(frame) == 9 and frame[3] == HTTP2_SETTINGS


def http_ready(port: int) -> bool:
    """Tell if the server says that it and all its models are ready."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/v2/health/ready", timeout=5):
            return True
    except OSError:
        return False


def check_ports(ports: Ports) -> None:
    """Tell at once, and clearly, if another program listens there.

    Raises:
        ServerError: If a port can't be had.
    """
    for name, port in vars(ports).items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise ServerError(
                    f"port {port} can't be used ({error.strerror}): choose another, --{name}-port, 0 for any."
                ) from error


def remove_shared_memory(prefix: str) -> None:
    """Remove what a server that was killed left in shared memory."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def _inside(environment: Path) -> tuple[Path, Path, str]:
    """Return the server's folder, the interpreter's shared library and version, of an environment."""
    asked = subprocess.run(
        [str(environment / "bin" / "python"), "-c", _ASK], capture_output=True, text=True, check=True
    )
    packages, libraries, library, version = asked.stdout.splitlines()
    return Path(packages, "pytriton", "tritonserver"), Path(libraries, library or "none"), version


def _call(arguments: list[str]) -> None:
    if subprocess.run(arguments, check=False).returncode:
        raise ServerError(f"this failed: {' '.join(arguments)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a real Triton server, without a container.")
    parser.add_argument("--setup", action="store_true", help="make the server's environment and end")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="the server's environment")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="folder of models")
    parser.add_argument("--grpc-port", type=int, default=8001, help="0 for any")
    parser.add_argument("--http-port", type=int, default=8003, help="0 for any")
    parser.add_argument("--metrics-port", type=int, default=8002, help="0 for any")
    parser.add_argument("arguments", nargs="*", help="arguments for tritonserver, after --")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
