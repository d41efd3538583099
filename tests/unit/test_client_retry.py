"""When a request is sent again."""

import asyncio
import socket
import ssl
import threading
from contextlib import suppress
from types import SimpleNamespace

import httpx
import pytest
from client_support import KINDS, MODEL, Naps, Replies, answer, ask, problem

from inversefacenet.client import ServerError, ServiceUnavailableError, retry
from inversefacenet.client.errors import problem_of
from inversefacenet.client.rest_answers import read_retry_after
from inversefacenet.client.retry import Attempts, Deadline, RefusedError
from inversefacenet.errors import BackendError, DeadlineError, NoFaceError

REFUSED = RefusedError(ServiceUnavailableError("gone"))


@pytest.fixture
def naps(monkeypatch):
    """Nobody sleeps: a clock that stands still, and jitter of one half."""
    naps = Naps()
    clock = SimpleNamespace(monotonic=lambda: sum(naps.seconds), sleep=naps.sleep, time=lambda: 0.0)
    monkeypatch.setattr(retry, "time", clock)
    monkeypatch.setattr(retry, "asyncio", SimpleNamespace(sleep=naps.sleep_async))
    monkeypatch.setattr(retry, "random", SimpleNamespace(random=lambda: 0.5))
    return naps


def test_pauses_grow_up_to_a_limit_and_are_jittered():
    deadline = Deadline.after(1000)
    pauses = [Attempts(deadline, 9, draw) for draw in (lambda: 0.0, lambda: 1.0)]
    low, high = ([attempts.pause(REFUSED) for _ in range(9)] for attempts in pauses)
    assert high == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert low == [seconds / 2 for seconds in high]


def test_the_server_is_never_asked_sooner_than_it_says():
    attempts = Attempts(Deadline.after(1000), 2, lambda: 0.0)
    assert attempts.pause(RefusedError(REFUSED.error, 7.0)) == 7.0
    attempts = Attempts(Deadline.after(1000), 2, lambda: 1.0)
    assert attempts.pause(RefusedError(REFUSED.error, 7.0)) == pytest.approx(7.7)


def test_no_attempt_is_waited_for_that_would_come_too_late():
    attempts = Attempts(Deadline.after(5), 3, lambda: 0.0)
    with pytest.raises(ServiceUnavailableError):
        attempts.pause(RefusedError(REFUSED.error, 6.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "refusal",
    [
        problem(503, "overloaded", retry_after="2"),
        problem(429, "quota-exceeded", retry_after="2"),
        problem(503, "backend-unavailable", retry_after="2"),
        httpx.Response(503, headers={"Retry-After": "2"}),
    ],
    ids=["overloaded", "quota", "backend", "proxy"],
)
def test_what_was_refused_is_sent_again(kind, refusal, naps):
    replies = Replies(refusal, refusal, answer())
    result = ask(kind, "reconstruct", b"photo", transport=replies.transport)
    assert result.id == "r1"
    assert naps.seconds == [2.1, 2.1]
    assert [request.content for request in replies.requests] == [b"photo"] * 3
    # Each attempt tells the server what is left of the time.
    told = [float(request.headers["x-request-timeout"]) for request in replies.requests]
    assert told == pytest.approx([30, 27.9, 25.8], abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (problem(400, "invalid-input"), "InputError"),
        (problem(422, "no-face"), "NoFaceError"),
        (problem(401, "unauthenticated"), "ServerError"),
        (problem(500, "internal"), "ServerError"),
        (problem(500, "worker-crashed", retry_after="1"), "ServerError"),
        (problem(504, "deadline-exceeded", retry_after="1"), "DeadlineError"),
        (httpx.Response(502, headers={"Retry-After": "1"}), "ServerError"),
        (httpx.Response(503), "ServerError"),
        (httpx.ReadTimeout("slow"), "DeadlineError"),
    ],
)
def test_what_failed_for_good_is_not(kind, reply, expected, naps):
    replies = Replies(reply, answer())
    with pytest.raises(Exception) as caught:  # noqa: PT011
        ask(kind, "reconstruct", b"photo", transport=replies.transport)
    assert type(caught.value).__name__ == expected
    assert len(replies.requests) == 1
    assert naps.seconds == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_could_not_be_made_is_tried_again(kind, naps):
    replies = Replies(*[httpx.ConnectError("refused")] * 3, answer())
    assert ask(kind, "reconstruct", b"photo", transport=replies.transport).id == "r1"
    assert naps.seconds == pytest.approx([0.075, 0.15, 0.3])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lost", [httpx.ReadError("reset"), httpx.RemoteProtocolError("gone")])
def test_what_the_server_may_have_begun_is_not_sent_again(kind, lost, naps):
    replies = Replies(lost, answer())
    with pytest.raises(ServiceUnavailableError):
        ask(kind, "reconstruct", b"photo", transport=replies.transport)
    assert len(replies.requests) == 1
    # Reading costs nothing.
    replies = Replies(lost, answer({"models": [MODEL]}))
    assert len(ask(kind, "models", transport=replies.transport)) == 1


PHOTO = bytes(16 * 1024 * 1024)


class Breaking:
    """A server that closes its first connection after some of the request, or all, and answers the next."""

    def __init__(self, first):
        self.first = first
        self.requests = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.requests += 1
                connection.settimeout(10)
                with connection, connection.makefile("rwb") as stream:
                    size = len(PHOTO)
                    while (line := stream.readline()) != b"\r\n":
                        assert line
                    stream.read(self.first if self.requests == 1 else size)
                    if self.requests > 1:
                        body = answer().content
                        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n"
                        stream.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("read", "attempts"), [(1000, 2), (len(PHOTO), 1)])
