import numpy as np
import pytest

from inversefacenet.morphable_model import MorphableModel
from inversefacenet.rig import mirrored_name, sample_units


@pytest.fixture(scope="module")
def names() -> tuple[str, ...]:
    return MorphableModel.load_default().unit_names


@pytest.fixture(scope="module")
def drawn(names):
    weights = sample_units(np.random.default_rng(1), 4000, names)
    return {name: weights[:, i] for i, name in enumerate(names)}


def test_same_seed_gives_the_same_expressions(names):
    first, second, other = (sample_units(np.random.default_rng(seed), 50, names) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.1


def test_weights_are_non_negative_and_at_most_one(drawn):
    table = np.stack(list(drawn.values()))
    assert table.dtype == np.float32
    assert table.min() >= 0
    assert table.max() <= 1


def test_amplitude_scales_units_but_lids_close_no_further_than_shut(names):
    plain, strong = (sample_units(np.random.default_rng(3), 2000, names, a) for a in (1.0, 1.3))
    brow, lid = names.index("browInnerUp"), names.index("eyeBlinkLeft")
    np.testing.assert_allclose(strong[:, brow], 1.3 * plain[:, brow], rtol=1e-5)
    assert strong[:, lid].max() == 1.0


def test_zero_amplitude_is_the_neutral_face(names):
    assert not sample_units(np.random.default_rng(3), 20, names, 0.0).any()


def test_lips_close_at_most_as_far_as_the_jaw_is_open(drawn):
    assert (drawn["mouthClose"] > 0).any()
    assert (drawn["mouthClose"] <= drawn["jawOpen"] + 1e-6).all()


def test_eyes_look_the_same_way(drawn):
    np.testing.assert_array_equal(drawn["eyeLookInLeft"], drawn["eyeLookOutRight"])
    np.testing.assert_array_equal(drawn["eyeLookUpLeft"], drawn["eyeLookUpRight"])
    assert not (drawn["eyeLookInLeft"] * drawn["eyeLookOutLeft"]).any()


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_a_closed_eye_is_not_opened_wide_and_not_closed_twice(drawn, side):
    blink = drawn[f"eyeBlink{side}"]
    assert not drawn[f"eyeWide{side}"][blink > 0].any()
    assert (blink + drawn[f"mh:eye-{side.lower()}-closure"]).max() <= 1 + 1e-6


def test_opposite_movements_exclude_each_other(drawn):
    for first, second in (("jawLeft", "jawRight"), ("mouthSmileLeft", "mouthFrownLeft")):
        assert (drawn[first] + drawn[second]).max() <= 1 + 1e-6


def test_expressions_are_mostly_symmetric_and_sometimes_not(drawn):
    difference = np.abs(drawn["mouthSmileLeft"] - drawn["mouthSmileRight"])
    smiling = drawn["mouthSmileLeft"] > 0.3
    assert smiling.mean() > 0.2
    assert np.median(difference[smiling]) < 0.15
    assert (difference > 0.3).any()


def test_many_faces_are_nearly_neutral_many_blink_and_many_open_the_mouth(drawn):
    muscles = sum(value for name, value in drawn.items() if not name.startswith(("eyeLook", "eyeBlink")))
    assert 0.1 < (muscles < 0.3).mean() < 0.4
    assert 0.07 < (drawn["eyeBlinkLeft"] > 0.8).mean() < 0.15
    assert 0.2 < (drawn["jawOpen"] > 0.1).mean() < 0.5


def test_units_that_a_model_lacks_are_left_out_and_unknown_ones_are_drawn():
    weights = sample_units(np.random.default_rng(0), 500, ("jawOpen", "earWiggle"))
    assert weights.shape == (500, 2)
    assert (weights[:, 1] > 0).any()


def test_a_model_without_a_rig_gets_no_units():
    assert sample_units(np.random.default_rng(0), 3, ()).shape == (3, 0)


@pytest.mark.parametrize(
    ("name", "partner"),
    [
        ("mouthSmileLeft", "mouthSmileRight"),
        ("mh:eye-right-slit", "mh:eye-left-slit"),
        ("jawLeft", "jawRight"),
        ("jawOpen", "jawOpen"),
    ],
)
def test_mirrored_names(name, partner):
    assert mirrored_name(name) == partner
    assert mirrored_name(partner) == name
