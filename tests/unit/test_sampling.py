import numpy as np
import pytest
from scipy import stats

from inversefacenet.illumination import irradiance, sh_basis
from inversefacenet.parameters import EXPRESSION, ILLUMINATION, REFLECTANCE, ROTATION, SHAPE
from inversefacenet.sampling import (
    _COSINE_LOBE,
    DISTRIBUTIONS,
    HIGHER_VARIATION,
    NATURAL,
    PAPER,
    Distribution,
)

COUNT = 4000


@pytest.fixture(scope="module")
def drawn(synthetic_model):
    return {
        name: distribution.sample(np.random.default_rng(1), COUNT, synthetic_model)
        for name, distribution in DISTRIBUTIONS.items()
    }


def is_uniform(values, low, high):
    return stats.kstest(values, "uniform", args=(low, high - low)).pvalue > 1e-4


def lights(theta):
    return theta[:, ILLUMINATION].reshape(-1, 9, 3)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_same_state_gives_the_same_faces(name, synthetic_model):
    first, again, other = (
        DISTRIBUTIONS[name].sample(np.random.default_rng(seed), 5, synthetic_model) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=1).all()
    assert first.dtype == np.float32
    assert np.isfinite(first).all()


def test_papers_angles_are_uniform_in_section_5s_ranges(drawn):
    degrees = np.degrees(drawn["paper"][:, ROTATION])
    for axis, limit in enumerate((40, 40, 15)):
        assert is_uniform(degrees[:, axis], -limit, limit)


def test_papers_shape_and_reflectance_are_standard_normal(drawn):
    for group in (SHAPE, REFLECTANCE):
        values = drawn["paper"][:, group]
        assert stats.kstest(values[:, 0], "norm").pvalue > 1e-4
        assert values.std() == pytest.approx(1, abs=0.01)
        assert np.abs(values).max() > 3.5


def test_papers_light_is_white_and_uniform(drawn):
    light = lights(drawn["paper"])
    np.testing.assert_array_equal(light[..., 0], light[..., 1])
    np.testing.assert_array_equal(light[..., 0], light[..., 2])
    assert is_uniform(light[:, 0, 0], 0.6, 1.2)
    for k in range(1, 9):
        assert is_uniform(light[:, k, 0], -0.2, 0.2)


def test_papers_own_expressions_are_a_box_with_a_biased_mouth(drawn):
    expression = drawn["paper-box"][:, EXPRESSION]
    assert is_uniform(expression[:, 0], -12 + 4.8, 12 + 4.8)
    assert is_uniform(expression[:, 1], -12, 12)
    assert is_uniform(expression[:, 63], -12, 12)


def test_rig_expressions_are_non_negative_units(drawn, synthetic_model):
    units = np.linalg.lstsq(
        synthetic_model.unit_coefficients.T.astype(float),
        drawn["paper"][:, EXPRESSION].T.astype(float),
        rcond=None,
    )[0]
    rebuilt = synthetic_model.unit_coefficients.T @ units
    np.testing.assert_allclose(rebuilt, drawn["paper"][:, EXPRESSION].T, atol=1e-4)
    assert units.min() > -1e-4
    assert units.max() < 1.01
    assert (units > 0.05).any(axis=1).all()


def test_groups_are_independent(drawn):
    theta = drawn["paper"][:, [0, 1, 2, 3, 131, 195, 323, 326]]
    correlation = np.corrcoef(theta.T) - np.eye(8)
    assert np.abs(correlation).max() < 0.08


def test_truncation_draws_again_and_does_not_pile_up(drawn):
    for group in (SHAPE, REFLECTANCE):
        values = drawn["natural"][:, group]
        assert np.abs(values).max() < NATURAL.truncation
        assert stats.kstest(values[:, 0], "truncnorm", args=(-3, 3)).pvalue > 1e-4


