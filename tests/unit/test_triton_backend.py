import asyncio
import gc
import socket
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from certificates import self_signed
from fake_triton import DIGEST, FakeTriton, mean_levels, serving

from inversefacenet.backends import InferenceBackend, triton_connection
from inversefacenet.backends.loop_thread import LoopThread
from inversefacenet.backends.triton import TritonBackend, TritonTls
from inversefacenet.backends.triton_errors import Cause, TritonError, translate
from inversefacenet.backends.triton_memory import SLOTS, SharedCrops
from inversefacenet.errors import BackendError, DeadlineError, MissingDependencyError

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def crops(rng):
    return rng.integers(0, 256, (7, 240, 240, 3), dtype=np.uint8)


@pytest.fixture
def fake():
    return FakeTriton()


@pytest.fixture
def nobody():
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{probe.getsockname()[1]}"


@asynccontextmanager
async def connected(fake, **settings):
    async with serving(fake) as url:
        backend = TritonBackend(url, **settings)
        try:
            yield backend
        finally:
            await backend.close_async()


def regions():
    return {path.name for path in Path("/dev/shm").glob("inversefacenet-*")}


@pytest.mark.parametrize("shared_memory", [False, True])
def test_crops_go_in_requests_that_the_model_takes_and_come_back_in_order(fake, crops, shared_memory):
    before = regions()

    async def main():
        async with connected(fake, shared_memory=shared_memory) as backend:
            assert isinstance(backend, InferenceBackend)
            assert (backend.digest, backend.version) == ("", "")
            answers = await backend.infer_async(crops)
            np.testing.assert_array_equal(answers, mean_levels(crops))
            answers += 1
            assert (backend.digest, backend.version) == (DIGEST, "1")
            again = await backend.infer_async(crops[::-2, ::-1])
            np.testing.assert_array_equal(again, mean_levels(crops[::-2, ::-1]))
            assert (await backend.infer_async(crops[:0])).shape == (0, 350)
        assert fake.sizes == [3, 3, 1, 3, 1]
        assert [bool(request.raw_input_contents) for request in fake.requests] == [not shared_memory] * 5

    asyncio.run(main())
    assert fake.regions == {}
    assert regions() == before


def test_threads_share_a_backend_that_needs_no_loop(fake, crops):
    """The fake runs on the main thread's loop, the callers on others."""

    async def main():
        async with serving(fake) as url:
            backend = TritonBackend(url)
            answers = await asyncio.gather(*(asyncio.to_thread(backend.infer, crop[None]) for crop in crops))
            np.testing.assert_array_equal(np.concatenate(answers), mean_levels(crops))
            await asyncio.to_thread(backend.close)
            await asyncio.to_thread(backend.close)

    asyncio.run(main())
    assert fake.descriptions == 1
    assert "inversefacenet-loop" not in {thread.name for thread in threading.enumerate()}


def test_time_left_and_metadata_travel_with_the_request(fake, crops):
    async def main():
        async with connected(fake, timeout=9) as backend:
            await backend.infer_async(crops[:1], metadata={"traceparent": "00-1-2-01"})
            await backend.infer_async(crops[:1], timeout=2)
            await backend.infer_async(crops[:1], timeout=100)

    asyncio.run(main())
    assert fake.metadata[0]["traceparent"] == "00-1-2-01"
    sent = [request.parameters["timeout"].int64_param / 1e6 for request in fake.requests]
    assert all(0 < seconds <= limit for seconds, limit in zip(sent, (9, 2, 9), strict=True))
    assert sent[0] > 2
    # gRPC rounds up what it sends.
    assert all(0 < seconds < limit + 1 for seconds, limit in zip(fake.remaining, (9, 2, 9), strict=True))


def test_nobody_listening_is_an_error_soon(nobody, crops):
    backend = TritonBackend(nobody, timeout=20)
    for _ in range(2):
        with pytest.raises(TritonError, match="start it") as refused:
            backend.infer(crops[:1])
        assert refused.value.cause == Cause.UNREACHABLE
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.infer(crops[:1])


