import json

import numpy as np
import pytest

from inversefacenet.errors import ParameterError
from inversefacenet.parameters import (
    EXPRESSION,
    GROUPS,
    ILLUMINATION,
    PARAMETER_COUNT,
    REFLECTANCE,
    ROTATION,
    SHAPE,
    Parameters,
    check_vector,
    number_array,
)


def test_groups_follow_each_other_in_the_order_of_equation_1():
    assert list(GROUPS) == ["rotation", "shape", "expression", "reflectance", "illumination"]
    assert [g.stop - g.start for g in (ROTATION, SHAPE, EXPRESSION, REFLECTANCE, ILLUMINATION)] == [
        3,
        128,
        64,
        128,
        27,
    ]
    covered = np.concatenate([np.arange(PARAMETER_COUNT)[group] for group in GROUPS.values()])
    np.testing.assert_array_equal(covered, np.arange(350))


def test_vector_is_split_and_joined_in_order():
    vector = np.arange(350, dtype=np.float32)
    parameters = Parameters.from_vector(vector)
    assert parameters.rotation.tolist() == [0, 1, 2]
    assert (parameters.shape[0], parameters.expression[0], parameters.reflectance[0]) == (3, 131, 195)
    np.testing.assert_array_equal(parameters.vector(), vector)
    assert parameters.vector().dtype == np.float32


def test_light_is_coefficient_major():
    parameters = Parameters.from_vector(np.arange(350, dtype=np.float32))
    assert parameters.illumination[0].tolist() == [323, 324, 325]
    assert parameters.illumination[:, 0].tolist() == list(range(323, 350, 3))


def test_double_precision_is_accepted_and_narrowed():
    vector = np.linspace(-1, 1, 350)
    np.testing.assert_array_equal(Parameters.from_vector(vector).vector(), vector.astype(np.float32))


def test_parameters_keep_their_own_copy():
    vector = np.zeros(350, np.float32)
    parameters = Parameters.from_vector(vector)
    vector[:] = 7
    assert not parameters.vector().any()


def test_neutral_is_the_mean_face_in_white_light():
    neutral = Parameters.neutral()
    assert np.count_nonzero(neutral.vector()) == 3
    np.testing.assert_array_equal(neutral.illumination[0], np.float32([0.9, 0.9, 0.9]))


def test_json_round_trip_is_exact(rng):
    parameters = Parameters.from_vector(rng.normal(size=350).astype(np.float32))
    restored = Parameters.from_dict(json.loads(json.dumps(parameters.to_dict())))
    np.testing.assert_array_equal(restored.vector(), parameters.vector())


def test_groups_left_out_are_neutral():
    parameters = Parameters.from_dict({"rotation": [0.1, 0.2, 0.3]})
    expected = Parameters.neutral().vector()
    expected[:3] = [0.1, 0.2, 0.3]
    np.testing.assert_array_equal(parameters.vector(), expected)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"pose": [0, 0, 0]}, "no known name"),
        ({"rotation": [0, 0]}, "shape"),
        ({"rotation": 0}, "shape"),
        ({"rotation": [[0, 0, 0]]}, "shape"),
        ({"rotation": [0, [1, 2], 0]}, "numbers"),
        ({"rotation": ["0", "0", "0"]}, "numbers"),
        ({"rotation": [None, 0, 0]}, "numbers"),
        ({"rotation": {"yaw": 0}}, "numbers"),
        ({"rotation": [True, False, True]}, "numbers"),
        ({"rotation": [float("nan"), 0, 0]}, "finite"),
        ({"rotation": [float("inf"), 0, 0]}, "finite"),
        ({"rotation": [1e300, 0, 0]}, "finite"),
        ({"illumination": [[1] * 9] * 3}, "shape"),
    ],
)
def test_unusable_values_are_refused_with_the_reason(values, reason):
    with pytest.raises(ParameterError, match=reason):
        Parameters.from_dict(values)


def test_what_a_group_is_called_is_not_repeated():
    with pytest.raises(ParameterError) as caught:
        Parameters.from_dict({"somebody's secret": [0]})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("values", ["1", [1, "2"], [[1.0], ["x"]], [True], [None], {}, [{}], [10**400], b"1"])
def test_only_numbers_become_arrays_of_numbers(values):
    with pytest.raises(ValueError, match="number"):
        number_array(values)


def test_arrays_of_numbers(rng):
    row = rng.normal(0, 1, 3).astype(np.float32)
    np.testing.assert_array_equal(number_array([row, list(row), tuple(row)]), [row] * 3)
    assert number_array([1, 2]).dtype.kind == "i"


def test_texts_never_reach_numpy(monkeypatch):
    # Each of these would take the memory of the longest, four bytes a letter.
    monkeypatch.setattr(np, "asarray", lambda *_: pytest.fail("the texts became an array"))
    with pytest.raises(ValueError, match="number"):
        number_array(["x" * 100_000] + [""] * 1000)


@pytest.mark.parametrize(
    "vector",
    [np.zeros(349), np.zeros(351), np.zeros((1, 350)), np.full(350, np.nan), np.full(350, 1e300)],
)
def test_unusable_vectors_are_refused(vector):
    with pytest.raises(ParameterError):
        check_vector(vector)
