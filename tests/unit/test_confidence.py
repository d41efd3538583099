import json
import math

import numpy as np
import pytest

from inversefacenet.camera import Placement
from inversefacenet.confidence import ConfidenceModel, Regression, quality_block
from inversefacenet.crop import FaceCrop, face_mask
from inversefacenet.errors import InputError
from inversefacenet.evidence import DETECTION, EVIDENCE, evidence, largest_region
from inversefacenet.landmarks import Face
from inversefacenet.metrics import Quality, measure
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.verdicts import verdict

LUCK = {"bias": 0.0, "measures": {"luck": {"centre": 0, "spread": 1, "below": 1, "above": 1}}}
FOREIGN = {"format_version": 1, "network": "", "face_model": "", "detected": LUCK, "given": LUCK}


def crop_of(picture, landmarks):
    mask = face_mask(landmarks)
    return FaceCrop(picture * mask[..., None], picture, mask, Placement(1.0, (0.0, 0.0)), landmarks)


@pytest.fixture(scope="module")
def seen(default_model):
    """A rendered face, as a crop, with its rendering."""
    parameters = Parameters.neutral()
    rendering = render(default_model, parameters)
    return crop_of(rendering.image, rendering.landmarks), parameters, rendering


def face(landmarks, score=1.5, spread=0.004):
    return Face((0.0, 0.0, 240.0, 240.0), score, landmarks, spread)


def measures_of(crop, _, rendering, **changes):
    return evidence(face(crop.landmarks, **changes), crop, rendering, measure(crop, rendering))


def occluded(crop):
    """The same with a blue thing before mouth and nose."""
    picture = crop.unmasked.copy()
    picture[130:230, 60:180] = (5, 20, 90)
    return crop_of(picture, crop.landmarks)


@pytest.mark.parametrize(
    ("confidence", "word"),
    [(1.0, "good"), (0.8, "good"), (0.79, "doubtful"), (0.4, "doubtful"), (0.39, "failed"), (0.0, "failed")],
)
def test_a_confidence_in_a_word(confidence, word):
    assert verdict(confidence) == word


def test_what_nobody_knows_has_no_word_and_is_left_out():
    assert verdict(math.nan) is None
    quality = Quality(10.0, 9.0, 0.9, 0.8, math.nan, math.nan)
    block = quality_block(quality, math.nan)
    assert block == {"photometric": 10.0, "photometric_visible": 9.0, "iou": 0.9, "iou_hull": 0.8}
    assert quality_block(quality, 0.9) == block | {"confidence": 0.9, "verdict": "good"}


def test_log_odds_are_a_weighted_sum_of_bounded_standard_scores():
    centre, spread = np.array([1.0, 0.0]), np.array([0.5, 2.0])
    regression = Regression(
        ("score", "nme"), centre, spread, np.array([1.0, 0.5]), np.array([2.0, -1.0]), 0.25
    )
    values = np.array([[2.0, 3.0], [10.0, 0.0], [0.5, -2.0]])
    # Two units above, one and a half above; eighteen above count as three; one below, one below.
    expected = [2 * 2 - 1.5 + 0.25, 2 * 3 + 0.25, -1 - 0.5 + 0.25]
    np.testing.assert_allclose(regression.log_odds(values), expected)


def test_the_file_round_trips(tmp_path):
    path = tmp_path / "confidence.json"
    shipped = ConfidenceModel.for_network("")
    path.write_text(json.dumps(shipped.to_dict()))
    assert ConfidenceModel.load(path).to_dict() == shipped.to_dict()


def test_the_shipped_file_has_measures_that_exist_and_says_what_it_was_made_for():
    shipped = ConfidenceModel.for_network("")
    assert set(shipped.detected.names) <= set(EVIDENCE)
    assert set(shipped.detected.names) >= set(DETECTION)
    assert set(shipped.given.names) == set(shipped.detected.names) - set(DETECTION)
    assert len(shipped.network) == len(shipped.face_model) == 64
    assert shipped.calibrated_for(shipped.network, shipped.face_model)
    assert not shipped.calibrated_for("ab" * 32, shipped.face_model)
    assert not shipped.calibrated_for(shipped.network, "ab" * 32)
    assert not ConfidenceModel(shipped.detected, shipped.given, "", "").calibrated_for("", "")