@pytest.mark.parametrize(
    ("status", "message", "cause", "advice"),
    [
        ("UNAVAILABLE", "Exceeds maximum queue size", Cause.OVERLOADED, "max_queue_size"),
        ("RESOURCE_EXHAUSTED", "too much", Cause.OVERLOADED, "later"),
        ("UNAVAILABLE", "Socket closed", Cause.UNREACHABLE, "start it"),
        ("CANCELLED", "", Cause.UNREACHABLE, "start it"),
        ("NOT_FOUND", "no available versions", Cause.MISSING, "load it"),
        ("INVALID_ARGUMENT", "unexpected shape", Cause.REFUSED, "unexpected shape"),
        ("INTERNAL", "Stub process 'x_0_0' is not healthy.", Cause.FAILED, "unload and load"),
        ("INTERNAL", "out of memory", Cause.FAILED, "out of memory"),
        ("UNKNOWN", "", Cause.FAILED, "log"),
    ],
)
def test_failures_say_why_and_what_to_do(fake, crops, status, message, cause, advice):
    async def main():
        async with connected(fake) as backend:
            await backend.infer_async(crops[:1])
            fake.failure = (grpc.StatusCode[status], message)
            with pytest.raises(TritonError, match=advice) as refused:
                await backend.infer_async(crops[:1])
            assert refused.value.cause == cause
            fake.failure = None
            await backend.infer_async(crops[:1])
            # After a failure another server may be there; a full queue says that it is the same.
            assert fake.descriptions == (1 if cause == Cause.OVERLOADED else 2)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "message"),
    [("DEADLINE_EXCEEDED", "Deadline Exceeded"), ("UNAVAILABLE", "Request timeout expired")],
)
def test_time_that_ran_out_is_a_deadline_error(status, message):
    error = translate(f"StatusCode.{status}", message, "here:1", "model")
    assert isinstance(error, DeadlineError)
    assert "here:1" in str(error)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_no_time_at_all_is_not_tried(nobody, crops, timeout):
    backend = TritonBackend(nobody)
    with pytest.raises(DeadlineError):
        backend.infer(crops[:1], timeout=timeout)
    backend.close()


@pytest.mark.parametrize("first_contact", [True, False])
def test_a_server_that_hangs_is_given_up(fake, crops, first_contact):
    async def main():
        async with connected(fake, timeout=0.3) as backend:
            if not first_contact:
                await backend.describe()
            fake.hangs = True
            with pytest.raises(DeadlineError):
                await backend.infer_async(crops[:1])
            fake.hangs = False
            np.testing.assert_array_equal(await backend.infer_async(crops[:1]), mean_levels(crops[:1]))

    asyncio.run(main())
    assert fake.cancelled == 1


def test_a_short_deadline_does_not_wait_for_a_longer_one(fake, crops):
    """All wait for one description of the model; each only as long as it wants."""
    fake.hangs_describing = True

    async def main():
        async with connected(fake) as backend:
            patient = asyncio.create_task(backend.infer_async(crops[:1]))
            while not fake.descriptions:
                await asyncio.sleep(0.001)
            with pytest.raises(DeadlineError):
                await backend.infer_async(crops[:1], timeout=0.1)
            assert not patient.done()
            patient.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("shared_memory", [False, True])
def test_cancelling_the_caller_cancels_the_request(fake, crops, shared_memory):
    async def main():
        async with connected(fake, shared_memory=shared_memory) as backend:
            await backend.describe()
            fake.hangs = True
            callers = [asyncio.create_task(backend.infer_async(crops[:1])) for _ in range(SLOTS)]
            while len(fake.requests) < SLOTS:
                await asyncio.sleep(0.001)
            for caller in callers:
                caller.cancel()
            ends = await asyncio.gather(*callers, return_exceptions=True)
            assert {type(end) for end in ends} == {asyncio.CancelledError}
            while fake.cancelled < SLOTS:
                await asyncio.sleep(0.001)
            fake.hangs = False
            # All room in shared memory is free again.
            np.testing.assert_array_equal(await backend.infer_async(crops), mean_levels(crops))
            assert bool(fake.requests[-1].raw_input_contents) != shared_memory

    asyncio.run(main())


