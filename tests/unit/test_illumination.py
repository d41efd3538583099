import numpy as np
import pytest
from scipy.special import sph_harm_y

from inversefacenet.illumination import BASIS_COUNT, irradiance, sh_basis

# Degree and order of each function, in the order that `shared` conventions give: y z x, xy yz z2 xz x2-y2.
DEGREES = [(0, 0), (1, -1), (1, 0), (1, 1), (2, -2), (2, -1), (2, 0), (2, 1), (2, 2)]


def real_harmonic(degree, order, normals):
    """Orthonormal real spherical harmonics without the Condon-Shortley phase."""
    polar = np.arccos(np.clip(normals[:, 2], -1, 1))
    azimuth = np.arctan2(normals[:, 1], normals[:, 0])
    value = sph_harm_y(degree, abs(order), polar, azimuth) * (-1) ** order
    if order == 0:
        return value.real
    return np.sqrt(2) * (value.imag if order < 0 else value.real)


@pytest.fixture
def sphere(rng):
    normals = rng.normal(size=(400, 3))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


@pytest.mark.parametrize("index", range(BASIS_COUNT))
def test_functions_are_real_harmonics_over_the_constant_one(index, sphere):
    expected = real_harmonic(*DEGREES[index], sphere) / real_harmonic(0, 0, sphere)
    np.testing.assert_allclose(sh_basis(sphere)[:, index], expected, atol=1e-12)


def test_functions_are_orthogonal_with_mean_square_one():
    # Gauss-Legendre in z and equal steps in azimuth integrate degree 4 exactly.
    z, weight = np.polynomial.legendre.leggauss(5)
    azimuth = np.arange(8) * np.pi / 4
    ring = np.sqrt(1 - z**2)[:, None]
    normals = np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), np.repeat(z[:, None], 8, 1)], -1)
    values = sh_basis(normals).reshape(-1, 9)
    gram = (values * np.repeat(weight / 16, 8)[:, None]).T @ values
    np.testing.assert_allclose(gram, np.eye(9), atol=1e-12)


def test_irradiance_is_equation_4(sphere, rng):
    light = rng.uniform(-0.1, 0.1, (9, 3))
    light[0] = 1.5
    expected = sum(
        light[k] * (real_harmonic(*DEGREES[k], sphere) / real_harmonic(0, 0, sphere))[:, None]
        for k in range(9)
    )
    assert expected.min() > 0
    np.testing.assert_allclose(irradiance(sphere, light), expected, atol=1e-12)


def test_negative_irradiance_is_zero(sphere):
    light = np.zeros((9, 3))
    light[1] = 1.0
    shaded = irradiance(sphere, light)
    assert (shaded[sphere[:, 1] < 0] == 0).all()
    np.testing.assert_allclose(shaded[sphere[:, 1] > 0, 0], np.sqrt(3) * sphere[sphere[:, 1] > 0, 1])


def test_channels_have_their_own_light_and_gains_pass_through(sphere, rng):
    light = rng.normal(size=(9, 3))
    gains = np.array([0.5, 1.0, 2.0])
    np.testing.assert_allclose(irradiance(sphere, light * gains), irradiance(sphere, light) * gains)


def test_batches_and_precision_are_kept(sphere):
    normals = sphere[:24].reshape(2, 3, 4, 3).astype(np.float32)
    values = sh_basis(normals)
    assert values.shape == (2, 3, 4, 9)
    assert values.dtype == np.float32
