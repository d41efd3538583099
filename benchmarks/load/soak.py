"""The command ``python -m benchmarks.load.soak``: constant mixed load, and what the service's memory does.

Its last line is ``requests= errors= memory_drift=``. The drift is the median resident memory of the gateway
and its workers over the last minute, less that over the second minute, in per cent of the latter. A run of
less than five minutes is divided into five windows instead, of which the second and the last are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.load.children import ChildError
from benchmarks.load.client import Client
from benchmarks.load.loops import Outcome, Plan
from benchmarks.load.mixture import mixture
from benchmarks.load.processes import family, resident_bytes
from benchmarks.load.requests import OK
from benchmarks.load.servers import GatewayServer, ServerError

CALLERS: Final = 6
_WINDOW: Final = 60.0
_WINDOWS: Final = 5


@dataclass(frozen=True)
class Reading:
    """The service's memory at one moment.

    Attributes:
        second: Since the begin of the load.
        resident: Bytes of all its processes together.
        processes: How many there are.
    """

    second: float
    resident: int
    processes: int


@dataclass(frozen=True)
class Soak:
    """What a soak has shown.

    Attributes:
        outcome: All requests.
        readings: The memory, second by second.
        seconds: How long the load lasted.
        restarts: Worker processes that were replaced.
    """

    outcome: Outcome
    readings: Sequence[Reading]
    seconds: float
    restarts: int

    @property
    def wrong(self) -> Counter[tuple[str, str]]:
        """Requests that ended otherwise than they should, by name and code."""
        samples = self.outcome.samples
        return Counter((sample.name, sample.code) for sample in samples if not sample.expected)

    @property
    def errors(self) -> int:
        """Requests that ended wrongly, and worker processes that were replaced."""
        return self.wrong.total() + self.restarts

    @property
    def drift(self) -> float:
        """Growth of the memory, in per cent."""
        return memory_drift(self.readings, self.seconds)


def memory_drift(readings: Sequence[Reading], seconds: float) -> float:
    """Return by how many per cent memory grew from the second window to the last.

    Args:
        readings: Second by second.
        seconds: Length of the run; a window is a minute, or a fifth of a run of less than five minutes.

    Raises:
        ValueError: If a window holds no reading.
    """
    window = min(_WINDOW, seconds / _WINDOWS)
    early = [one.resident for one in readings if window <= one.second < 2 * window]
    late = [one.resident for one in readings if seconds - window <= one.second < seconds]
    if not early or not late:
        raise ValueError(f"A run of {seconds:g} s is too short to tell a drift.")
    before, after = statistics.median(early), statistics.median(late)
    return 100 * (after - before) / before


def soak(server: GatewayServer, client: Client, plan: Plan) -> Soak:
    """Load a service and watch its memory once a second."""
    restarts = server.metric("worker_restarts_total")
    started = time.perf_counter()
    readings: list[Reading] = []
    client.start(plan)
    while client.running(max(0.0, started + len(readings) + 1 - time.perf_counter())):
        pids = family(server.pid)
        reading = Reading(time.perf_counter() - started, resident_bytes(pids), len(pids))
        readings.append(reading)
        if len(readings) % 30 == 0:
            megabytes = reading.resident / 1e6
            print(
                f"{reading.second:6.0f} s  {megabytes:7.1f} MB in {reading.processes} processes", flush=True
            )
    outcome = client.result(plan)
    replaced = round(server.metric("worker_restarts_total") - restarts)
    return Soak(outcome, readings, plan.seconds, replaced)


def run(photo: Path, seconds: float, output: Path) -> Soak:
    """Start a gateway, and send it as much as a few callers more than it has workers can.

    Raises:
        ServerError: If the gateway doesn't start.
        ChildError: If the clients fail.
        OSError: If the photo can't be read.
    """
    content = photo.read_bytes()
    output.mkdir(parents=True, exist_ok=True)
    with GatewayServer(output.resolve(), "soak") as server:
        client = Client()
        try:
            requests = mixture(content, grpc=server.grpc is not None)
            plan = Plan(requests, seconds, callers=CALLERS, shuffled=True, rest=server.rest, grpc=server.grpc)
            print(f"{seconds:g} s of {CALLERS} callers, requests of {len(set(requests))} kinds", flush=True)
            return soak(server, client, plan)
        finally:
            client.close()


def write(result: Soak, folder: Path) -> None:
    """Write soak.json and soak.png."""
    samples = result.outcome.samples
    found = {
        "seconds": result.seconds,
        "requests": len(samples),
        "codes": Counter(sample.code for sample in samples),
        "wrong": [[*key, count] for key, count in sorted(result.wrong.items())],
        "restarts": result.restarts,
        "memory_drift": result.drift,
        "memory": [[round(one.second, 2), one.resident, one.processes] for one in result.readings],
    }
    (folder / "soak.json").write_text(json.dumps(found, indent=1) + "\n")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots()
    seconds = [one.second for one in result.readings]
    axes.plot(seconds, [one.resident / 1e6 for one in result.readings])
    axes.set(xlabel="seconds", ylabel="resident megabytes", title="Memory of the gateway and its workers")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.savefig(folder / "soak.png", dpi=130)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load.soak", description="Load the service for long and watch its memory."
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="how long; at least 10")
    parser.add_argument("--photo", type=Path, default=Path("examples", "astronaut.png"))
    parser.add_argument("--output-dir", type=Path, default=Path("out", "soak"))
    values = parser.parse_args(arguments)
    if values.seconds < 10:
        parser.error("--seconds must be 10 or more.")
    try:
        result = run(values.photo, values.seconds, values.output_dir)
    except (OSError, ServerError, ChildError) as error:
        print(f"benchmarks.load.soak: {error}", file=sys.stderr)
        return 1
    write(result, values.output_dir)
    samples = result.outcome.samples
    for (name, code), count in sorted(result.wrong.items()):
        print(f"wrong: {name}: {code}, {count} times")
    print(", ".join(f"{code} {count}" for code, count in Counter(one.code for one in samples).most_common()))
    seconds = [sample.seconds for sample in samples if sample.code == OK]
    print(f"median {1e3 * statistics.median(seconds):.1f} ms of {len(seconds)} good answers")
    print(f"requests={len(samples)} errors={result.errors} memory_drift={result.drift:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
