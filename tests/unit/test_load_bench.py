"""The load benchmark: what it sends, how it counts, and what it says of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load import report
from benchmarks.load.__main__ import main
from benchmarks.load.children import Child, ChildError, answer_tasks
from benchmarks.load.http_client import HttpError, HttpPool
from benchmarks.load.loops import Loop, Outcome, Plan, Sample, percentile
from benchmarks.load.measure import Row, Turns, alternate, make_row
from benchmarks.load.mixture import mixture
from benchmarks.load.overload import Overload
from benchmarks.load.plot import draw
from benchmarks.load.processes import family, processor_seconds, resident_bytes
from benchmarks.load.requests import (
    CANCELLED,
    NO_CONNECTION,
    OK,
    RECONSTRUCT,
    Request,
    grpc_stream,
    photo_message,
    photo_requests,
    rest_photo,
)
from benchmarks.load.results import PIPELINE, Results, summary, to_dict
from benchmarks.load.servers import ROOT, Server, ServerError, gateway_environment, triton_repository
from benchmarks.load.soak import Reading, Soak, memory_drift
from benchmarks.load.soak import main as soak_main
from benchmarks.load.transports import Reply, RestTransport, grpc_reply
from benchmarks.machine import describe
from inversefacenet.networks import reference_path
from inversefacenet.v1 import reconstruction_pb2

SIMPLE = Request("simple", "rest", "/")


class FakeTransport:
    """Answers with given codes in turn; remembers what it was sent."""

    def __init__(self, *codes: str, wait: float = 0.0) -> None:
        self.codes = codes or (OK,)
        self.wait = wait
        self.sent: list[str] = []
        self.under_way = self.most = 0

    async def send(self, request: Request) -> Reply:
        self.sent.append(request.name)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(self.wait)
        self.under_way -= 1
        return Reply(self.codes[(len(self.sent) - 1) % len(self.codes)], retry_after=True, content=b"answer")

    async def close(self) -> None:
        """Nothing to close."""


def run(plan: Plan, transport: FakeTransport) -> Outcome:
    return asyncio.run(Loop(plan, transport).run())


def named(*names: str, **changes: Any) -> tuple[Request, ...]:
    return tuple(Request(name, "rest", "/", **changes) for name in names)


def test_a_closed_loop_sends_each_request_in_turn_and_never_more_than_its_callers() -> None:
    transport = FakeTransport(wait=0.001)
    outcome = run(Plan(named("a", "b", "c"), 60.0, callers=2, count=7), transport)
    assert sorted(transport.sent) == sorted("abcabca") or sorted(transport.sent) == sorted("bcabcab")
    assert len(outcome.samples) == 7
    assert transport.most == 2


def test_an_open_loop_sends_at_its_own_moments_whether_it_is_answered_or_not() -> None:
    transport = FakeTransport(wait=1.0)
    outcome = run(Plan(named("a"), 0.25, rate=100.0, seed=5), transport)
    chance, due, count = random.Random(5), 0.0, 0
    while (due := due + chance.expovariate(100.0)) < 0.25:
        count += 1
    # The begin of the loop and of its clock are not quite the same moment.
    assert abs(len(outcome.samples) - count) <= 1
    assert transport.most == len(outcome.samples)
    begins = [sample.began for sample in outcome.samples]
    assert all(sample.seconds >= 1 for sample in outcome.samples)
    assert max(begins) < outcome.window[1]


def test_a_latency_counts_from_the_moment_when_the_request_was_due() -> None:
    """A client that is late itself doesn't make the service look quick."""

    class Blocking(FakeTransport):
        async def send(self, request: Request) -> Reply:
            if not self.sent:
                import time

                time.sleep(0.2)  # the whole loop stands still
            return await super().send(request)

    outcome = run(Plan(named("a"), 0.2, rate=50.0, seed=1), Blocking())
    delayed = [sample for sample in outcome.samples if sample.seconds > 0.05]
    assert len(delayed) > 2


def test_what_is_expected_is_not_wrong() -> None:
    plan = Plan(named("a", expected=frozenset({OK, "no-face"})), 60.0, count=3)
    outcome = run(plan, FakeTransport(OK, "no-face", "internal"))
    assert [(sample.code, sample.expected) for sample in outcome.samples] == [
        (OK, True),
        ("no-face", True),
        ("internal", False),
    ]


