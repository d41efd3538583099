import numpy as np
import pytest

from inversefacenet.basis_codec import FINE_COLUMNS, decode_basis, encode_basis


@pytest.fixture
def basis(rng):
    return np.linalg.qr(rng.normal(size=(900, 64)))[0].astype(np.float32)


def test_first_columns_are_kept_in_16_bits_and_the_rest_in_8(basis):
    arrays = encode_basis("shape_basis", basis)
    assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == {
        "shape_basis_fine": (np.int16, (FINE_COLUMNS, 900)),
        "shape_basis_fine_scale": (np.float32, (FINE_COLUMNS,)),
        "shape_basis_coarse": (np.int8, (64 - FINE_COLUMNS, 900)),
        "shape_basis_coarse_scale": (np.float32, (64 - FINE_COLUMNS,)),
    }


def test_error_is_that_of_rounding(basis):
    restored = decode_basis("b", encode_basis("b", basis))
    peak = np.abs(basis).max(axis=0)
    limit = np.where(np.arange(64) < FINE_COLUMNS, 2**15 - 1, 2**7 - 1)
    # Half a step, and a little for the new unit length.
    assert (np.abs(restored - basis).max(axis=0) <= 0.6 * peak / limit + 1e-6).all()
    rms = np.sqrt(((restored - basis) ** 2).mean(axis=0))[FINE_COLUMNS:]
    np.testing.assert_allclose(rms, (peak / 440)[FINE_COLUMNS:], rtol=0.2)


def test_columns_have_unit_length_again(basis):
    restored = decode_basis("b", encode_basis("b", basis))
    np.testing.assert_allclose(np.linalg.norm(restored, axis=0), 1, atol=1e-5)


def test_scale_of_each_column_is_its_own(basis):
    small = basis * np.geomspace(1, 1e-4, 64).astype(np.float32)
    restored = decode_basis("b", encode_basis("b", small))
    np.testing.assert_allclose(np.abs((restored * basis).sum(axis=0)), 1, atol=1e-3)


def test_zero_columns_stay_zero(basis):
    basis[:, 60:] = 0
    restored = decode_basis("b", encode_basis("b", basis))
    assert not restored[:, 60:].any()
    assert np.isfinite(restored).all()


def test_a_basis_without_coarse_columns_is_kept(basis):
    few = basis[:, :5]
    np.testing.assert_allclose(decode_basis("b", encode_basis("b", few)), few, atol=1e-5)
