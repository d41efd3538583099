import numpy as np
import pytest

from inversefacenet.errors import InputError
from inversefacenet.parameters import Parameters
from training.evaluation.groups import (
    FIT_ANGLE,
    PHOTO_ANGLE,
    SkinTone,
    group_table,
    read_tags,
    skin_groups,
    tag_groups,
    typology_angle,
)
from training.evaluation.photos import Sample
from training.evaluation.result import FIT, Evaluation
from training.rendered import rendered_crop


def test_typology_angle_has_the_textbook_value():
    # scikit-image's rgb2lab gives L* = 65.779, a* = 9.659, b* = 15.271 for it: atan(15.779 / 15.271).
    assert typology_angle(np.array([0.4969, 0.3185, 0.2346])) == pytest.approx(45.94, abs=0.05)
    assert np.isnan(typology_angle(np.array([0.2, 0.2, 0.2])))
    assert typology_angle(np.array([0.02, 0.01, 0.006])) < -30


def face(reflectance=0.0, light=0.9, tint=(1.0, 1.0, 1.0)):
    vector = Parameters.neutral().vector()
    vector[323:326] = light * np.array(tint)
    vector[195] = reflectance
    return Parameters.from_vector(vector)


def test_skin_is_darker_where_less_light_falls_on_it(synthetic_model):
    tone = SkinTone(synthetic_model)
    bright, dim = (Sample("a", 0, rendered_crop(synthetic_model, face(light=s))) for s in (1.0, 0.3))
    fit = {FIT: face()}
    assert tone(bright, {})[PHOTO_ANGLE] > tone(dim, {})[PHOTO_ANGLE] + 20
    # The fit's reflectance knows nothing of light.
    assert tone(bright, fit)[FIT_ANGLE] == tone(dim, fit)[FIT_ANGLE]
    assert FIT_ANGLE not in tone(bright, {})


def test_grey_photos_have_no_skin_tone(synthetic_model):
    crop = rendered_crop(synthetic_model, face())
    crop.unmasked[:] = crop.unmasked.mean(axis=2, keepdims=True)
    assert np.isnan(SkinTone(synthetic_model)(Sample("a", 0, crop), {})[PHOTO_ANGLE])


def evaluation(angles, errors, names):
    rows = {"network": [{"photometric": error} for error in errors]}
    observed = {"skin": [{PHOTO_ANGLE: angle} for angle in angles]}
    return Evaluation(rows, [], names, observed=observed)


def test_tones_are_grouped_from_light_to_dark():
    result = evaluation([-60, 60, 30, 29, np.nan], [1, 2, 3, 4, 5], list("abcde"))
    groups = skin_groups(result, "skin", PHOTO_ANGLE)
    assert groups == {"very light": [1], "intermediate": [2, 3], "dark": [0]}
    table = group_table(result, "network", groups, ["photometric"], "skin tone").splitlines()
    assert table[0] == "| network, by skin tone | faces | persons | photometric |"
    assert table[3] == "| intermediate | 2 | 2 | 3.50 [3.00, 4.00] |"


def test_fits_are_grouped_by_thirds():
    rows = {"network": [{"photometric": 1.0}] * 6}
    observed = {"skin": [{FIT_ANGLE: angle} for angle in (-10, -50, -20, -40, -30)] + [{}]}
    result = Evaluation(rows, [], list("abcdef"), observed=observed)
    assert skin_groups(result, "skin", FIT_ANGLE) == {
        "lightest third": [0, 2],
        "middle third": [4, 3],
        "darkest third": [1],
    }


def test_labels_come_from_a_file(tmp_path):
    file = tmp_path / "tags.csv"
    file.write_text("file,age,sex\na.jpg,child,\nb/c.jpg,old,female\n")
    tags = read_tags(file)
    assert tags == {"age": {"a.jpg": "child", "b/c.jpg": "old"}, "sex": {"b/c.jpg": "female"}}
    names = ["x/a.jpg", "b/c.jpg", "x/a.jpg", "other.jpg"]
    assert tag_groups(names, tags["age"]) == {"child": [0, 2], "old": [1]}


@pytest.mark.parametrize("content", [b"photo,age\na.jpg,old\n", b"file\na.jpg\n", b"", b"\xff\xfe\x00"])
def test_files_without_labels_are_an_error(tmp_path, content):
    file = tmp_path / "tags.csv"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"tags\.csv"):
        read_tags(file)
