"""Photos a second of one process and of all cores: ``python -m benchmarks.batch``.

`inversefacenet.batch` does the work, rows written as the command writes them; every library of a worker has
one thread. One worker and as many as there are cores run in turn, each with processes of its own, and only
the time in which all of them work is counted: not their start, not the end of the run. The efficiency is the
rate of all over that of one, times the cores. The price of a million photos follows from the rate and from
what a core costs, which is an option.

The last line holds name=value pairs.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.machine import available_cores, cpu_name
from benchmarks.photo_set import compose
from inversefacenet.batch.local_engine import LocalEngine
from inversefacenet.batch.run import BatchRun, Chunk

PRICE_PER_CORE_HOUR: Final = 0.04
"""US dollars: an assumption, near what clouds ask for a core of a rented machine."""

_LISTED: Final = 20_000  # more photos than a measurement gets to
_WARM: Final = 2  # chunks that each worker does before the time begins

Clock = Callable[[], float]


@dataclass(frozen=True)
class Rates:
    """Photos a second, one value a round.

    Attributes:
        one: Of one worker.
        all: Of as many as there are cores.
        cores: How many those are.
    """

    one: tuple[float, ...]
    all: tuple[float, ...]
    cores: int

    @property
    def efficiency(self) -> float:
        """Median over the rounds of the rate of all over that of as many lone workers."""
        return statistics.median(
            together / (self.cores * alone) for alone, together in zip(self.one, self.all, strict=True)
        )

    @property
    def rate(self) -> float:
        """Median rate of all cores."""
        return statistics.median(self.all)

    def price_of_a_million(self, price_per_core_hour: float) -> float:
        """What a million photos cost at this rate."""
        return 1e6 / self.rate * self.cores / 3600 * price_per_core_hour

    def summary(self, price_per_core_hour: float) -> str:
        """Return the line of name=value pairs."""
        return (
            f"batch_one={statistics.median(self.one):.2f} batch_all={self.rate:.2f} cores={self.cores} "
            f"batch_efficiency={self.efficiency:.3f} "
            f"price_per_million={self.price_of_a_million(price_per_core_hour):.2f}"
        )


def steady_rate(
    done: Iterator[Chunk], workers: int, seconds: float, clock: Clock = time.perf_counter
) -> float:
    """Take finished chunks for some seconds, and return photos a second.

    Args:
        done: Chunks as they are finished, more than are taken.
        workers: How many work on them; the time begins when each has done two.
        seconds: How long to take chunks from then on; at least one a worker is taken.
        clock: Seconds from any origin.
    """
    for _ in range(_WARM * workers):
        next(done)
    start = clock()
    photos = taken = 0
    elapsed = 0.0
    while elapsed < seconds or taken < workers:
        photos += len(next(done).photos)
        taken += 1
        elapsed = clock() - start
    return photos / elapsed


def measure(photos: Sequence[Path], workers: int, seconds: float, network: Path | None = None) -> float:
    """Return the photos a second of so many workers."""
    listed = [str(photo) for photo in itertools.islice(itertools.cycle(photos), _LISTED)]
    with tempfile.TemporaryDirectory() as folder:
        run = BatchRun(listed, Path(folder, "faces.jsonl"), network=network, faces="largest")
        with run.open() as chunks:
            done = run.work(LocalEngine(workers), chunks)
            try:
                return steady_rate(done, workers, seconds)
            finally:
                done.close()  # type: ignore[attr-defined]  # it is a generator: its workers end with it


def compare(rounds: int, seconds: float, network: Path | None = None) -> Rates:
    """Measure one worker and all cores in turn."""
    cores = available_cores()
    with tempfile.TemporaryDirectory() as folder:
        photos = compose(Path(folder))
        one, together = [], []
        for _ in range(rounds):
            one.append(measure(photos, 1, seconds, network))
            together.append(measure(photos, cores, seconds, network))
    return Rates(tuple(one), tuple(together), cores)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batch", description="Photos a second of one process and of all cores."
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--network", type=Path, help="an exported network; by default the shipped one")
    parser.add_argument(
        "--price-per-core-hour",
        type=float,
        default=PRICE_PER_CORE_HOUR,
        help="in any currency (default: %(default)s, US dollars, an assumption)",
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds must be 1 or more, --seconds above 0.")
    rates = compare(options.rounds, options.seconds, options.network)
    print(
        f"{cpu_name()}, {rates.cores} cores; {options.rounds} rounds of {options.seconds:g} s each, in turn"
    )
    for alone, together in zip(rates.one, rates.all, strict=True):
        print(f"one worker {alone:7.2f} photos/s, {rates.cores} workers {together:7.2f}")
    print(rates.summary(options.price_per_core_hour))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
