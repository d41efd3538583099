"""A real Triton server that is slow, full, paused, killed, restarted or without its stub.

Whatever happens, each request is answered or refused by its deadline, and the same backend works again soon
after the server does. Times here are limits, generous ones; nothing is measured.
"""

import asyncio
import gc
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from inversefacenet.backends.triton import TritonBackend
from inversefacenet.backends.triton_errors import Cause, TritonError
from inversefacenet.errors import DeadlineError

RECOVERY_SECONDS = 2.0
# What a busy machine may add to a deadline.
GRACE_SECONDS = 1.0


async def outcome(coroutine):
    """Return a request's outcome and how many seconds it took."""
    started = time.monotonic()
    try:
        result = await coroutine
    except (TritonError, DeadlineError) as error:
        result = error
    return result, time.monotonic() - started


async def recovered(backend, crop):
    """Return the answer of a backend whose server is back, however often it must be asked."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while True:
        try:
            return await backend.infer_async(crop, timeout=RECOVERY_SECONDS)
        except (TritonError, DeadlineError):
            assert time.monotonic() < deadline, "the backend has not recovered in time"
            await asyncio.sleep(0.05)


def one_at_a_time(queue=0):
    """Return a change of the configuration: no batches, and a queue of that length."""

    def change(config):
        config.max_batch_size = 1
        del config.dynamic_batching.preferred_batch_size[:]
        config.dynamic_batching.default_queue_policy.max_queue_size = queue

    return change


@pytest.mark.parametrize("shared_memory", [False, True])
def test_requests_under_way_when_the_server_is_killed_are_refused_and_the_next_ones_work(
    start, crops, answers, shared_memory
):
    server = start(sleep_ms=300)

    async def main():
        backend = TritonBackend(server.url, shared_memory=shared_memory)
        await backend.infer_async(crops[:1])
        requests = [
            asyncio.create_task(outcome(backend.infer_async(crops[i : i + 1], timeout=8))) for i in range(6)
        ]
        await asyncio.sleep(0.15)
        await asyncio.to_thread(server.kill)
        for result, seconds in await asyncio.gather(*requests):
            assert isinstance(result, TritonError)
            assert result.cause == Cause.UNREACHABLE
            assert seconds < 4
        result, seconds = await outcome(backend.infer_async(crops[:1], timeout=8))
        assert isinstance(result, TritonError)
        assert "start it" in str(result)
        assert seconds < 4
        await asyncio.to_thread(server.start)
        np.testing.assert_allclose(await recovered(backend, crops[:3]), answers[:3], atol=1e-4)
        assert len(server.shared_memory()) == shared_memory
        await backend.close_async()

    asyncio.run(main())
    assert server.shared_memory() == []


def test_requests_to_a_paused_server_end_by_their_deadlines(start, crops, answers):
    server = start()

    async def main():
        backend = TritonBackend(server.url)
        await backend.infer_async(crops[:1])
        server.pause()
        deadlines = (0.3, 0.6, 0.9, 1.2)
        results = await asyncio.gather(
            *(outcome(backend.infer_async(crops[:1], timeout=seconds)) for seconds in deadlines)
        )
        for (result, seconds), deadline in zip(results, deadlines, strict=True):
            assert isinstance(result, DeadlineError)
            assert seconds < deadline + GRACE_SECONDS
        server.resume()
        np.testing.assert_allclose(await recovered(backend, crops[:2]), answers[:2], atol=1e-4)
        await backend.close_async()

    asyncio.run(main())


def test_a_backend_whose_first_contact_is_a_paused_server_gives_up_in_time(start, crops, answers):
    server = start()

    async def main():
        backend = TritonBackend(server.url, timeout=0.5)
        server.pause()
        for result, seconds in await asyncio.gather(
            *(outcome(backend.infer_async(crops[:1])) for _ in range(4))
        ):
            assert isinstance(result, DeadlineError)
            assert seconds < 0.5 + GRACE_SECONDS
        server.resume()
        np.testing.assert_allclose(await recovered(backend, crops[:1]), answers[:1], atol=1e-4)
        await backend.close_async()

    asyncio.run(main())


def test_a_dead_stub_fails_every_request_although_the_server_says_ready(start, crops, answers):
    server = start(explicit=True)

    async def main():
        backend = TritonBackend(server.url)
        await backend.infer_async(crops[:1])
        server.kill_stub()
        for _ in range(2):
            result, _ = await outcome(backend.infer_async(crops[:1]))
            assert isinstance(result, TritonError)
            assert result.cause == Cause.FAILED
            assert "unload and load" in str(result)
        assert server.server_ready()
        assert server.model_ready()
        server.unload()
        server.load()
        np.testing.assert_allclose(await recovered(backend, crops[:1]), answers[:1], atol=1e-4)
        await backend.close_async()

    asyncio.run(main())


def test_a_slow_model_is_given_up_by_the_deadline_and_by_cancelling(start, crops):
    """What is still in the server's queue then is dropped there too: nothing is computed for nobody."""
    server = start(change=one_at_a_time(), sleep_ms=800)

    async def main():
        backend = TritonBackend(server.url, shared_memory=True)
        await backend.describe()
        running = asyncio.create_task(backend.infer_async(crops[:1]))
        await asyncio.sleep(0.2)
        late = asyncio.create_task(outcome(backend.infer_async(crops[1:2], timeout=0.2)))
        cancelled = asyncio.create_task(backend.infer_async(crops[2:3]))
        await asyncio.sleep(0.1)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert not running.done()
        result, seconds = await late
        assert isinstance(result, DeadlineError)
        assert seconds < 0.2 + GRACE_SECONDS
        await running
        await backend.infer_async(crops[3:4])
        await backend.close_async()

    asyncio.run(main())
    assert server.executions() == (2, 2)