def test_answers_come_along_only_if_they_are_kept() -> None:
    plan = Plan(named("a"), 60.0, count=1)
    assert run(plan, FakeTransport()).samples[0].content == b""
    assert run(dataclasses.replace(plan, keep=True), FakeTransport()).samples[0].content == b"answer"


def test_a_caller_who_goes_away_is_cancelled() -> None:
    outcome = run(Plan(named("a", cancel_after=0.01), 60.0, count=1), FakeTransport(wait=5))
    assert [sample.code for sample in outcome.samples] == [CANCELLED]


def sample(began: float, seconds: float, code: str = OK) -> Sample:
    return Sample("a", began, seconds, code, code == OK, retry_after=True)


def test_throughput_counts_answers_and_latency_counts_requests_of_the_window() -> None:
    samples = [sample(0.5, 1.0), sample(1.5, 1.0), sample(2.5, 1.0), sample(1.6, 0.1, "overloaded")]
    outcome = Outcome(samples, (1.0, 3.0), cpu_seconds=0.2)
    assert outcome.throughput == pytest.approx(2 / 2.0)
    assert [one.began for one in outcome.counted] == [1.5, 2.5, 1.6]
    row = make_row("embedded rest", Plan((SIMPLE,), 2.0, callers=3), outcome, front_seconds=0.3)
    assert (row.answers, row.refusals, row.errors) == (3, 1, 0)
    assert (row.load, row.callers, row.rate) == ("closed", 3, None)
    assert row.p50 == pytest.approx(1000)
    assert row.client_ms == pytest.approx(1e3 * 0.2 / 2)
    assert row.front_ms == pytest.approx(1e3 * 0.3 / 3)


def test_percentiles() -> None:
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([7], 0.01) == 7
    assert percentile([], 0.5) != percentile([], 0.5)


def test_candidates_take_turns() -> None:
    calls: list[str] = []

    def candidate(name: str) -> Any:
        def call() -> list[float]:
            calls.append(name)
            return [float(len(calls))] * 2

        return call

    turns = alternate({"A": candidate("A"), "B": candidate("B")}, rounds=3, warm_up=1)
    assert "".join(calls) == "ABABABAB"
    assert turns["A"].rounds == ((3.0, 3.0), (5.0, 5.0), (7.0, 7.0))
    assert turns["B"].median == 6.0


async def serve_http(answers: list[bytes], check: Any) -> None:
    """Run a check against a server that gives these bytes, one answer a request, all on one connection."""
    seen: list[bytes] = []
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while answers:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            seen.append(head + await reader.readexactly(length))
            writer.write(answers.pop(0))
            if b"connection: close" in head or not answers:
                break
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        pool = HttpPool("127.0.0.1", server.sockets[0].getsockname()[1])
        await check(pool, seen, lambda: connections)
        pool.close()


def test_requests_go_out_whole_over_one_connection() -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 422 No\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nConnection: close\r\nRetry-After: 1\r\n\r\n",
    ]

    async def check(pool: HttpPool, seen: list[bytes], connections: Any) -> None:
        first = await pool.send(rest_photo("a", b"12345", {"return": "mesh"}))
        second = await pool.send(rest_photo("b", b"678"))
        third = await pool.send(rest_photo("c", b""))
        assert (first.status, first.body) == (200, b"ok")
        assert (second.status, second.body, second.headers["x-a"]) == (422, b"abcde", "b")
        assert (third.status, third.headers["retry-after"]) == (503, "1")
        assert connections() == 1
        assert seen[0].startswith(b"POST /v1/reconstructions?return=mesh HTTP/1.1\r\n")
        assert seen[0].endswith(b"\r\n\r\n12345")
        assert seen[1].endswith(b"content-length: 3\r\ncontent-type: application/octet-stream\r\n\r\n678")

    asyncio.run(serve_http(answers, check))