def test_closing_fails_what_is_under_way_but_cancels_nobody(fake, crops):
    async def main():
        async with serving(fake) as url:
            backend = TritonBackend(url)
            fake.hangs = True
            caller = asyncio.create_task(backend.infer_async(crops[:1]))
            while not fake.requests:
                await asyncio.sleep(0.001)
            await backend.close_async()
            with pytest.raises(TritonError, match="closed") as refused:
                await caller
            assert refused.value.cause == Cause.CLOSED
            with pytest.raises(TritonError, match="closed"):
                await backend.infer_async(crops[:1])
            await backend.close_async()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda crops: np.zeros((len(crops), 0), np.float32), "0 bytes"),
        (lambda crops: np.zeros((len(crops), 349), np.float32), "not with 350"),
        (lambda crops: np.full((len(crops), 350), np.nan, np.float32), "finite"),
        (lambda crops: np.full((len(crops), 350), np.inf, np.float32), "finite"),
    ],
)
def test_answers_that_cannot_be_used_are_errors(fake, crops, answer, reason):
    fake.answer = answer

    async def main():
        async with connected(fake) as backend:
            with pytest.raises(TritonError, match=reason) as refused:
                await backend.infer_async(crops[:2])
            assert refused.value.cause == Cause.ANSWER

    asyncio.run(main())


@pytest.mark.parametrize(
    "change",
    [
        lambda config: setattr(config.input[0], "data_type", 11),
        lambda config: config.input[0].dims.reverse(),
        lambda config: config.output[0].dims.append(1),
        lambda config: setattr(config, "max_batch_size", 0),
        lambda config: config.input.add(),
    ],
)
def test_another_model_is_refused_before_a_crop_is_sent(fake, crops, change):
    change(fake.config)

    async def main():
        async with connected(fake) as backend:
            with pytest.raises(TritonError, match="model_repository") as refused:
                await backend.infer_async(crops[:1])
            assert refused.value.cause == Cause.REFUSED

    asyncio.run(main())
    assert fake.requests == []


def test_the_digest_follows_the_version_that_answers(fake, crops):
    for version, digest in (("2", "22" * 32), ("10", "aa" * 32)):
        fake.config.parameters[f"onnx_sha256_{version}"].string_value = digest

    async def main():
        async with connected(fake) as backend:
            for versions, digest in ((["1"], DIGEST), (["1", "2"], "22" * 32), (["2", "10"], "aa" * 32)):
                fake.versions = versions
                await backend.infer_async(crops[:1])
                assert (backend.version, backend.digest) == (versions[-1], digest)
            assert (await backend.describe()).version == "10"
        assert fake.descriptions == 4

    asyncio.run(main())


def test_a_server_that_says_no_digest_leaves_it_empty(fake, crops):
    fake.config.parameters.clear()

    async def main():
        async with connected(fake) as backend:
            await backend.infer_async(crops[:1])
            assert backend.digest == ""

    asyncio.run(main())


def test_the_description_is_asked_for_again_when_it_is_old(fake, crops, monkeypatch):
    async def main():
        async with connected(fake) as backend:
            for _ in range(3):
                await backend.infer_async(crops[:1])
            assert fake.descriptions == 1
            monkeypatch.setattr(triton_connection, "DESCRIPTION_SECONDS", 0.0)
            await backend.describe()
            fake.config.parameters["onnx_sha256"].string_value = "cd" * 32
            await backend.infer_async(crops[:1])
            assert backend.digest == "cd" * 32

    asyncio.run(main())


