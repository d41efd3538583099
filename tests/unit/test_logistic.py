import numpy as np
import pytest

from training.logistic import (
    area_under_curve,
    bootstrap_interval,
    calibration_error,
    fit_logistic,
    reliability,
)


def test_the_fit_is_where_the_gradient_vanishes(rng):
    values = rng.normal(size=(300, 4))
    good = rng.random(300) < 1 / (1 + np.exp(-(values @ [2.0, -1, 0, 0.5] + 0.3)))
    weights = rng.uniform(0.5, 2, 300)
    slopes, bias = fit_logistic(values, good, weights, ridge=0.05)
    off = 1 / (1 + np.exp(-(values @ slopes + bias))) - good
    share = weights / weights.sum()
    np.testing.assert_allclose(values.T @ (share * off) + 0.05 * slopes, 0, atol=1e-9)
    assert share @ off == pytest.approx(0, abs=1e-7)
    assert slopes[0] > 0.5 > 0 > slopes[1]


def test_a_sample_that_counts_twice_is_like_two(rng):
    values, good = rng.normal(size=(80, 2)), rng.random(80) < 0.5
    twice = np.where(np.arange(80) < 20, 2.0, 1.0)
    repeated = np.concatenate([np.arange(80), np.arange(20)])
    one, b = fit_logistic(values, good, twice, 0.1)
    other, c = fit_logistic(values[repeated], good[repeated], np.ones(100), 0.1)
    np.testing.assert_allclose([*one, b], [*other, c], atol=1e-7)


def test_classes_that_are_apart_don_t_break_it():
    values = np.array([[-2.0], [-1], [1], [2]])
    slopes, bias = fit_logistic(values, np.array([False, False, True, True]), np.ones(4), 1e-3)
    assert np.isfinite(slopes).all()
    assert ((values @ slopes + bias > 0) == [False, False, True, True]).all()


def test_auc_counts_pairs_in_the_right_order(rng):
    scores = rng.integers(0, 6, 40).astype(float)  # with ties
    good, weights = rng.random(40) < 0.4, rng.uniform(0.2, 3, 40)
    pairs = np.sign(scores[good][:, None] - scores[~good][None]) / 2 + 0.5
    pair_weights = weights[good][:, None] * weights[~good][None]
    assert area_under_curve(scores, good) == pytest.approx(pairs.mean())
    expected = (pairs * pair_weights).sum() / pair_weights.sum()
    assert area_under_curve(scores, good, weights) == pytest.approx(expected)
    assert np.isnan(area_under_curve(scores, np.ones(40, bool)))


def test_the_interval_holds_the_estimate_and_repeats(rng):
    good = np.arange(60) < 35
    scores = rng.normal(size=60) + 1.2 * good
    low, high = bootstrap_interval(scores, good, seed=3, rounds=300)
    assert 0.5 < low < area_under_curve(scores, good) < high <= 1
    assert bootstrap_interval(scores, good, seed=3, rounds=300) == (low, high)


def test_reliability_and_its_error():
    confidence = np.array([0.1, 0.1, 0.9, 0.9, 1.0])
    good = np.array([False, True, True, True, False])
    low, high = reliability(confidence, good, np.array([1.0, 1, 1, 1, 2]), bins=2)
    assert (low.confidence, low.good, low.share) == pytest.approx((0.1, 0.5, 2 / 6))
    assert (high.confidence, high.good, high.share) == pytest.approx((3.8 / 4, 0.5, 4 / 6))
    assert calibration_error([low, high]) == pytest.approx(2 / 6 * 0.4 + 4 / 6 * 0.45)