def test_an_answer_that_ends_early_is_an_error() -> None:
    async def check(pool: HttpPool, seen: list[bytes], connections: Any) -> None:
        with pytest.raises(HttpError, match="early"):
            await pool.send(SIMPLE)

    asyncio.run(serve_http([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"], check))


def test_a_connection_that_was_closed_meanwhile_is_not_used_again() -> None:
    async def check(pool: HttpPool, seen: list[bytes], connections: Any) -> None:
        await pool.send(SIMPLE)
        await asyncio.sleep(0.05)  # the server closes after its last answer
        with pytest.raises(HttpError):  # a new connection, on which nothing is answered any more
            await pool.send(SIMPLE)
        assert connections() == 2

    asyncio.run(serve_http([b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], check))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", Reply(OK, content=b"{}")),
        (
            b'HTTP/1.1 503 No\r\nRetry-After: 1\r\ncontent-length: 21\r\n\r\n{"code":"overloaded"}',
            Reply("overloaded", retry_after=True, content=b'{"code":"overloaded"}'),
        ),
        (b"HTTP/1.1 502 No\r\ncontent-length: 4\r\n\r\noops", Reply("status-502", content=b"oops")),
        (b"HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\n[]", Reply("status-400", content=b"[]")),
        (b"nonsense\r\n\r\n", Reply(NO_CONNECTION)),
    ],
)
def test_an_answer_becomes_a_code(answer: bytes, expected: Reply) -> None:
    async def check(pool: HttpPool, seen: list[bytes], connections: Any) -> None:
        transport = RestTransport("127.0.0.1:1")
        transport._pool = pool
        assert await transport.send(SIMPLE) == expected

    asyncio.run(serve_http([answer], check))


def test_nobody_listening_is_a_code_too() -> None:
    reply = asyncio.run(RestTransport("127.0.0.1:9").send(SIMPLE))
    assert reply.code == NO_CONNECTION


class FakeRpcError:
    def __init__(self, name: str, details: bytes | None) -> None:
        self._name = name
        self._details = details

    def code(self) -> Any:
        import grpc

        return grpc.StatusCode[self._name]

    def trailing_metadata(self) -> Any:
        return None if self._details is None else (("grpc-status-details-bin", self._details), ("a", "b"))


def status_details(reason: str, *, retry: bool) -> bytes:
    from google.rpc import error_details_pb2, status_pb2

    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason))
    if retry:
        status.details.add().Pack(error_details_pb2.RetryInfo())
    return status.SerializeToString()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FakeRpcError("NOT_FOUND", status_details("no-face", retry=False)), Reply("no-face")),
        (
            FakeRpcError("RESOURCE_EXHAUSTED", status_details("overloaded", retry=True)),
            Reply("overloaded", retry_after=True),
        ),
        (FakeRpcError("DEADLINE_EXCEEDED", None), Reply("deadline-exceeded")),
        (FakeRpcError("UNAVAILABLE", None), Reply(NO_CONNECTION)),
        (FakeRpcError("INTERNAL", None), Reply("internal")),
    ],
)
def test_a_grpc_error_becomes_a_code(error: FakeRpcError, expected: Reply) -> None:
    assert grpc_reply(error) == expected


def test_messages_hold_what_they_should() -> None:
    message = reconstruction_pb2.ReconstructRequest.FromString(photo_message(b"abc", ["PART_MESH"]))
    assert (message.content, list(message.parts)) == (b"abc", [3])
    (first, second) = photo_requests("grpc", [b"a", b"b"])
    assert first.path == RECONSTRUCT
    assert first.name != second.name
    stream = grpc_stream("s", [b"a", b"b"])
    ids = [reconstruction_pb2.ReconstructStreamRequest.FromString(one).id for one in stream.stream]
    assert ids == ["0", "1"]


def test_the_mixture_has_good_and_bad_requests_of_both_interfaces() -> None:
    photo = (ROOT / "examples" / "astronaut.png").read_bytes()
    requests = mixture(photo, grpc=True)
    assert {request.interface for request in requests} == {"rest", "grpc"}
    names = {request.name for request in requests}
    assert len(names) == len({(one.name, one.body, one.stream, one.headers, one.path) for one in requests})
    good = [request for request in requests if request.expected == {OK}]
    bad = [request for request in requests if OK not in request.expected]
    assert len(good) > 5 * len(bad) > 0
    assert {request.interface for request in mixture(photo, grpc=False)} == {"rest"}


