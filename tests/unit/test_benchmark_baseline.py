"""Runs beside earlier runs: what counts as worse, and what is noise."""

from pathlib import Path

import pytest

from benchmarks import baseline
from benchmarks.baseline import Ratio, compare, read, same_machine, write
from inversefacenet.errors import InputError

MACHINE = {"cpu": "A", "cores": 2, "system": "Linux", "load_average": 3.0}


def one(now: Ratio, then: Ratio, *, same: bool = True) -> baseline.Change:
    (change,) = compare({"stage": now}, {"stage": then}, same=same)
    return change


def test_slower_beyond_noise_is_a_regression() -> None:
    change = one(Ratio(1.5, 0.05), Ratio(1.2, 0.1))
    assert change.worse == pytest.approx(0.25)
    assert change.noise == pytest.approx(0.15)
    assert change.regression
    assert change.line().startswith("WORSE  stage ")


def test_within_noise_nothing_is_said() -> None:
    change = one(Ratio(1.3, 0.1), Ratio(1.2, 0.1))
    assert not change.regression
    assert change.line().startswith("same ")


def test_a_still_run_has_noise_all_the_same() -> None:
    assert not one(Ratio(1.09), Ratio(1.0)).regression
    assert one(Ratio(1.11), Ratio(1.0)).regression


def test_faster_is_better() -> None:
    assert one(Ratio(0.5), Ratio(1.0)).line().startswith("better ")


def test_where_more_is_better_less_is_worse() -> None:
    change = one(Ratio(0.8, higher_is_better=True), Ratio(1.0, higher_is_better=True))
    assert change.worse == pytest.approx(0.25)
    assert change.regression


def test_another_machine_may_differ_more() -> None:
    assert not one(Ratio(1.18), Ratio(1.0), same=False).regression
    assert one(Ratio(1.18), Ratio(1.0)).regression


def test_only_what_both_have_is_compared_and_the_worst_comes_first() -> None:
    now = {"a": Ratio(1.0), "b": Ratio(2.0), "new": Ratio(9.0), "gone": Ratio(0.0)}
    then = {"a": Ratio(1.0), "b": Ratio(1.0), "old": Ratio(9.0), "gone": Ratio(1.0)}
    assert [change.name for change in compare(now, then, same=True)] == ["b", "a"]


def test_machines_are_told_apart_by_what_they_are_not_by_how_busy_they_are() -> None:
    assert same_machine(MACHINE, {**MACHINE, "load_average": 0.0})
    assert not same_machine(MACHINE, {**MACHINE, "cores": 4})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "results" / "then.json"
    ratios = {"stage": Ratio(1.25, 0.02), "recall": Ratio(0.99, higher_is_better=True)}
    write(path, MACHINE, ratios)
    assert read(path) == (MACHINE, ratios)


def test_several_runs_are_their_median_and_what_they_differ_by_is_noise(tmp_path: Path) -> None:
    path = tmp_path / "then.json"
    for value in (1.0, 1.3, 1.1):
        write(path, MACHINE, {"stage": Ratio(value, 0.02)}, add=True)
    _, then = read(path)
    assert then["stage"].value == 1.1
    assert then["stage"].spread == pytest.approx(0.3 / 1.1)
    assert not one(Ratio(1.35, 0.02), then["stage"]).regression
    assert one(Ratio(1.5, 0.02), then["stage"]).regression
    write(path, MACHINE, {"stage": Ratio(2.0, 0.02)})
    assert read(path)[1] == {"stage": Ratio(2.0, 0.02)}


def test_runs_of_other_machines_are_not_added(tmp_path: Path) -> None:
    path = tmp_path / "then.json"
    write(path, MACHINE, {"stage": Ratio(1.0)}, add=True)
    with pytest.raises(InputError, match="another kind of machine"):
        write(path, {**MACHINE, "cores": 64}, {"stage": Ratio(1.0)}, add=True)
    assert read(path)[0] == MACHINE


@pytest.mark.parametrize("content", ["", "{}", '{"machine": {}, "runs": [{"a": 1}]}', "[1]"])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "then.json"
    path.write_text(content)
    with pytest.raises(InputError, match="no results"):
        read(path)
