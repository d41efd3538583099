import numpy as np
import pytest

from inversefacenet.parameters import EXPRESSION, ILLUMINATION, REFLECTANCE, ROTATION, SHAPE
from training.perturbation import MOST_SCALED, Perturbation

SPREADS = [(SHAPE, 0.05), (EXPRESSION, 0.1), (REFLECTANCE, 0.2), (ILLUMINATION, 0.02)]


@pytest.mark.parametrize("meaning", ["variance", "standard-deviation"])
def test_noise_has_the_spreads_of_section_7_2(rng, meaning):
    theta = rng.normal(size=(4000, 350)).astype(np.float32)
    drawn = Perturbation(meaning=meaning, copies=1).around(theta, rng)
    noise = drawn - theta
    for group, number in SPREADS:
        expected = np.sqrt(number) if meaning == "variance" else number
        assert noise[:, group].std() == pytest.approx(expected, rel=0.03)
        assert abs(noise[:, group].mean()) < 0.05 * expected
    angles = np.degrees(noise[:, ROTATION])
    assert np.abs(angles).max() <= 5.001
    assert angles.std() == pytest.approx(10 / np.sqrt(12), rel=0.03)


def test_two_vectors_for_each_estimate_around_it(rng):
    theta = rng.normal(size=(7, 350)).astype(np.float32)
    drawn = Perturbation(meaning="standard-deviation").around(theta, rng)
    assert drawn.shape == (14, 350)
    assert drawn.dtype == np.float32
    distance = np.linalg.norm(drawn[:, None, SHAPE] - theta[None, :, SHAPE], axis=2)
    assert np.array_equal(distance.argmin(axis=1), np.tile(np.arange(7), 2))
    assert not np.array_equal(drawn[:7], drawn[7:])


def test_the_same_state_draws_the_same(rng):
    theta = rng.normal(size=(3, 350)).astype(np.float32)
    first, second = (Perturbation().around(theta, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first, second)


def test_spread_follows_the_photometric_error_within_bounds(rng):
    theta = np.zeros((6000, 350), np.float32)
    errors = np.repeat([10.0, 20.0, 1000.0], 2000)
    drawn = Perturbation(by_error=True, copies=1).around(theta, rng, errors)
    spread = [part[:, SHAPE].std() for part in np.split(drawn, 3)]
    assert spread[0] == pytest.approx(0.5 * np.sqrt(0.05), rel=0.03)
    assert spread[2] == pytest.approx(MOST_SCALED * np.sqrt(0.05), rel=0.03)
    moderate = Perturbation(by_error=True, copies=1).around(theta, rng, np.repeat([15.0, 20.0, 25.0], 2000))
    spread = [part[:, SHAPE].std() for part in np.split(moderate, 3)]
    assert spread[2] / spread[0] == pytest.approx(25 / 15, rel=0.05)
    with pytest.raises(ValueError, match="photometric errors"):
        Perturbation(by_error=True).around(theta, rng)