@pytest.mark.parametrize(
    "content",
    ["no JSON", "[]", "{}", '{"format_version": 99}', json.dumps(FOREIGN)],
    ids=["text", "list", "empty", "version", "measure"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "confidence.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"training\.calibrate"):
        ConfidenceModel.load(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        ConfidenceModel.load(tmp_path / "none.json")


def test_every_measure_is_there_and_finite(seen):
    assert tuple(measures_of(*seen)) == EVIDENCE
    assert all(map(math.isfinite, measures_of(*seen).values()))


def test_an_occlusion_shows_where_it_is(seen):
    crop, parameters, rendering = seen
    before, after = measures_of(*seen), measures_of(occluded(crop), parameters, rendering)
    assert before["odd_region"] == before["hue_region"] == 0
    assert 0.1 < after["odd_region"] < 0.5
    assert 0.2 < after["hue_region"] < 0.5
    assert after["least_likeness"] < before["least_likeness"] - 0.2
    assert after["photometric"] > before["photometric"] + 1


def test_moved_landmarks_show(seen):
    crop, parameters, rendering = seen
    points = crop.landmarks.copy()
    points[30:] += np.float32(20)
    moved = measures_of(crop_of(crop.unmasked, points), parameters, rendering)
    before = measures_of(*seen)
    for name in ("nme", "inner_points"):
        assert moved[name] > before[name] + 0.5


def test_a_mesh_that_misses_the_face_is_measured_too(seen, default_model):
    crop, parameters, _ = seen
    away = render(default_model, parameters, placement=Placement(1.0, (-900.0, 0.0)), shape=(240, 240))
    measures = measures_of(crop, parameters, away)
    assert tuple(measures) == EVIDENCE
    assert all(map(math.isfinite, measures.values()))
    assert measures["likeness"] < measures_of(*seen)["likeness"]


def confidence_of(crop, _, rendering, **changes):
    quality = measure(crop, rendering)
    return ConfidenceModel.for_network("").confidence(
        face(crop.landmarks, **changes), crop, rendering, quality
    )


def test_confidence_falls_with_what_speaks_against_a_face(seen):
    crop, parameters, rendering = seen
    best = confidence_of(*seen)
    assert 0.5 < best <= 1
    assert confidence_of(*seen, score=-0.8) < best
    assert confidence_of(*seen, spread=0.05) < best
    nothing = np.random.default_rng(0).integers(0, 255, (240, 240, 3)).astype(np.uint8)
    none = crop_of(nothing, crop.landmarks)
    assert 0 <= confidence_of(none, parameters, rendering, score=-0.5, spread=0.03) < 0.4


def test_without_a_detector_the_rest_decides(seen):
    crop, parameters, rendering = seen
    given = {"score": math.nan, "spread": math.nan}
    best = confidence_of(*seen, **given)
    assert confidence_of(occluded(crop), parameters, rendering, **given) < best
    # A detector that tells no spread of its landmarks counts as none.
    assert confidence_of(*seen, spread=math.nan) == best


def test_without_landmarks_there_is_no_confidence(seen):
    crop, parameters, rendering = seen
    unknown = np.full((68, 2), np.nan, np.float32)
    blind = FaceCrop(crop.image, crop.unmasked, crop.mask, crop.placement, unknown)
    assert math.isnan(confidence_of(blind, parameters, rendering))


@pytest.mark.parametrize(
    ("rows", "size"),
    [
        (["....", "...."], 0),
        (["#...", ".#..", "..#."], 1),
        (["##.#", ".#.#", ".###"], 8),
        (["#.#", "#.#", "###"], 7),
        (["#.#.#", "#.#.#", "#####", ".....", "#####"], 11),
        ([".#.", "###", ".#."], 5),
    ],
)
def test_the_largest_region_is_connected_by_sides(rows, size):
    marked = np.array([[cell == "#" for cell in row] for row in rows])
    assert largest_region(marked) == size
    assert largest_region(marked[::-1]) == size
    assert largest_region(marked.T) == size