def test_a_version_that_is_asked_for_goes_with_each_request(fake, crops):
    fake.versions = ["1", "2"]

    async def main():
        async with connected(fake, version="1") as backend:
            await backend.infer_async(crops[:1])
            assert backend.version == "1"

    asyncio.run(main())
    assert fake.requests[0].model_version == "1"
    assert fake.descriptions == 1


def test_a_server_that_forgot_the_shared_memory_is_told_again(fake, crops):
    async def main():
        async with connected(fake, shared_memory=True) as backend:
            await backend.infer_async(crops[:1])
            ((name, key),) = fake.regions.items()
            fake.regions.clear()
            answers = await asyncio.gather(*(backend.infer_async(crop[None]) for crop in crops))
            np.testing.assert_array_equal(np.concatenate(answers), mean_levels(crops))
            assert fake.regions == {name: key}

    asyncio.run(main())


def test_a_registration_whose_answer_was_lost_counts(fake, crops):
    fake.keeps_quiet = 1

    async def main():
        async with connected(fake, shared_memory=True) as backend:
            with pytest.raises(DeadlineError):
                await backend.infer_async(crops[:1], timeout=0.2)
            np.testing.assert_array_equal(await backend.infer_async(crops), mean_levels(crops))

    asyncio.run(main())
    assert not any(request.raw_input_contents for request in fake.requests)


@pytest.mark.parametrize(
    ("failure", "reason", "cause"),
    [
        ((grpc.StatusCode.INTERNAL, "Unable to open shared memory region"), "one host", Cause.REFUSED),
        ((UNAVAILABLE, "Socket closed"), "start it", Cause.UNREACHABLE),
    ],
)
def test_shared_memory_that_is_refused_is_a_clear_error(fake, crops, failure, reason, cause):
    fake.refuses_regions = failure

    async def main():
        async with connected(fake, shared_memory=True) as backend:
            with pytest.raises(TritonError, match=reason) as refused:
                await backend.infer_async(crops[:1])
            assert refused.value.cause == cause

    before = regions()
    asyncio.run(main())
    assert regions() == before


