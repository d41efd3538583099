"""The run itself: everything is measured, printed as it comes, and written to files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.load import report
from benchmarks.load.answers import parameters_of
from benchmarks.load.client import Client
from benchmarks.load.loops import Plan
from benchmarks.load.measure import Service, alternate, measure, one_caller
from benchmarks.load.overload import overload
from benchmarks.load.pipeline import Pipelines
from benchmarks.load.plot import draw
from benchmarks.load.requests import Interface
from benchmarks.load.results import CALLERS, PIPELINE, Results, summary, to_dict
from benchmarks.load.servers import GatewayServer, TritonServer
from benchmarks.machine import describe
from benchmarks.report import text_row
from inversefacenet.errors import InputError

AGREEMENT: Final = 1e-4
OVERLOAD_QUEUE: Final = 8
INTERFACES: Final[tuple[Interface, ...]] = ("rest", "grpc")


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        photos: Files, each with a face.
        workers: Workers of a gateway, and processes without one.
        threads: Threads of one inference, everywhere.
        rounds: Turns of one caller.
        calls: Photos in one such turn.
        rate_rounds: Turns at 32 callers.
        seconds: Seconds of each load.
        warm_up: Seconds before those.
        callers: Of the closed loops.
        shares: Rates of the open loops, as shares of the throughput at 32 callers.
        triton: Measure with Triton too.
        output: Folder of what is written.
    """

    photos: tuple[Path, ...]
    workers: int
    threads: int
    rounds: int
    calls: int
    rate_rounds: int
    seconds: float
    warm_up: float
    callers: tuple[int, ...]
    shares: tuple[float, ...]
    triton: bool
    output: Path