def overload(**changes: Any) -> Overload:
    fine = Overload("embedded rest", "9 callers", 10, 6, 4, 0, 0, 6, 4, 90.0, 100.0, 20.0)
    return dataclasses.replace(fine, **changes)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"others": 1}, "ended in neither"),
        ({"without_retry": 2}, "without Retry-After"),
        ({"counted_served": 7}, "counts 7 served"),
        ({"counted_refused": 3}, "counts 3 refused"),
        ({"p99": 101.0}, "p99 is 101"),
        ({"refused": 0, "counted_refused": 0}, "nothing was refused"),
        ({"served": 0, "counted_served": 0}, "nothing was served"),
    ],
)
def test_every_broken_promise_of_an_overload_is_a_fault(changes: dict[str, Any], fault: str | None) -> None:
    faults = overload(**changes).faults
    assert len(faults) == (fault is not None)
    assert fault is None or fault in faults[0]


def row(service: str, callers: int | None, rate: float | None = None, errors: int = 0) -> Row:
    load = "closed" if rate is None else "open"
    return Row(service, load, callers, rate, 50.0, 60.0, 70.0, 20.0, 200, 0, errors, 0.5, 2.0)


def results() -> Results:
    found = Results(
        describe(threads=1),
        {
            "photos": "a.png (4 kB)",
            "workers": 2,
            "threads": 1,
            "rounds": 2,
            "calls": 3,
            "seconds": 4.0,
            "warm_up": 1.0,
        },
    )
    medians = {PIPELINE: 50.0, "embedded rest": 52.0, "embedded grpc": 53.0, "triton rest": 60.0}
    found.one_caller = {name: Turns(((value,) * 3,) * 2) for name, value in medians.items()}
    found.rates = {
        PIPELINE: [40.0, 20.0, 40.0],
        "embedded rest": [39.0, 19.0, 39.0],
        "embedded grpc": [37.0, 18.6, 30.0],
        "triton rest": [30.0, 15.0, 30.0],
    }
    found.rows = [row("embedded rest", callers) for callers in (1, 2, 64)]
    found.rows.append(row("embedded rest", None, 12.5))
    found.overloads = [overload()]
    return found


def test_the_last_line_holds_what_it_promises() -> None:
    """The slower interface counts, and each round's own ratio."""
    assert summary(results()) == (
        "embedded_p50_ratio=1.060 embedded_extra_ms=3.00 triton_p50_ratio=1.200 triton_extra_ms=10.00 "
        "throughput_ratio=0.925 errors=0"
    )


def test_without_triton_its_figures_are_missing_not_zero() -> None:
    found = results()
    del found.one_caller["triton rest"], found.rates["triton rest"]
    assert "triton_p50_ratio=none triton_extra_ms=none" in summary(found)


def test_errors_are_counted_wherever_they_come_from() -> None:
    found = results()
    found.rows.append(row("embedded grpc", 4, errors=2))
    found.overloads.append(overload(others=1, without_retry=1))
    found.problems.append("an answer is off")
    assert found.errors == 2 + 2 + 1
    assert summary(found).endswith("errors=5")


def test_tables_have_as_many_cells_as_their_headers() -> None:
    found = results()
    tables = [
        (report.ROW_HEADER, report.ROW_WIDTHS, [report.row_cells(one, 50.0, 40.0) for one in found.rows]),
        (report.ONE_HEADER, report.ONE_WIDTHS, list(report.one_caller_cells(found))),
        (report.RATE_HEADER, report.RATE_WIDTHS, list(report.rate_cells(found))),
        (report.OVERLOAD_HEADER, report.OVERLOAD_WIDTHS, [report.overload_cells(overload())]),
    ]
    for header, widths, rows in tables:
        assert {len(header), len(widths)} | {len(cells) for cells in rows} == {len(header)}
    assert report.row_cells(found.rows[0], 40.0, 40.0)[5:8] == ("1.25", "20.0", "0.50")
    text = report.markdown(found)
    assert "| embedded grpc | 53.00 | 1.060 | 3.00 |" in text
    assert "| embedded grpc | 30.0 | 0.925 | 37.0 18.6 30.0 |" in text


def test_everything_is_written_as_json_and_as_a_picture(tmp_path: Path) -> None:
    found = json.loads(json.dumps(to_dict(results())))
    assert found["one_caller"]["embedded rest"]["median_ms"] == 52.0
    assert found["overloads"][0]["faults"] == []
    assert found["summary"]["throughput_ratio"] == "0.925"
    draw(results(), tmp_path / "load.png")
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def readings(*megabytes: float) -> list[Reading]:
    return [Reading(float(second), round(1e6 * value), 3) for second, value in enumerate(megabytes, start=1)]