def test_no_room_for_shared_memory_is_a_clear_error(monkeypatch, nobody, crops):
    def full(**settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inversefacenet.backends.triton_memory.SharedMemory", full)
    backend = TritonBackend(nobody, shared_memory=True)
    with pytest.raises(TritonError, match="/dev/shm larger"):
        backend.infer(crops[:1])
    backend.close()


def test_crops_that_find_no_room_in_shared_memory_go_by_message(fake, crops):
    fake.config.max_batch_size = SLOTS + 1
    many = np.repeat(crops[:1], SLOTS + 1, axis=0)

    async def main():
        async with connected(fake, shared_memory=True) as backend:
            np.testing.assert_array_equal(await backend.infer_async(many), mean_levels(many))

    asyncio.run(main())
    assert fake.requests[0].raw_input_contents


def test_messages_that_are_too_long_for_the_server_are_a_clear_error(fake, crops):
    async def main():
        async with serving(fake, most_bytes=200_000) as url:
            backend = TritonBackend(url)
            await backend.infer_async(crops[:1])
            with pytest.raises(TritonError, match="raise its limit") as refused:
                await backend.infer_async(crops[:2])
            assert refused.value.cause == Cause.REFUSED
            await backend.close_async()

    asyncio.run(main())


def test_shared_memory_is_handed_out_in_runs(crops):
    memory = SharedCrops()
    taken = [memory.take(crops) for _ in range(SLOTS // 7)]
    assert taken == list(range(0, SLOTS - SLOTS % 7, 7))
    assert memory.take(crops) is None
    assert memory.take(crops[: SLOTS % 7]) is not None
    memory.give_back(7, 7)
    memory.give_back(21, 7)
    assert memory.take(np.repeat(crops, 2, axis=0)) is None
    memory.give_back(14, 7)
    assert memory.take(np.repeat(crops, 3, axis=0)) == 7
    memory.close()


def test_an_object_serves_one_way_and_one_loop(fake, crops, nobody):
    async def main():
        async with connected(fake) as backend:
            await backend.infer_async(crops[:1])
            with pytest.raises(BackendError, match="not by both"):
                await asyncio.to_thread(backend.infer, crops[:1])
            with pytest.raises(BackendError, match="close_async"):
                backend.close()
            with pytest.raises(BackendError, match="event loop"):
                await asyncio.to_thread(lambda: asyncio.run(backend.infer_async(crops[:1])))

    asyncio.run(main())
    backend = TritonBackend(nobody)
    assert backend.infer(crops[:0]).shape == (0, 350)
    for call in (lambda: backend.infer_async(crops[:1]), backend.describe, backend.close_async):
        with pytest.raises(BackendError, match="not by both"):
            asyncio.run(call())
    backend.close()


def test_a_backend_that_was_never_used_closes(nobody):
    TritonBackend(nobody).close()
    asyncio.run(TritonBackend(nobody).close_async())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"url": "http://here:8001"}, "without a scheme"),
        ({"url": "here"}, "host:port"),
        ({"url": ""}, "host:port"),
        ({"version": "latest"}, "number"),
        ({"timeout": 0.0}, "more than 0"),
        ({"timeout": float("nan")}, "more than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, reason):
    with pytest.raises(BackendError, match=reason):
        TritonBackend(**{"url": "here:8001", **settings})


def test_a_missing_client_names_the_extra(nobody, crops, monkeypatch):
    monkeypatch.setitem(sys.modules, "tritonclient.grpc.aio", None)
    backend = TritonBackend(nobody)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[triton\]"):
        backend.infer(crops[:1])
    backend.close()


def test_holders_share_one_loop_thread_which_ends_with_the_last():
    async def thread():
        return threading.current_thread()

    first, second = LoopThread.acquire(), LoopThread.acquire()
    assert first is second
    worker = first.run(thread())
    first.release()
    assert second.run(thread()) is worker
    second.release()
    assert not worker.is_alive()
    third = LoopThread.acquire()
    assert third.run(thread()) is not worker
    third.release()


def test_work_that_its_caller_gave_up_does_not_go_on(monkeypatch):
    ended = threading.Event()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    class Interrupted:
        def __init__(self, future):
            self.cancel = future.cancel

        def result(self):
            raise KeyboardInterrupt

    submit = asyncio.run_coroutine_threadsafe
    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", lambda *args: Interrupted(submit(*args)))
    loop = LoopThread.acquire()
    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert ended.wait(5)
    loop.release()


def test_a_backend_that_is_dropped_unclosed_makes_no_noise(fake, crops):
    async def main():
        async with serving(fake) as url:
            backend = TritonBackend(url)
            await backend.infer_async(crops[:1])
            del backend
            gc.collect()

    asyncio.run(main())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself: its file and its key's."""
    return self_signed(tmp_path_factory.mktemp("tls"))


def test_tls_is_spoken_both_ways(fake, crops, certificate):
    pem, private = certificate
    credentials = grpc.ssl_server_credentials(
        [(private.read_bytes(), pem.read_bytes())], pem.read_bytes(), require_client_auth=True
    )

    async def main():
        async with serving(fake, credentials=credentials) as url:
            backend = TritonBackend(url, tls=TritonTls(pem, pem, private))
            np.testing.assert_array_equal(await backend.infer_async(crops), mean_levels(crops))
            await backend.close_async()
            for tls in (None, TritonTls(pem), TritonTls()):
                stranger = TritonBackend(url, tls=tls)
                with pytest.raises((TritonError, DeadlineError)):
                    await stranger.infer_async(crops, timeout=2)
                await stranger.close_async()

    asyncio.run(main())