class Run:
    """One run with all its processes, which end with it."""

    def __init__(self, options: Options) -> None:
        """Read the photos; nothing is started.

        Raises:
            InputError: If one can't be read.
        """
        self._options = options
        self._photos = [_read(path) for path in options.photos]
        names = ", ".join(f"{path.name} ({len(content) // 1000} kB)" for path, content in self._pairs())
        self.results = Results(
            describe(options.threads),
            {
                "photos": names,
                "workers": options.workers,
                "threads": options.threads,
                "rounds": options.rounds,
                "calls": options.calls,
                "seconds": options.seconds,
                "warm_up": options.warm_up,
            },
        )

    def _pairs(self) -> Iterator[tuple[Path, bytes]]:
        return zip(self._options.photos, self._photos, strict=True)

    def execute(self) -> None:
        """Measure everything and print it as it comes.

        Raises:
            ServerError: If a server doesn't start.
            ChildError: If a process of ours fails.
        """
        print(report.machine_line(self.results.machine))
        print(report.settings_line(self.results.settings), flush=True)
        with ExitStack() as stack:
            client = Client()
            stack.callback(client.close)
            with ExitStack() as inner:
                pipelines = Pipelines(self._photos, self._options.workers, self._options.threads)
                inner.callback(pipelines.close)
                services = self._start(inner)
                self._check_answers(client, pipelines, services)
                self._one_caller(client, pipelines, services)
                self._rates(client, pipelines, services)
                self._rows(client, services)
            self._overloads(client, stack)

    def _gateway(self, stack: ExitStack, name: str, **settings: object) -> GatewayServer:
        folder = self._options.output.resolve()
        fixed = {"workers": self._options.workers, "threads": self._options.threads}
        # Its log at level info, where the ports are told, is one line a request: part of what it does.
        return stack.enter_context(GatewayServer(folder, name, **fixed, **settings))

    def _start(self, stack: ExitStack) -> list[Service]:
        room = 2 * max(CALLERS, *self._options.callers)
        settings: dict[str, object] = {"queue": room, "uploads": room}
        gateways = {"embedded": self._gateway(stack, "embedded", **settings)}
        if self._options.triton:
            triton = stack.enter_context(TritonServer(self._options.output.resolve(), self._options.threads))
            remote: dict[str, object] = {"backend": "triton", "triton_url": triton.grpc}
            gateways["triton"] = self._gateway(stack, "triton", **settings, **remote)
        return [
            Service(backend, interface, server)
            for backend, server in gateways.items()
            for interface in INTERFACES
            if interface == "rest" or server.grpc
        ]

    def _check_answers(self, client: Client, pipelines: Pipelines, services: Sequence[Service]) -> None:
        """Note every answer that isn't the pipeline's own."""
        expected = pipelines.answers()
        for service in services:
            plan = service.plan(self._photos, 60.0, count=len(expected), keep=True)
            samples = {sample.name: sample for sample in client.run(plan).samples}
            for number, right in enumerate(expected):
                sample = samples[f"photo {number}"]
                if sample.code != "ok":
                    self._problem(f"{service.name}: photo {number} is answered with {sample.code}")
                    continue
                found = parameters_of(service.interface, sample.content)
                off = float(np.abs(found - right).max())
                if not off <= AGREEMENT:
                    self._problem(f"{service.name}: photo {number} is off by {off:.2g}")

    def _problem(self, text: str) -> None:
        self.results.problems.append(text)
        print(f"problem: {text}", flush=True)

    def _one_caller(self, client: Client, pipelines: Pipelines, services: Sequence[Service]) -> None:
        calls = self._options.calls
        candidates = {PIPELINE: lambda: [1e3 * seconds for seconds in pipelines.times(calls)]}
        for service in services:
            candidates[service.name] = one_caller(client, service, self._photos, calls)
        self.results.one_caller = alternate(candidates, self._options.rounds, 3)
        print("\n" + text_row(report.ONE_HEADER, report.ONE_WIDTHS))
        for cells in report.one_caller_cells(self.results):
            print(text_row(cells, report.ONE_WIDTHS), flush=True)

    def _rates(self, client: Client, pipelines: Pipelines, services: Sequence[Service]) -> None:
        seconds, warm_up = self._options.seconds, self._options.warm_up
        rates: dict[str, list[float]] = {PIPELINE: [], **{service.name: [] for service in services}}
        for _ in range(self._options.rate_rounds):
            rates[PIPELINE].append(pipelines.throughput(seconds, warm_up))
            for service in services:
                plan = service.plan(self._photos, seconds, callers=CALLERS, warm_up=warm_up)
                row, _outcome = measure(client, service, plan)
                rates[service.name].append(row.throughput)
                if row.errors:
                    self._problem(f"{service.name}: {row.errors} errors at {CALLERS} callers")
        self.results.rates = rates
        print("\n" + text_row(report.RATE_HEADER, report.RATE_WIDTHS))
        for cells in report.rate_cells(self.results):
            print(text_row(cells, report.RATE_WIDTHS), flush=True)

    def _rows(self, client: Client, services: Sequence[Service]) -> None:
        print("\n" + text_row(report.ROW_HEADER, report.ROW_WIDTHS))
        for service in services:
            for plan in self._plans(service):
                row, _ = measure(client, service, plan)
                self.results.rows.append(row)
                cells = report.row_cells(row, self.results.base_ms, self.results.limit)
                print(text_row(cells, report.ROW_WIDTHS), flush=True)

    def _plans(self, service: Service) -> Iterator[Plan]:
        options = self._options
        for callers in options.callers:
            yield service.plan(self._photos, options.seconds, callers=callers, warm_up=options.warm_up)
        rates = sorted(self.results.rates[service.name])
        capacity = rates[len(rates) // 2]
        for number, share in enumerate(options.shares):
            rate = share * capacity
            yield service.plan(self._photos, options.seconds, rate=rate, warm_up=options.warm_up, seed=number)

    def _overloads(self, client: Client, stack: ExitStack) -> None:
        """Send too much to a gateway with a short queue: twice its capacity, and too many callers."""
        server = self._gateway(stack, "overload", queue=OVERLOAD_QUEUE)
        held = self._options.workers + OVERLOAD_QUEUE
        seconds = self._options.seconds
        print("\n" + text_row(report.OVERLOAD_HEADER, report.OVERLOAD_WIDTHS))
        for interface in INTERFACES:
            if interface == "grpc" and not server.grpc:
                continue
            service = Service("embedded", interface, server)
            client.run(service.plan(self._photos, 1.0, callers=self._options.workers))
            for plan in (
                service.plan(self._photos, seconds, rate=2 * self.results.limit),
                service.plan(self._photos, seconds, callers=3 * held),
            ):
                one = overload(client, service, plan, held)
                self.results.overloads.append(one)
                print(text_row(report.overload_cells(one), report.OVERLOAD_WIDTHS), flush=True)


def run(options: Options) -> str:
    """Measure everything, print it and write it to files.

    Returns:
        The last line: name=value pairs.

    Raises:
        InputError: If a photo can't be read.
        ServerError: If a server doesn't start.
        ChildError: If a process of ours fails, as for a photo without a face.
    """
    whole = Run(options)
    options.output.mkdir(parents=True, exist_ok=True)
    whole.execute()
    write(whole.results, options.output)
    return summary(whole.results)


def _read(photo: Path) -> bytes:
    try:
        return photo.read_bytes()
    except OSError as error:
        raise InputError(f"{photo} can't be read: {error.strerror}.") from error


def write(results: Results, folder: Path) -> None:
    """Write results.json, table.md and load.png."""
    (folder / "results.json").write_text(json.dumps(to_dict(results), indent=1) + "\n")
    (folder / "table.md").write_text(report.markdown(results))
    draw(results, folder / "load.png")
