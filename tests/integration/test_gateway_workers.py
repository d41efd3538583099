"""The worker pool: order, room, deadlines, and processes that die or hang."""

import asyncio
import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from gateway_support import FakeReconstructor, make_settings, photo_bytes

from inversefacenet.errors import BackendError, DeadlineError, InputError, NoFaceError
from inversefacenet.morphable_model import MorphableModel
from services.gateway.deadline import Deadline
from services.gateway.engine import Engine
from services.gateway.errors import NotReadyError, OverloadedError, WorkerCrashedError
from services.gateway.jobs import Output, PhotoJob
from services.gateway.metrics import Metrics
from services.gateway.pipeline import Pipeline
from services.gateway.readiness import Readiness
from services.gateway.schemas import Part
from services.gateway.slots import ProcessSlot, ThreadSlot, WorkerHungError, WorkerOptions
from services.gateway.tracing import Tracing
from services.gateway.worker_process import load_pipeline
from services.gateway.workers import WorkerPool


class Steps:
    """Stands in for a pipeline; `hold` keeps a job until its event is set."""

    model = Pipeline(FakeReconstructor()).model

    def __init__(self):
        self.log = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()

    def note(self, what):
        self.log.append(what)
        return what

    def hold(self, what):
        self.entered.release()
        self.gate.wait(20)
        self.log.append(what)
        return what

    def refuse(self):
        raise NoFaceError("none")


def with_pool(check, slots=1, queue=2):
    """Run an asynchronous check on a pool of threads."""

    async def run():
        steps, metrics = Steps(), Metrics()
        pool = WorkerPool([ThreadSlot(steps) for _ in range(slots)], queue, metrics)
        await pool.start()
        try:
            await check(pool, steps, metrics)
        finally:
            steps.gate.set()
            await pool.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def later(seconds=20.0):
    return Deadline.after(seconds)


async def entered(steps):
    assert await asyncio.to_thread(steps.entered.acquire, timeout=20)


async def settled(pool, steps):
    """Let the worker finish, and wait until nobody is in the pool."""
    steps.gate.set()
    await pool.idle()


async def place_and_run(pool, method, *arguments, deadline=None):
    place = await pool.enter(deadline or later())
    try:
        result, _ = await pool.run(place, method, *arguments, deadline=deadline or later())
        return result
    finally:
        place.leave()


def test_results_and_errors_come_back():
    async def check(pool, steps, metrics):
        assert await place_and_run(pool, "note", 7) == 7
        with pytest.raises(NoFaceError):
            await place_and_run(pool, "refuse")
        await pool.idle()

    with_pool(check)


def test_exactly_the_capacity_is_accepted():
    async def check(pool, steps, metrics):
        tasks = [asyncio.ensure_future(place_and_run(pool, "hold", n)) for n in range(20)]
        await entered(steps)
        steps.gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes[:3] == [0, 1, 2]
        assert all(isinstance(outcome, OverloadedError) for outcome in outcomes[3:])
        await pool.idle()
        pool.check_room()

    with_pool(check, slots=1, queue=2)


