"""The timing harness: candidates run in turn, A B A B, and are compared by their medians.

Convention:
    A round calls every candidate once, in order, after a warm-up whose times are thrown away. What slows
    the machine for a while so slows all of them alike, and their ratio stays. A time is in seconds a call.
    Calls shorter than `SHORTEST` are repeated within their turn until the clock can tell them apart.
    Between turns there is a pause: an engine's threads spin for a while after their work is done, and
    would be measured with the next candidate.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

ROUNDS: Final = 15
WARM_UP: Final = 3
SHORTEST: Final = 1e-3
PAUSE: Final = 5e-3
_MOST_REPEATS: Final = 1000

Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Times of one candidate.

    Attributes:
        seconds: Seconds a call, one value per round.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over the rounds, in seconds."""
        return statistics.median(self.seconds)

    @property
    def milliseconds(self) -> float:
        """Median over the rounds, in milliseconds."""
        return self.median * 1e3

    @property
    def spread(self) -> float:
        """Interquartile range as a fraction of the median: how noisy the run was."""
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / self.median if self.median else 0.0


@dataclass(frozen=True)
class Harness:
    """How candidates are timed.

    Attributes:
        rounds: Turns that each candidate gets.
        warm_up: Turns before those, not counted.
        shortest: Seconds that a turn lasts at least, by repeated calls.
        pause: Seconds of rest between turns.
        clock: Seconds from any origin.
        sleep: Rests for some seconds.
    """

    rounds: int = ROUNDS
    warm_up: int = WARM_UP
    shortest: float = SHORTEST
    pause: float = PAUSE
    clock: Callable[[], float] = field(default=time.perf_counter, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        if self.rounds < 2 or self.warm_up < 1:
            raise ValueError("Medians need two rounds or more, after one of warm-up or more.")

    def alternate(self, candidates: Mapping[str, Call]) -> dict[str, Timing]:
        """Time all candidates in turn.

        Args:
            candidates: What to call, by name, in this order.

        Returns:
            The times, by name in the same order.
        """
        repeats = dict.fromkeys(candidates, 1)
        seconds: dict[str, list[float]] = {name: [] for name in candidates}
        collecting = gc.isenabled()
        gc.disable()
        try:
            for turn in range(self.warm_up + self.rounds):
                for name, call in candidates.items():
                    self.sleep(self.pause)
                    elapsed = self._turn(call, repeats[name]) / repeats[name]
                    if turn >= self.warm_up:
                        seconds[name].append(elapsed)
                    else:
                        repeats[name] = self._repeats(elapsed)
        finally:
            if collecting:
                gc.enable()
        return {name: Timing(tuple(values)) for name, values in seconds.items()}

    def _turn(self, call: Call, repeats: int) -> float:
        start = self.clock()
        for _ in range(repeats):
            call()
        return self.clock() - start

    def _repeats(self, elapsed: float) -> int:
        if elapsed <= 0:
            return _MOST_REPEATS
        return min(max(math.ceil(self.shortest / elapsed), 1), _MOST_REPEATS)


@dataclass(frozen=True)
class Stage:
    """A stage of the software and what it can't be faster than.

    Attributes:
        name: The stage.
        run: Does the stage once.
        floors: The least work that the stage can't do without, by name; the fastest counts.
        note: What the stage's time contains.
    """

    name: str
    run: Call
    floors: Mapping[str, Call]
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """A stage's time beside its floor's.

    Attributes:
        stage: The stage's name.
        timing: Its times.
        floor: Name of the fastest floor.
        floor_timing: That floor's times, from the same rounds.
        floors: Times of all floors that were tried.
        note: What the stage's time contains.
    """

    stage: str
    timing: Timing
    floor: str
    floor_timing: Timing
    floors: Mapping[str, Timing]
    note: str = ""

    @property
    def ratio(self) -> float:
        """Median time of the stage over the median time of its floor."""
        return self.timing.median / self.floor_timing.median


def compare(stage: Stage, harness: Harness) -> Comparison:
    """Time a stage and its floors in turn.

    Raises:
        ValueError: If the stage has no floor, or one of the stage's own name.
    """
    if not stage.floors or stage.name in stage.floors:
        raise ValueError(f"Stage '{stage.name}' needs a floor, under a name of its own.")
    timings = harness.alternate({stage.name: stage.run, **stage.floors})
    own = timings.pop(stage.name)
    fastest = min(timings, key=lambda name: timings[name].median)
    return Comparison(stage.name, own, fastest, timings[fastest], timings, stage.note)
