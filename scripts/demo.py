"""Sends a photo to the service as any client would, and writes what comes back; standard library alone.

    python scripts/demo.py                          starts the service, sends the photo, keeps serving
    python scripts/demo.py --once                   the same, but stops the service after the answer
    python scripts/demo.py --server URL --photo P   sends a photo to a service that runs already

The last line is `photometric= iou= seconds=`: photometric error (8-bit sRGB steps) and mask overlap of the
largest face, and the seconds that its caller waited.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Any

START_SECONDS = 300.0
ANSWER_SECONDS = 120.0
STOP_SECONDS = 60.0
NETWORK_SECONDS = 20.0
GRPC_PORT = 50051
PARTS = "mesh,rendering,overlay,contours"


class DemoError(Exception):
    """The demo can't go on; the message says why."""


def main() -> int:
    """Run the demo.

    Returns:
        0 if the photo was answered and the service, if started here, ended in good order.
    """
    options = _options()
    try:
        if options.server is not None:
            print(send(options.server.rstrip("/"), options.photo, options.output_dir))
            return 0
        return serve(options)
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def serve(options: argparse.Namespace) -> int:
    """Start the service, send it the photo, and keep it or stop it."""
    check_port(options.port)
    server = f"http://127.0.0.1:{options.port}"
    environment = {**os.environ, "IFN_HOST": "127.0.0.1", "IFN_PORT": str(options.port)}
    environment.setdefault("IFN_GRPC_PORT", str(free_port(GRPC_PORT)))
    # In a group of its own: a terminal's Ctrl-C would reach it beside our own signal, and two end it at once.
    service = subprocess.Popen(
        [sys.executable, "-m", "services.gateway"], env=environment, start_new_session=True
    )
    told: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        told.append(number)
        service.terminate()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        wait_ready(server, service)
        summary = send(server, options.photo, options.output_dir)
        if not options.once:
            grpc = environment["IFN_GRPC_PORT"]
            print(f"Serving on {server} (documentation: {server}/docs), gRPC on port {grpc}. Ctrl-C ends it.")
            print(summary, flush=True)
            return service.wait()
    finally:
        if not told:
            service.terminate()
        try:
            status = service.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            service.kill()
            raise DemoError("the service did not stop in time and was killed.") from None
    if status != 0:
        raise DemoError(f"the service ended with exit code {status}.")
    print(summary, flush=True)
    return 0


def check_port(port: int) -> None:
    """Tell at once, and clearly, if another program listens there.

    Raises:
        DemoError: If the port can't be had.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoError(
                f"port {port} can't be used ({error.strerror}). Choose another one: make run PORT=8001"
            ) from error


def free_port(wanted: int) -> int:
    """Return the wanted port, or another one if a program listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for port in (wanted, 0):
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    return 0


def wait_ready(server: str, service: subprocess.Popen[bytes]) -> None:
    """Wait until the service says that it is ready.

    Raises:
        DemoError: If it ends or takes too long.
    """
    deadline = time.monotonic() + START_SECONDS
    answered = 0.0
    while time.monotonic() < deadline:
        status = service.poll()
        if status is not None:
            raise DemoError(f"the service could not start (exit code {status}); its last lines say why.")
        try:
            with urllib.request.urlopen(f"{server}/v2/health/ready", timeout=10):
                return
        except urllib.error.HTTPError as error:
            # It listens by now; only its network, somewhere else, is still missing.
            answered = answered or time.monotonic()
            if time.monotonic() > answered + NETWORK_SECONDS:
                detail = _problem_detail(error)
                raise DemoError(f"{detail} With IFN_BACKEND=triton: is Triton there? make triton") from error
            time.sleep(0.5)
        except OSError:
            time.sleep(0.2)
    raise DemoError(f"the service was not ready within {START_SECONDS:.0f} s.")


def send(server: str, photo: Path, folder: Path) -> str:
    """Post a photo and write the answer's files.

    Args:
        server: The service's address.
        photo: An image file.
        folder: Where the files go.

    Returns:
        The summary of the largest face, as `name=value` pairs.

    Raises:
        DemoError: If the photo can't be read or the service refuses it.
    """
    try:
        content = photo.read_bytes()
    except OSError as error:
        raise DemoError(f"{photo} can't be read: {error.strerror}.") from error
    request = urllib.request.Request(
        f"{server}/v1/reconstructions?return={PARTS}",
        data=content,
        headers={"Content-Type": "application/octet-stream"},
    )
    started = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise DemoError(_problem_detail(error)) from error
    except OSError as error:
        raise DemoError(f"no answer from {server}: {error}.") from error
    seconds = time.perf_counter() - started
    for path in write_files(answer, folder):
        print(f"wrote {path}")
    quality = answer["faces"][0]["quality"]
    return f"photometric={quality['photometric']:.2f} iou={quality['iou']:.3f} seconds={seconds:.3f}"


def write_files(answer: dict[str, Any], folder: Path) -> list[Path]:
    """Write the largest face's mesh and pictures, and the rest of the answer as JSON.

    Returns:
        The files' paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    face = answer["faces"][0]
    files = {"face.glb": face.pop("mesh"), "overlay.png": answer["overlay"]}
    files.update({f"{name}.png": picture for name, picture in face.pop("pictures").items()})
    # In this form `inversefacenet render parameters.json` reads it.
    document = {"face_model": answer["model"]["face_model"], "photo": answer["image"], **face}
    parameters = folder / "parameters.json"
    members = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in document.items())
    parameters.write_text(f"{{\n{members}\n}}\n", encoding="utf-8")
    paths = [parameters]
    for name, content in files.items():
        paths.append(folder / name)
        paths[-1].write_bytes(base64.b64decode(content["base64"]))
    return paths


def _problem_detail(error: urllib.error.HTTPError) -> str:
    try:
        problem = json.loads(error.read())
        return f"the service answered {error.code} {problem['code']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"the service answered {error.code}."


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Send a photo to the service and write what comes back.")
    parser.add_argument("--photo", type=Path, default=Path("examples/astronaut.png"))
    parser.add_argument("--output-dir", type=Path, default=Path("out/demo"))
    parser.add_argument("--server", help="address of a running service; without it one is started")
    parser.add_argument("--port", type=int, default=8000, help="port for the service that is started")
    parser.add_argument("--once", action="store_true", help="stop the service after the answer")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
