import numpy as np
import pytest

from inversefacenet.colour import level_tables, srgb_decode, srgb_encode, to_linear, to_uint8

# The Y that skimage 0.26's rgb2xyz gives greys of these levels.
SKIMAGE_LINEAR = {
    0: 0.0,
    1: 0.00030352698,
    10: 0.0030352698,
    11: 0.0033465358,
    32: 0.014443844,
    64: 0.051269458,
    128: 0.2158605,
    188: 0.50288646,
    254: 0.9911021,
    255: 1.0,
}


def test_decoding_agrees_with_skimage():
    levels = np.array(list(SKIMAGE_LINEAR), np.uint8)
    np.testing.assert_allclose(to_linear(levels), list(SKIMAGE_LINEAR.values()), rtol=2e-6)


def test_encoding_agrees_with_skimage():
    linear = np.array(list(SKIMAGE_LINEAR.values()))
    np.testing.assert_allclose(srgb_encode(linear) * 255, list(SKIMAGE_LINEAR), atol=1e-4)


def test_all_levels_survive_the_round_trip():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(to_linear(levels)), levels)


def test_encoding_and_decoding_are_inverse_everywhere():
    linear = np.linspace(0, 1, 10_001)
    np.testing.assert_allclose(srgb_decode(srgb_encode(linear)), linear, atol=2e-8)


def test_what_is_out_of_range_is_clipped():
    np.testing.assert_array_equal(to_uint8(np.array([-3.0, -1e-9, 1.0001, 50.0])), [0, 0, 255, 255])
    np.testing.assert_array_equal(srgb_decode(np.array([-0.2, 1.2])), [0, 1])


def test_curve_is_continuous_where_its_parts_meet():
    around = srgb_encode(np.array([0.0031308 - 1e-9, 0.0031308 + 1e-9]))
    assert abs(around[1] - around[0]) < 1e-7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept(dtype):
    values = np.array([0.25], dtype)
    assert srgb_encode(values).dtype == dtype
    assert srgb_decode(values).dtype == dtype


def test_rounding_is_to_the_nearest_level():
    # Between the linear values of levels 100 and 101 the boundary lies at encoded 100.5.
    boundary = srgb_decode(np.array([100.5 / 255]))
    assert to_uint8(boundary * 0.999)[0] == 100
    assert to_uint8(boundary * 1.001)[0] == 101


def formula(linear):
    """The level by the curve itself, in float64."""
    return np.floor(srgb_encode(linear.astype(float)) * 255 + 0.5).astype(int)


def test_the_table_gives_the_formulas_level_at_every_step():
    # All float32 from 300 below to 300 above where each level begins: the table's only places to be wrong.
    _, steps = level_tables()
    near = steps[:255].view(np.int32)[:, None] + np.arange(-300, 301, dtype=np.int32)
    values = near.view(np.float32)
    np.testing.assert_array_equal(to_uint8(values), formula(values))
    np.testing.assert_array_equal(to_uint8(steps[:255]), np.arange(1, 256))
    np.testing.assert_array_equal(to_uint8(np.nextafter(steps[:255], np.float32(0))), np.arange(255))


def test_the_table_gives_the_formulas_level_between(rng):
    values = np.concatenate([np.linspace(0, 1, 200_001), rng.random(100_000) ** 4]).astype(np.float32)
    np.testing.assert_array_equal(to_uint8(values), formula(values))


def test_a_bin_of_the_table_holds_one_step_at_most():
    levels, _ = level_tables()
    assert np.diff(levels.astype(int)).max() == 1
    assert levels[0] == 0
    assert levels[-1] == 255


def test_any_shape_is_encoded(rng):
    for shape in ((), (0,), (3, 0, 2), (4, 5, 3)):
        values = rng.random(shape)
        assert to_uint8(values).shape == shape
    picture = rng.random((6, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(to_uint8(picture[::2, ::-1]), to_uint8(picture)[::2, ::-1])
    np.testing.assert_array_equal(to_uint8(np.array([np.nan, np.inf, -np.inf])), [0, 255, 0])
