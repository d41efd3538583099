"""The same photo in process, over REST and over gRPC, in turn, on a service that this starts and stops.

It is started as an operator starts it, with its default settings but for the ports, on loopback.
"""

from __future__ import annotations

import http.client
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.load.processes import family
from benchmarks.load.requests import RECONSTRUCT, photo_message
from benchmarks.load.servers import GatewayServer
from benchmarks.machine import peak_memory_mb
from benchmarks.timing import Call, Harness, Timing

IN_PROCESS: Final = "in process"
REST: Final = "REST"
GRPC: Final = "gRPC"
_PATH: Final = "/v1/reconstructions"
_WARM: Final = 20  # photos that each worker has done before its memory is read


@dataclass(frozen=True)
class Service:
    """What the service costs.

    Attributes:
        ready_seconds: From the start of its process until it said that it is ready, workers warm.
        worker_mb: The most memory that a worker has held, in megabytes.
        times: Of the photo, by the way that it took.
    """

    ready_seconds: float
    worker_mb: float
    times: Mapping[str, Timing]

    def figures(self) -> dict[str, float]:
        """Return milliseconds, seconds and megabytes by name."""
        return {
            "gateway_ready_s": self.ready_seconds,
            "worker_mb": self.worker_mb,
            "in_process_ms": self.times[IN_PROCESS].milliseconds,
            "rest_ms": self.times[REST].milliseconds,
            "grpc_ms": self.times[GRPC].milliseconds,
        }


def measure_service(content: bytes, in_process: Call, harness: Harness) -> Service:
    """Start a service, time a photo's ways in turn, and stop it.

    Raises:
        ServerError: If the service doesn't become ready.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with GatewayServer(Path(folder)) as server:
            ready = time.perf_counter() - start
            assert server.grpc is not None
            with _rest(server.rest, content) as rest, _grpc(server.grpc, content) as grpc:
                times = harness.alternate({IN_PROCESS: in_process, REST: rest, GRPC: grpc})
                workers = [pid for pid in family(server.pid) if pid != server.pid]
                for _ in range(_WARM * len(workers)):
                    rest()
            memory = max(peak_memory_mb(pid) for pid in workers)
    return Service(ready, memory, times)


@contextmanager
def _rest(address: str, content: bytes) -> Iterator[Call]:
    connection = http.client.HTTPConnection(address, timeout=60)

    def send() -> None:
        connection.request("POST", _PATH, content, {"content-type": "application/octet-stream"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"REST answered {answer.status}: {body[:300]!r}")

    try:
        yield send
    finally:
        connection.close()


@contextmanager
def _grpc(address: str, content: bytes) -> Iterator[Call]:
    import grpc

    message = photo_message(content)
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(RECONSTRUCT, None, None)
        yield lambda: call(message, timeout=60)
