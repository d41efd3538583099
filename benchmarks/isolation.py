"""Threads or processes: ``python -m benchmarks.isolation``.

The same photos are reconstructed by as many threads as there are cores, and by as many processes, in turn.
Meanwhile an event loop in the first process asks to be woken every millisecond: what it is late is what a
gateway would be late to read a request, answer a health check or honour a deadline. Hard photos, in which
only dlib's convolutional detector may find a face, are measured apart: it holds the interpreter's lock.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from inversefacenet.errors import NoFaceError
from inversefacenet.reconstruction import Reconstructor

_ROUNDS = 5
_shared: list[Reconstructor] = []


@dataclass
class Run:
    """One round.

    Attributes:
        rate: Photos a second.
        late: Milliseconds that the event loop was late, each time.
    """

    rate: float
    late: list[float]


def load() -> None:
    """Load the pipeline into this process, one thread to an inference."""
    from inversefacenet.backends.onnx import OnnxBackend

    _shared.append(Reconstructor(backend=OnnxBackend(threads=1)))


def work(photo: bytes) -> None:
    """Reconstruct a photo, or find that it shows no face."""
    from inversefacenet.image import decode_photo

    with suppress(NoFaceError):
        _shared[0].reconstruct(decode_photo(photo))


def measure(executor: Executor, photo: bytes, count: int) -> Run:
    """Have so many photos reconstructed while an event loop runs here."""

    async def watch(futures: list[Future[None]]) -> list[float]:
        late = []
        while not all(future.done() for future in futures):
            asked = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(1000 * (time.perf_counter() - asked) - 1)
        return late

    started = time.perf_counter()
    futures = [executor.submit(work, photo) for _ in range(count)]
    late = asyncio.run(watch(futures))
    for future in futures:
        future.result()
    return Run(count / (time.perf_counter() - started), late)


def hard_photo() -> bytes:
    """Return noise in which no detector finds a face, so that all of them look."""
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3)).astype(np.uint8)
    return _jpeg(Image.fromarray(noise))


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def percentile(values: list[float], share: float) -> float:
    """Return a percentile of the values."""
    return float(np.percentile(values, 100 * share))


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isolation", description=__doc__)
    parser.add_argument("--photo", type=Path, default=Path("examples/astronaut.png"))
    parser.add_argument("--photos", type=int, default=40, help="photos a round")
    options = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    cores = len(os.sched_getaffinity(0))
    load()
    photos = {"easy": (_jpeg(Image.open(options.photo)), options.photos), "hard": (hard_photo(), 2 * cores)}
    spawn = multiprocessing.get_context("spawn")
    figures: dict[str, float] = {}
    with (
        ThreadPoolExecutor(cores) as threads,
        ProcessPoolExecutor(cores, mp_context=spawn, initializer=load) as processes,
    ):
        kinds: dict[str, Executor] = {"threads": threads, "processes": processes}
        for photo, (content, count) in photos.items():
            runs = _alternate({kind: _caller(kinds[kind], content, count) for kind in kinds})
            for kind, those in runs.items():
                late = [value for run in those for value in run.late]
                figures[f"{kind}_{photo}_rate"] = statistics.median(run.rate for run in those)
                figures[f"{kind}_{photo}_late_p99_ms"] = percentile(late, 0.99)
                figures[f"{kind}_{photo}_late_max_ms"] = max(late)
    for name, value in figures.items():
        print(f"{name:32} {value:8.2f}")
    ratio = figures["processes_easy_rate"] / figures["threads_easy_rate"]
    print(
        f"rate_ratio={ratio:.3f} threads_late_ms={figures['threads_hard_late_max_ms']:.1f} "
        f"processes_late_ms={figures['processes_hard_late_max_ms']:.1f}"
    )
    return 0


def _caller(executor: Executor, photo: bytes, count: int) -> Callable[[], Run]:
    return lambda: measure(executor, photo, count)


def _alternate(calls: dict[str, Callable[[], Run]]) -> dict[str, list[Run]]:
    for call in calls.values():
        call()  # warm-up
    runs: dict[str, list[Run]] = {name: [] for name in calls}
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            runs[name].append(call())
    return runs


if __name__ == "__main__":
    raise SystemExit(main())