def test_the_drift_compares_the_second_minute_with_the_last() -> None:
    values = [500.0] * 59 + [100.0] * 60 + [150.0] * 421 + [110.0] * 60
    assert memory_drift(readings(*values), 600.0) == pytest.approx(10.0)


def test_short_runs_are_divided_into_five() -> None:
    values = [100.0] * 9 + [200.0] * 10 + [300.0] * 21 + [190.0] * 10
    assert memory_drift(readings(*values), 50.0) == pytest.approx(-5.0)
    with pytest.raises(ValueError, match="too short"):
        memory_drift(readings(1.0), 50.0)


def test_a_replaced_worker_is_an_error_of_a_soak() -> None:
    samples = [sample(0.0, 1.0), sample(1.0, 1.0, "internal"), sample(2.0, 1.0, "internal")]
    soak = Soak(Outcome(samples), readings(*[100.0] * 10), 10.0, restarts=3)
    assert soak.errors == 2 + 3
    assert soak.wrong == {("a", "internal"): 2}
    assert soak.drift == 0


def test_a_family_is_a_process_and_its_children() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        for _ in range(500):
            found = family(child.pid)
            if len(found) == 2:
                break
            asyncio.run(asyncio.sleep(0.01))
        assert found[0] == child.pid
        assert len(found) == 2
        assert set(found) < set(family(os.getpid()))
        assert resident_bytes(found) > resident_bytes(found[:1]) > 1e6
    finally:
        child.communicate(b"\n")
    assert resident_bytes([child.pid]) == 0
    assert processor_seconds(child.pid) == 0
    assert processor_seconds(os.getpid()) > 0


def test_a_gateway_gets_the_settings_that_are_meant_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IFN_QUEUE", "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = gateway_environment({"port": 0, "grpc_port": None, "triton_shared_memory": True})
    own = {name: value for name, value in found.items() if name.startswith("IFN_")}
    assert own == {"IFN_PORT": "0", "IFN_GRPC_PORT": "", "IFN_TRITON_SHARED_MEMORY": "true"}
    assert found["OMP_NUM_THREADS"] == "3"
    assert found["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    server = Server([sys.executable, "-c", "print('no such model'); exit(3)"], tmp_path / "log", os.environ)
    with pytest.raises(ServerError, match="ended with 3: no such model"):
        server.wait_for(lambda: None, 60)
    assert server.stop() == 3


def test_a_server_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with (
        Server(command, tmp_path / "log", os.environ) as server,
        pytest.raises(ServerError, match="not ready"),
    ):
        server.wait_for(lambda: None, 0.2)


def test_the_triton_repository_is_the_projects_but_for_its_threads(tmp_path: Path) -> None:
    folder = triton_repository(tmp_path / "models", 3) / "inversefacenet"
    assert (
        'key: "intra_op_threads" value { string_value: "3" }' in (folder / "configs/python.pbtxt").read_text()
    )
    shipped = ROOT / "model_repository" / "inversefacenet"
    version = reference_path().parent.name
    for name in (f"{version}/model.onnx", f"{version}/model.py"):
        assert (folder / name).read_bytes() == (shipped / name).read_bytes()


def echo(connection: Any) -> None:
    def answer(task: Any) -> Any:
        if task == "fail":
            raise RuntimeError("it broke")
        if task == "die":
            os._exit(4)
        return ("answer", task)

    answer_tasks(connection, lambda: answer)


def test_a_child_answers_fails_and_dies_visibly() -> None:
    child = Child(echo)
    try:
        assert child.wait(60) is None
        assert child.ask(5, 60) == ("answer", 5)
        with pytest.raises(ChildError, match="it broke"):
            child.ask("fail", 60)
    finally:
        child.close()
    child = Child(echo)
    try:
        child.wait(60)
        with pytest.raises(ChildError, match="ended unexpectedly"):
            child.ask("die", 60)
    finally:
        child.close()


def test_options_that_make_no_sense_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rounds", "1"]) == 1
    assert "--rounds must be 2 or more" in capsys.readouterr().err
    assert main(["--photos", "no/such/photo.png"]) == 1
    assert "no/such/photo.png can't be read" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        soak_main(["--seconds", "3"])


def test_medians_are_over_all_calls() -> None:
    turns = Turns(((1.0, 2.0), (3.0, 9.0), (4.0, 5.0)))
    assert turns.median == statistics.median([1.0, 2.0, 3.0, 9.0, 4.0, 5.0])
