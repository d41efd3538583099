"""A run's ratios beside those of the committed runs: what has become worse by more than noise.

Only ratios within a run are compared, a stage over its floor for instance, so that a run on another machine
can be, too. A change counts when it is larger than `LEAST` and than the two runs' spreads together; on
another kind of machine twice that much is needed. A run that is a stranger to its neighbours has a spread
that none of its rounds shows, so the committed file may hold several: their medians are compared with, and
what they differ by is noise, too.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from inversefacenet.errors import InputError

COMMITTED: Final = Path(__file__).parent / "results" / "REFERENCE.json"

LEAST: Final = 0.1
"""Changes of less than a tenth are never called changes."""

_STRANGER: Final = 2.0
_MACHINE: Final = ("cpu", "cores", "system")


@dataclass(frozen=True)
class Ratio:
    """One figure that can be compared with another run's.

    Attributes:
        value: The ratio.
        spread: Its noise: interquartile ranges of what it is made of, as a fraction.
        higher_is_better: Whether more is better.
    """

    value: float
    spread: float = 0.0
    higher_is_better: bool = False


@dataclass(frozen=True)
class Change:
    """A ratio now and then.

    Attributes:
        name: What it is of.
        now: In this run.
        then: In the other.
        worse: By how much it has become worse, as a fraction; negative where it is better.
        noise: How much worse or better means nothing.
    """

    name: str
    now: float
    then: float
    worse: float
    noise: float

    @property
    def regression(self) -> bool:
        """Whether it has become worse beyond noise."""
        return self.worse > self.noise

    def line(self) -> str:
        """Return it as one line of text."""
        word = "WORSE" if self.regression else "better" if self.worse < -self.noise else "same"
        return (
            f"{word:6} {self.name:34} {self.now:8.3f}  then {self.then:8.3f}  "
            f"{self.worse:+7.0%} worse, noise {self.noise:.0%}"
        )


def same_machine(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two descriptions are of the same kind of machine."""
    return all(one.get(name) == other.get(name) for name in _MACHINE)


def compare(now: Mapping[str, Ratio], then: Mapping[str, Ratio], *, same: bool) -> list[Change]:
    """Return what both runs have, the worst first.

    Args:
        now: This run's ratios.
        then: The other's.
        same: Whether both ran on the same kind of machine.
    """
    changes = []
    for name, ratio in now.items():
        if name not in then or then[name].value <= 0 or ratio.value <= 0:
            continue
        before = then[name]
        factor = before.value / ratio.value if ratio.higher_is_better else ratio.value / before.value
        noise = max(LEAST, ratio.spread + before.spread) * (1.0 if same else _STRANGER)
        changes.append(Change(name, ratio.value, before.value, factor - 1, noise))
    return sorted(changes, key=lambda change: change.worse - change.noise, reverse=True)


def write(path: Path, machine: Mapping[str, Any], ratios: Mapping[str, Ratio], *, add: bool = False) -> None:
    """Write a run's ratios, to be compared with.

    Args:
        path: The file.
        machine: What the run ran on.
        ratios: What it found.
        add: Keep the runs that are there.

    Raises:
        InputError: If runs are to be kept which aren't of this kind of machine, or are none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    runs: list[Mapping[str, Ratio]] = []
    if add and path.exists():
        before, runs = _runs(path)
        if not same_machine(before, machine):
            raise InputError(f"{path} holds runs of another kind of machine: write it anew.")
    runs = [*runs, ratios]
    rounded = [
        {
            name: asdict(Ratio(round(ratio.value, 4), round(ratio.spread, 4), ratio.higher_is_better))
            for name, ratio in run.items()
        }
        for run in runs
    ]
    path.write_text(json.dumps({"machine": dict(machine), "runs": rounded}, indent=1) + "\n")


def read(path: Path) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Return the machine and the ratios of a file that `write` wrote: medians of its runs.

    Raises:
        InputError: If it isn't one.
    """
    machine, runs = _runs(path)
    names = dict.fromkeys(name for run in runs for name in run)
    return machine, {name: _together([run[name] for run in runs if name in run]) for name in names}


def _together(ratios: Sequence[Ratio]) -> Ratio:
    """Return what several runs found as one: their median, and their spread or that between them."""
    values = [ratio.value for ratio in ratios]
    middle = statistics.median(values)
    between = (max(values) - min(values)) / middle if middle else 0.0
    within = statistics.median(ratio.spread for ratio in ratios)
    return Ratio(middle, max(within, between), ratios[0].higher_is_better)


def _runs(path: Path) -> tuple[dict[str, Any], list[Mapping[str, Ratio]]]:
    try:
        content = json.loads(path.read_text())
        runs = [{name: Ratio(**entry) for name, entry in run.items()} for run in content["runs"]]
        return content["machine"], [*runs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no results of a benchmark: {error}") from error