def test_a_connection_that_broke_is_tried_again_only_if_not_all_was_sent(kind, read, attempts):
    server = Breaking(read)
    try:
        if attempts == 2:
            assert ask(kind, "reconstruct", PHOTO, server=server.address).id == "r1"
        else:
            with pytest.raises(ServiceUnavailableError, match="broke off"):
                ask(kind, "reconstruct", PHOTO, server=server.address)
        assert server.requests == attempts
    finally:
        server.listener.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_that_is_not_trusted_stays_so(kind, naps):
    def refuse(request):
        raise httpx.ConnectError("no trust") from ssl.SSLCertVerificationError("self-signed")

    replies = Replies(refuse, answer())
    with pytest.raises(ServiceUnavailableError, match="no trust"):
        ask(kind, "reconstruct", b"photo", transport=replies.transport)
    assert len(replies.requests) == 1


class BreaksOff(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __iter__(self):
        yield b"{"
        raise httpx.ReadError("reset")

    async def __aiter__(self):
        yield b"{"
        raise httpx.ReadError("reset")


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_broke_off_is_not_asked_for_again(kind, naps):
    replies = Replies(lambda request: httpx.Response(200, stream=BreaksOff()), answer())
    with pytest.raises(ServiceUnavailableError, match="broke off"):
        ask(kind, "reconstruct", b"photo", transport=replies.transport)
    assert len(replies.requests) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_retries_are_counted(kind, naps):
    replies = Replies(problem(503, "overloaded", retry_after="1"))
    with pytest.raises(ServerError) as caught:
        ask(kind, "reconstruct", b"photo", transport=replies.transport, client={"retries": 2})
    assert len(replies.requests) == 3
    error = caught.value
    assert (error.code, error.status, error.retry_after) == ("overloaded", 503, 1.0)
    replies = Replies(problem(503, "overloaded", retry_after="1"))
    with pytest.raises(ServerError):
        ask(kind, "reconstruct", b"photo", transport=replies.transport, client={"retries": 0})
    assert len(replies.requests) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_all_attempts_together_keep_the_deadline(kind, naps):
    replies = Replies(problem(503, "backend-unavailable", retry_after="2"))
    with pytest.raises(BackendError) as caught:
        ask(kind, "reconstruct", b"photo", transport=replies.transport, timeout=5, client={"retries": 9})
    assert naps.seconds == [2.1, 2.1]
    assert isinstance(caught.value.__cause__, ServerError)
    assert caught.value.__cause__.request_id == "q1"


@pytest.mark.parametrize("kind", KINDS)
def test_readiness_is_asked_once(kind, naps):
    replies = Replies(problem(503, "not-ready", retry_after="1"))
    assert ask(kind, "ready", transport=replies.transport) is False
    assert ask(kind, "ready", transport=Replies(httpx.ConnectError("refused")).transport) is False
    assert ask(kind, "ready", transport=Replies(answer({"ready": True})).transport) is True
    assert len(replies.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        (
            {"retry-after": "Wed, 21 Oct 2015 07:28:10 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"},
            10.0,
        ),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after(headers, seconds):
    assert read_retry_after(headers) == seconds


def test_a_deadline_that_is_past():
    deadline = Deadline.after(-1)
    assert deadline.remaining() == 0
    with pytest.raises(DeadlineError):
        deadline.check()


def test_other_errors_pass_through():
    def attempt(deadline):
        raise NoFaceError("none")

    with pytest.raises(NoFaceError):
        retry.with_retries(attempt, Deadline.after(1), 3)

    async def attempt_async(deadline):
        raise NoFaceError("none")

    with pytest.raises(NoFaceError):
        asyncio.run(retry.with_retries_async(attempt_async, Deadline.after(1), 3))


@pytest.mark.parametrize("kind", KINDS)
def test_who_asks_hears_of_each_pause_and_its_cause(kind, naps):
    heard = []
    replies = Replies(problem(429, "quota-exceeded", retry_after="2"), httpx.ConnectError("gone"), answer())
    ask(
        kind,
        "reconstruct",
        b"photo",
        transport=replies.transport,
        client={"on_wait": lambda seconds, error: heard.append((seconds, error, list(naps.seconds)))},
    )
    (first, quota, before), (second, lost, between) = heard
    assert [first, second] == naps.seconds
    assert (before, between) == ([], [first])
    assert (problem_of(quota).code, problem_of(quota).status) == ("quota-exceeded", 429)
    assert isinstance(lost, ServiceUnavailableError)
    assert problem_of(lost) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_of_many_photos_is_heard_of_too(kind, naps):
    heard = []
    replies = Replies(problem(503, "overloaded", retry_after="2"), answer())
    ask(
        kind,
        "reconstruct_many",
        [b"photo"],
        transport=replies.transport,
        client={"on_wait": lambda seconds, error: heard.append(seconds)},
    )
    assert heard == naps.seconds == [2.1]


def test_nobody_hears_of_a_refusal_that_nothing_follows(naps):
    heard = []
    with pytest.raises(ServerError):
        ask(
            "sync",
            "reconstruct",
            b"photo",
            transport=Replies(problem(429, "quota-exceeded", retry_after="99")).transport,
            client={"on_wait": lambda *told: heard.append(told)},
        )
    assert heard == []
