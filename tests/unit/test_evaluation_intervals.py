import numpy as np
import pytest
from scipy import stats

from training.evaluation.intervals import Bootstrap
from training.evaluation.people import clusters
from training.evaluation.result import Evaluation, show, verdict


def test_intervals_are_those_of_scipy(rng):
    values = rng.gamma(3.0, 4.0, 200)
    found = Bootstrap([str(i) for i in range(200)], resamples=20000).interval(values)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20000, method="percentile", rng=rng
    ).confidence_interval
    width = expected.high - expected.low
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(expected.low, abs=0.03 * width)
    assert found.high == pytest.approx(expected.high, abs=0.03 * width)
    # For means of as many faces the bias-corrected interval is nearly the same.
    corrected = stats.bootstrap((values,), np.mean, n_resamples=20000, rng=rng).confidence_interval
    assert found.low == pytest.approx(corrected.low, abs=0.08 * width)
    assert found.high == pytest.approx(corrected.high, abs=0.08 * width)


def test_intervals_over_persons_are_those_of_scipy(rng):
    sizes = rng.integers(1, 8, 60)
    person = np.repeat(np.arange(60), sizes)
    values = rng.normal(0, 3, 60)[person] + rng.normal(0, 1, len(person))
    found = Bootstrap([str(p) for p in person], resamples=20000).interval(values)
    sums = np.bincount(person, values)

    def ratio(sums, sizes, axis=-1):
        return sums.sum(axis=axis) / sizes.sum(axis=axis)

    expected = stats.bootstrap(
        (sums, sizes), ratio, paired=True, n_resamples=20000, method="percentile", rng=rng
    ).confidence_interval
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.03 * width)
    assert found.high == pytest.approx(expected.high, abs=0.03 * width)
    alone = Bootstrap([str(i) for i in range(len(person))]).interval(values)
    assert alone.high - alone.low < 0.8 * width  # faces of one person are no independent observations


def test_draws_are_the_same_in_every_run(rng):
    values, names = rng.normal(size=50), [str(i) for i in range(50)]
    assert Bootstrap(names).interval(values) == Bootstrap(names).interval(values)


def test_differences_are_paired(rng):
    easy = rng.normal(30, 8, 100)
    bootstrap = Bootstrap([str(i) for i in range(100)])
    apart = bootstrap.difference(easy - 0.5 + rng.normal(0, 0.2, 100), easy)
    assert apart.mean == pytest.approx(-0.5, abs=0.1)
    assert apart.high < -0.4  # though single faces differ by far more
    assert verdict("photometric", apart) == "better"
    assert verdict("iou", apart) == "worse"
    assert verdict("photometric", bootstrap.difference(easy[::-1], easy)) == ""


def test_unknown_figures_are_left_out():
    bootstrap = Bootstrap(["a", "b", "c"])
    found = bootstrap.interval(np.array([1.0, np.nan, 3.0]))
    assert (found.mean, found.count) == (2.0, 2)
    assert (found.low, found.high) == (1.0, 3.0)
    nothing = bootstrap.interval(np.full(3, np.nan))
    assert nothing.count == 0
    assert show(nothing) == ""


def test_one_person_has_no_interval():
    found = Bootstrap(["a", "a"]).interval(np.array([1.0, 2.0]))
    assert (found.mean, found.count) == (1.5, 2)
    assert not found.excludes_zero()
    assert show(found) == "1.50"


def test_persons_are_told_by_names_and_folders():
    named = ["A/Ann_B_0001.jpg", "A/Ann_B_0002.jpg", "Cy_0001.png"]
    assert clusters(named) == (["Ann_B", "Ann_B", "Cy"], "name")
    folders = [f"{i // 2}/{i}.jpg" for i in range(20)]
    assert clusters(folders) == ([str(i // 2) for i in range(20)], "folder")
    few = ["good/1.jpg", "good/2.jpg", "bad/1.jpg"]
    assert clusters(few) == (few, "photo")
    assert clusters(few, "folder")[0] == ["good", "good", "bad"]
    assert clusters([*folders, "top.jpg"])[1] == "photo"


def test_tables_show_intervals_and_differences():
    rows = {"a": [{"iou": 0.9}, {"iou": 0.9}], "b": [{"iou": 0.95}, {"iou": 0.97}]}
    result = Evaluation(rows, [], ["x.png", "y.png"])
    bootstrap = result.bootstrap()
    assert result.interval_table(["iou"], bootstrap).splitlines()[2:] == [
        "| a | 0.9000 [0.9000, 0.9000] |",
        "| b | 0.9600 [0.9500, 0.9700] |",
    ]
    assert result.difference_table("a", ["b"], ["iou"], bootstrap).splitlines()[2:] == [
        "| b | +0.0600 [+0.0500, +0.0700] better |"
    ]