def test_several_requests_of_one_call_share_its_deadline(start, crops):
    server = start(change=one_at_a_time(), sleep_ms=300)
    backend = TritonBackend(server.url)
    backend.infer(crops[:2])
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        backend.infer(crops, timeout=1)
    assert time.monotonic() - started < 1 + GRACE_SECONDS
    backend.close()


def test_a_full_queue_refuses_exactly_what_is_too_much(start, crops):
    server = start(change=one_at_a_time(queue=3), sleep_ms=500)

    async def main():
        backend = TritonBackend(server.url)
        await backend.describe()
        running = asyncio.create_task(outcome(backend.infer_async(crops[:1])))
        await asyncio.sleep(0.2)
        results = await asyncio.gather(*(outcome(backend.infer_async(crops[:1])) for _ in range(9)))
        refused = [result for result, _ in results if isinstance(result, TritonError)]
        assert len(refused) == 6
        assert {error.cause for error in refused} == {Cause.OVERLOADED}
        assert isinstance((await running)[0], np.ndarray)
        await backend.close_async()

    asyncio.run(main())


def test_a_server_that_is_told_to_stop_finishes_what_it_has(start, crops, answers):
    server = start(sleep_ms=500)

    async def main():
        backend = TritonBackend(server.url)
        await backend.describe()
        running = asyncio.create_task(backend.infer_async(crops[:1]))
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        np.testing.assert_allclose(await running, answers[:1], atol=1e-4)
        assert await stopping == 0
        result, _ = await outcome(backend.infer_async(crops[:1]))
        assert isinstance(result, TritonError)
        await backend.close_async()

    asyncio.run(main())


def test_closing_ends_what_is_under_way_and_takes_shared_memory_back(start, crops):
    server = start(sleep_ms=600)

    async def main():
        backend = TritonBackend(server.url, shared_memory=True)
        await backend.infer_async(crops[:1])
        running = asyncio.create_task(outcome(backend.infer_async(crops[:1])))
        await asyncio.sleep(0.2)
        # The server won't let go of memory that it still reads; it is asked until it does.
        await backend.close_async()
        result, _ = await running
        assert isinstance(result, np.ndarray | TritonError)
        with pytest.raises(TritonError, match="closed"):
            await backend.infer_async(crops[:1])
        await backend.close_async()

    asyncio.run(main())
    assert server.shared_memory() == []


def test_shared_memory_that_the_server_cannot_open_is_a_clear_error(steady, crops, monkeypatch):
    from inversefacenet.backends import triton_memory

    class Elsewhere(triton_memory.SharedCrops):
        def __init__(self):
            super().__init__()
            self.key = "/of-another-host"

    monkeypatch.setattr("inversefacenet.backends.triton_connection.SharedCrops", Elsewhere)
    backend = TritonBackend(steady.url, shared_memory=True)
    with pytest.raises(TritonError, match="on one host") as refused:
        backend.infer(crops[:1])
    assert refused.value.cause == Cause.REFUSED
    backend.close()


def resources():
    """Count what a leak would add to: open files, threads, regions of shared memory."""
    gc.collect()
    regions = list(Path("/dev/shm").glob(f"inversefacenet-{os.getpid()}-*"))
    # The loop's own pool, which the tests wait with, starts threads when it likes.
    threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    return len(os.listdir("/proc/self/fd")), len(threads), len(regions)


def settles(limit):
    """Wait until there is no more of anything than that: gRPC closes its sockets in the background."""
    deadline = time.monotonic() + 10
    while any(count > most for count, most in zip(resources(), limit, strict=True)):
        assert time.monotonic() < deadline, (resources(), limit)
        time.sleep(0.05)


def test_restarts_leak_nothing(start, crops, answers):
    server = start()

    async def main():
        backend = TritonBackend(server.url, shared_memory=True)
        await backend.infer_async(crops[:1])
        first = None
        for _ in range(5):
            await asyncio.to_thread(server.kill)
            results = await asyncio.gather(
                *(outcome(backend.infer_async(crops[:1], timeout=1)) for _ in range(8))
            )
            assert all(isinstance(result, TritonError | DeadlineError) for result, _ in results)
            await asyncio.to_thread(server.start)
            np.testing.assert_allclose(await recovered(backend, crops[:2]), answers[:2], atol=1e-4)
            first = first or resources()
            assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.to_thread(settles, first)
        await backend.close_async()

    asyncio.run(main())


def test_backends_that_were_closed_leave_nothing(steady, crops):
    first = None
    for _ in range(5):
        for shared_memory in (False, True):
            backend = TritonBackend(steady.url, shared_memory=shared_memory)
            backend.infer(crops[:1])
            backend.close()
            backend.close()
        asyncio.run(_once(steady.url, crops[:1]))
        first = first or resources()
    settles(first)
    assert steady.shared_memory() == []


async def _once(url, crop):
    backend = TritonBackend(url)
    await backend.infer_async(crop)
    await backend.close_async()