def test_waiting_for_room_is_served_in_turn():
    async def check(pool, steps, metrics):
        first = asyncio.ensure_future(place_and_run(pool, "hold", "first"))
        await entered(steps)

        async def patient(number):
            place = await pool.enter(later(), wait=True)
            await pool.run(place, "note", number, deadline=later())
            place.leave()

        tasks = [asyncio.ensure_future(patient(n)) for n in range(8)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await pool.enter(later())
        steps.gate.set()
        await asyncio.gather(first, *tasks)
        assert steps.log == ["first", *range(8)]
        await pool.idle()

    with_pool(check, slots=1, queue=0)


def test_a_wait_for_room_ends_with_the_deadline_or_the_caller():
    async def check(pool, steps, metrics):
        first = asyncio.ensure_future(place_and_run(pool, "hold", "first"))
        await entered(steps)
        with pytest.raises(DeadlineError):
            await pool.enter(later(0.05), wait=True)
        gone = asyncio.ensure_future(pool.enter(later(), wait=True))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await settled(pool, steps)
        assert await first == "first"
        place = await pool.enter(later())
        place.leave()
        await pool.idle()

    with_pool(check, slots=1, queue=0)


def test_a_place_that_comes_as_its_caller_goes_is_not_lost():
    async def check(pool, steps, metrics):
        held = await pool.enter(later())
        gone = asyncio.ensure_future(pool.enter(later(), wait=True))
        await asyncio.sleep(0)
        held.leave()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await asyncio.wait_for(pool.idle(), 5)
        pool.check_room()

    with_pool(check, slots=1, queue=0)


def test_work_that_nobody_waits_for_is_never_begun():
    async def check(pool, steps, metrics):
        first = asyncio.ensure_future(place_and_run(pool, "hold", "first"))
        await entered(steps)
        with pytest.raises(DeadlineError):
            await place_and_run(pool, "note", "late", deadline=later(0.05))
        gone = asyncio.ensure_future(place_and_run(pool, "note", "gone"))
        await asyncio.sleep(0.01)
        assert metrics.registry.get_sample_value("inversefacenet_queue_length") == 1
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert metrics.registry.get_sample_value("inversefacenet_queue_length") == 0
        await settled(pool, steps)
        await first
        assert steps.log == ["first"]

    with_pool(check)


def test_a_worker_that_is_still_busy_keeps_its_place():
    async def check(pool, steps, metrics):
        with pytest.raises(DeadlineError):
            await place_and_run(pool, "hold", "slow", deadline=later(0.2))
        with pytest.raises(OverloadedError):
            pool.check_room()
        await settled(pool, steps)
        pool.check_room()

    with_pool(check, slots=1, queue=0)


def test_second_halves_and_proofs_go_before_new_photos():
    async def check(pool, steps, metrics):
        first = asyncio.ensure_future(place_and_run(pool, "hold", "first"))
        await entered(steps)
        place = await pool.enter(later())
        new = asyncio.ensure_future(pool.run(place, "note", "new", deadline=later()))
        half = asyncio.ensure_future(pool.run_in(0, place, "note", "half", deadline=later()))
        await asyncio.sleep(0)
        proof = asyncio.ensure_future(pool.run_first("note", "proof", deadline=later()))
        await asyncio.sleep(0)
        steps.gate.set()
        await asyncio.gather(first, new, half, proof)
        assert steps.log == ["first", "proof", "half", "new"]
        place.leave()

    with_pool(check)


OPTIONS = WorkerOptions(embedded=True, model_path=None, threads=1, minimum_face=20.0, log_level="warning")


@pytest.mark.parametrize("named", [False, True])
def test_workers_load_the_face_model_that_is_named(named, tmp_path, synthetic_model):
    path = tmp_path / "model.npz"
    synthetic_model.save(path)
    pipeline = load_pipeline(replace(OPTIONS, face_model_path=path if named else None))
    expected = MorphableModel.load(path) if named else MorphableModel.load_default()
    assert pipeline.model.face_model.digest == expected.digest


@pytest.fixture(scope="module")
def slot():
    slot = ProcessSlot(OPTIONS)
    assert slot.start().backend == "onnxruntime"
    yield slot
    slot.stop()


def test_a_process_answers_and_passes_errors_on(slot):
    slot.call("probe", (), 20)
    with pytest.raises(NoFaceError, match="No face was found"):
        slot.call("whole", (PhotoJob(photo_bytes(200, 150)), 20.0), 20)
    assert slot.alive()


def test_a_killed_process_fails_its_own_job_and_starts_again(slot):
    before = slot.pid
    os.kill(before, signal.SIGKILL)
    while slot.alive():
        time.sleep(0.01)
    with pytest.raises(WorkerCrashedError):
        slot.call("probe", (), 20)
    assert slot.pid is None
    slot.start()
    assert slot.pid != before
    slot.call("probe", (), 20)


def test_a_process_that_hangs_is_ended(slot):
    os.kill(slot.pid, signal.SIGSTOP)
    with pytest.raises(WorkerHungError):
        slot.call("probe", (), 0.2)
    assert not slot.alive()
    slot.start()
    slot.call("probe", (), 20)


def test_a_process_that_cannot_start_says_why(tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"nothing of the kind")
    slot = ProcessSlot(WorkerOptions(True, broken, 1, 20.0, "critical"))
    with pytest.raises(Exception, match=r"model\.onnx can't be loaded"):
        slot.start()
    slot.stop()


def test_a_process_that_died_idle_costs_nobody_a_photo():
    async def run():
        metrics = Metrics()
        slot = ProcessSlot(OPTIONS)
        pool = WorkerPool([slot], 2, metrics)
        await pool.start()
        try:
            os.kill(slot.pid, signal.SIGKILL)
            await asyncio.sleep(0.1)
            await pool.run_first("probe", deadline=later(60))
            assert metrics.registry.get_sample_value(
                "inversefacenet_worker_restarts_total", {"cause": "crashed"}
            ) in (0.0, 1.0)
        finally:
            await pool.close()
        assert slot.pid is None

    asyncio.run(asyncio.wait_for(run(), 120))


class FakeRemote:
    """Stands in for Triton: turns each face by its crop's red."""

    name = "triton"
    version = "3"
    digest = "cd" * 32

    def __init__(self):
        self.error = None
        self.timeouts = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False

    async def infer_async(self, crops, *, timeout=None, metadata=None):
        self.timeouts.append(timeout)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return FakeReconstructor().backend.infer(crops)

    async def close_async(self):
        self.closed = True


def with_engine(check):
    async def run():
        reconstructor, metrics, remote = FakeReconstructor(), Metrics(), FakeRemote()
        pipeline = Pipeline(reconstructor)
        pool = WorkerPool([ThreadSlot(pipeline), ThreadSlot(pipeline)], 4, metrics)
        model = await pool.start()
        engine = Engine(make_settings(), metrics, pool, model, remote, Tracing.from_settings("", "0"))
        try:
            await check(engine, remote, pipeline, metrics)
        finally:
            await engine.close()
        assert remote.closed

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_remote_network_gets_the_remaining_time_and_the_worker_keeps_nothing():
    async def check(engine, remote, pipeline, metrics):
        answered = await engine.reconstruct(PhotoJob(photo_bytes()), later(5))
        assert answered.faces == 1
        assert 3 < remote.timeouts[0] < 5
        assert [name for name, _, _ in answered.stages].count("infer") == 1
        assert not pipeline._waiting
        assert (
            metrics.registry.get_sample_value("inversefacenet_backend_seconds_count", {"backend": "triton"})
            == 1
        )

    with_engine(check)


@pytest.mark.parametrize("way", ["error", "deadline", "cancelled"])
def test_what_goes_wrong_at_the_remote_network_leaves_nothing_behind(way):
    async def check(engine, remote, pipeline, metrics):
        job = PhotoJob(photo_bytes())
        if way == "error":
            remote.error = DeadlineError("too slow")
            with pytest.raises(DeadlineError):
                await engine.reconstruct(job, later())
        else:
            remote.gate.clear()
            task = asyncio.ensure_future(engine.reconstruct(job, later()))
            while not remote.timeouts:
                await asyncio.sleep(0.01)
            assert len(pipeline._waiting) == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.wait_for(engine.idle(), 5)
        while pipeline._waiting:
            await asyncio.sleep(0.01)

    with_engine(check)


def test_many_photos_wait_for_the_remote_network_at_once():
    async def check(engine, remote, pipeline, metrics):
        remote.gate.clear()
        jobs = [PhotoJob(photo_bytes(colour=(40 * n + 20, 90, 90))) for n in range(6)]
        tasks = [asyncio.ensure_future(engine.reconstruct(job, later())) for job in jobs]
        while len(remote.timeouts) < 6:  # more than there are workers
            await asyncio.sleep(0.01)
        remote.gate.set()
        for number, answered in enumerate(await asyncio.gather(*tasks)):
            yaw = float(answered.content.split(b'"rotation":[')[1].split(b",")[0])
            np.testing.assert_allclose(yaw, (40 * number + 20) / 255, atol=1e-6)

    with_engine(check)


@pytest.mark.parametrize("way", ["deadline", "cancelled"])
def test_a_caller_who_leaves_before_the_remote_network_is_asked_leaves_nothing_behind(way):
    async def check(engine, remote, pipeline, metrics):
        detector = pipeline.reconstructor.detector
        detector.hold = threading.Event()
        job = PhotoJob(photo_bytes())
        task = asyncio.ensure_future(engine.reconstruct(job, later(0.3 if way == "deadline" else 20)))
        assert await asyncio.to_thread(detector.started.acquire, timeout=20)
        if way == "cancelled":
            task.cancel()
        with pytest.raises(DeadlineError if way == "deadline" else asyncio.CancelledError):
            await task
        detector.hold.set()
        await asyncio.wait_for(engine.idle(), 5)
        # One more photo through each of the two workers: by then the first is tidied up.
        await asyncio.gather(*(engine.reconstruct(job, later()) for _ in range(4)))
        deadline = time.monotonic() + 5
        while pipeline._waiting:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    with_engine(check)


class Fragile(ThreadSlot):
    """A slot that dies when told to, and can't start at once."""

    def __init__(self, pipeline, failures=()):
        super().__init__(pipeline)
        self.living = True
        self.failures = list(failures)
        self.starts = 0
        self.limits = []

    def alive(self):
        return self.living

    def start(self):
        self.starts += 1
        if self.starts > 1 and self.failures:
            raise self.failures.pop()
        self.living = True
        return super().start()

    def call(self, method, arguments, seconds):
        self.limits.append(seconds)
        return super().call(method, arguments, seconds)


def with_fragile(check, failures=(), **options):
    async def run():
        slot, metrics = Fragile(Steps(), failures), Metrics()
        pool = WorkerPool([slot], 4, metrics, **options)
        await pool.start()
        try:
            await check(pool, slot, metrics)
        finally:
            slot.living = True
            await pool.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def restarts(metrics):
    return metrics.registry.get_sample_value("inversefacenet_worker_restarts_total", {"cause": "crashed"})


def test_what_a_dead_worker_kept_is_not_held_against_its_successor():
    async def check(pool, slot, metrics):
        def lost():
            raise WorkerCrashedError("its first half was elsewhere")

        slot._pipeline.lost = lost
        with pytest.raises(WorkerCrashedError):
            await place_and_run(pool, "lost")
        assert await place_and_run(pool, "note", 1) == 1
        assert (slot.starts, restarts(metrics)) == (1, 0)

    with_fragile(check)


def test_a_restart_that_fails_is_tried_again_whatever_it_was():
    async def check(pool, slot, metrics):
        slot.living = False
        assert await place_and_run(pool, "note", 1, deadline=later(30)) == 1
        assert (slot.starts, restarts(metrics)) == (3, 1)

    with_fragile(check, failures=[OSError("no process to be had")])


def test_a_caller_in_a_hurry_says_nothing_about_the_worker():
    async def check(pool, slot, metrics):
        await place_and_run(pool, "note", 1, deadline=later(0.5))
        assert slot.limits == [pytest.approx(30 + 10)]

    with_fragile(check, patience=30)


def test_those_who_can_wait_leave_room_for_those_who_cannot():
    async def check(pool, steps, metrics):
        waiting = [asyncio.ensure_future(pool.enter(later(), wait=True)) for _ in range(20)]
        await asyncio.sleep(0.05)
        inside = [task for task in waiting if task.done()]
        assert len(inside) == 1 + 2  # the worker, and half of the queue
        singles = [await pool.enter(later()) for _ in range(2)]
        with pytest.raises(OverloadedError):
            await pool.enter(later())
        for place in [*singles, *(task.result() for task in inside)]:
            place.leave()
        await asyncio.sleep(0.05)
        assert sum(task.done() for task in waiting) == 6
        while not all(task.done() for task in waiting):
            for task in waiting:
                if task.done() and not task.result().left:
                    task.result().leave()
            await asyncio.sleep(0)
        for task in waiting:
            if not task.result().left:
                task.result().leave()
        await pool.idle()

    with_pool(check, slots=1, queue=4)


def test_a_service_without_workers_is_not_ready():
    async def check(engine, remote, pipeline, metrics):
        await engine.readiness.check()
        pool = engine._pool
        engine.readiness.doubt()
        pool._running = [False, False]
        with pytest.raises(NotReadyError):
            await engine.readiness.check()
        pool._running = [True, True]

    with_engine(check)


def test_checks_that_waited_for_a_failing_probe_share_its_answer():
    probes = []

    async def probe():
        probes.append(1)
        await asyncio.sleep(0.1)
        raise BackendError("down")

    async def run():
        readiness = Readiness(probe, 0.0, 5.0, Metrics())
        outcomes = await asyncio.gather(*(readiness.check() for _ in range(20)), return_exceptions=True)
        assert all(isinstance(outcome, NotReadyError) for outcome in outcomes)
        assert len(probes) == 1

    asyncio.run(asyncio.wait_for(run(), 30))


def test_pictures_that_are_too_large_together_are_refused():
    pipeline = Pipeline(FakeReconstructor())
    points = FakeReconstructor().detector.detect(np.ones((48, 64, 3), np.uint8))[0].landmarks
    output = Output(frozenset({Part.RENDERING}), size=2048)
    few, many = PhotoJob(photo_bytes(), output, landmarks=(points,)), (points,) * 4
    assert pipeline.whole(few).faces == 1
    with pytest.raises(InputError, match="too many pixels together"):
        pipeline.whole(PhotoJob(photo_bytes(), output, landmarks=many))
    assert pipeline.whole(PhotoJob(photo_bytes(), landmarks=many)).faces == 4