def test_frontal_share_draws_angles_around_frontal(synthetic_model):
    theta = Distribution(frontal_share=1.0).sample(np.random.default_rng(2), COUNT, synthetic_model)
    degrees = np.degrees(theta[:, ROTATION])
    assert degrees[:, 0].std() == pytest.approx(0.4 * 40, rel=0.05)
    assert degrees[:, 2].std() == pytest.approx(0.4 * 15, rel=0.05)
    assert np.abs(degrees[:, 0]).max() <= 40.001
    half = Distribution(frontal_share=0.5).sample(np.random.default_rng(2), COUNT, synthetic_model)
    wide_share = (np.abs(np.degrees(half[:, 0])) > 30).mean()
    expected = 0.5 * 0.25 + 0.5 * 2 * stats.norm.sf(30 / 16)
    assert wide_share == pytest.approx(expected, abs=0.02)


def test_higher_variation_is_what_the_definitions_say(drawn):
    theta = drawn["higher-variation"]
    degrees = np.degrees(theta[:, ROTATION])
    assert is_uniform(degrees[:, 0], -50, 50)
    assert is_uniform(degrees[:, 1], -50, 50)
    assert theta[:, SHAPE].std() == pytest.approx(1.5, abs=0.02)
    assert theta[:, REFLECTANCE].std() == pytest.approx(1.5, abs=0.02)
    assert HIGHER_VARIATION.expression_amplitude == 1.3
    light = lights(theta)
    gains = light[:, 0] / light[:, 0].prod(axis=1, keepdims=True) ** (1 / 3)
    # A channel's log gain less the mean of the three has 2/3 of the variance.
    assert np.log(gains).std() == pytest.approx(0.2 * np.sqrt(2 / 3), rel=0.05)
    ratio = light[:, 3] / light[:, 0]
    np.testing.assert_allclose(ratio[:, 0], ratio[:, 1], rtol=1e-4)


def test_cosine_lobe_turns_distant_light_into_irradiance():
    # Project max(0, cos) on the zonal functions numerically.
    z, weight = np.polynomial.legendre.leggauss(400)
    normals = np.column_stack([np.sqrt(1 - z**2), np.zeros_like(z), z])
    clamped = np.maximum(z, 0)
    zonal = sh_basis(normals)[:, [0, 2, 6]]
    projected = (zonal * (clamped * weight / 2)[:, None]).sum(axis=0) / np.sqrt([1, 3, 5])
    np.testing.assert_allclose(projected / projected[0], _COSINE_LOBE[[0, 2, 6]], atol=1e-4)
    np.testing.assert_array_equal(_COSINE_LOBE, _COSINE_LOBE[[0, 2, 2, 2, 6, 6, 6, 6, 6]])


def test_lamps_shine_from_the_front_and_keep_the_level(synthetic_model):
    theta = Distribution(lamp_share=1.0).sample(np.random.default_rng(2), COUNT, synthetic_model)
    light = lights(theta)
    assert is_uniform(light[:, 0].mean(axis=1), 0.6, 1.2)
    front, back = (irradiance(np.array([[0.0, 0, z]]), light[0].astype(float)) for z in (1, -1))
    assert front.min() > back.max()
    assert (light[:, 2].mean(axis=1) > 0).mean() > 0.99
    # Physically possible light is hardly negative anywhere: what is comes from the expansion alone.
    sphere = np.random.default_rng(3).normal(size=(200, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    values = np.einsum("sk,nkc->nsc", sh_basis(sphere), light)
    assert (values.min(axis=(1, 2)) > -0.12 * values.max(axis=(1, 2))).all()


def test_lamp_share_is_kept(synthetic_model):
    theta = Distribution(lamp_share=0.3, light=0.0).sample(np.random.default_rng(2), COUNT, synthetic_model)
    directed = np.abs(lights(theta)[:, 1:]).max(axis=(1, 2)) > 0
    assert directed.mean() == pytest.approx(0.3, abs=0.03)


def test_no_faces_can_be_drawn(synthetic_model):
    assert PAPER.sample(np.random.default_rng(0), 0, synthetic_model).shape == (0, 350)
