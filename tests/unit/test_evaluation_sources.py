import numpy as np
import pytest

from inversefacenet.metrics import landmark_distance
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from training.evaluation.intervals import Bootstrap
from training.evaluation.photos import Sample
from training.evaluation.result import FIT
from training.evaluation.sources import (
    SOURCES,
    ErrorSources,
    key,
    least_squares_placement,
    mixture,
    shapley_values,
    source_table,
)
from training.rendered import rendered_crop


def face(yaw=0.0, shape=0.0, reflectance=0.0, light=0.9):
    vector = Parameters.neutral().vector()
    vector[0], vector[3], vector[195], vector[323:326] = yaw, shape, reflectance, light
    return Parameters.from_vector(vector)


TRUTH = face(yaw=0.2, light=0.6)
WRONG = face(yaw=0.0, light=1.2)


@pytest.fixture(scope="module")
def row(synthetic_model):
    sample = Sample("a", 0, rendered_crop(synthetic_model, TRUTH))
    sources = ErrorSources(synthetic_model, "network", lambda crop: WRONG)
    return sources(sample, {"network": WRONG, FIT: TRUTH})


def test_mixtures_take_groups_from_the_fit():
    mixed = mixture(face(), face(0.1, 0.2, 0.3, 0.4), ("pose", "reflectance"))
    assert (mixed.rotation[0], mixed.shape[0]) == (pytest.approx(0.1), 0)
    assert (mixed.reflectance[0], mixed.illumination[0, 0]) == (pytest.approx(0.3), pytest.approx(0.9))
    assert key(("light", "pose")) == "pose+light"


def test_the_fit_of_everything_explains_the_photo(row):
    assert len([name for name in row if set(name.split("+")) <= {*SOURCES, ""}]) == 16
    assert row[key(tuple(SOURCES))] == pytest.approx(0, abs=0.1)
    assert row[""] > row["pose"] > row["pose+light"]
    assert row["geometry"] == row[""]  # both have the same
    assert row["visible"] <= row[""]


def test_shapley_values_add_up_to_the_gap(row):
    errors = {name: np.array([value]) for name, value in row.items()}
    shares = shapley_values(errors)
    gap = row[""] - row[key(tuple(SOURCES))]
    assert sum(share[0] for share in shares.values()) == pytest.approx(gap)
    assert shares["geometry"][0] == pytest.approx(0, abs=1e-9)
    assert shares["light"][0] > shares["pose"][0] > 0.5


def test_shapley_values_of_independent_errors_are_those_errors():
    own = {"pose": 1.0, "geometry": 2.0, "reflectance": 3.0, "light": 4.0}
    errors = {}
    for bits in range(16):
        taken = [name for number, name in enumerate(SOURCES) if bits >> number & 1]
        errors[key(taken)] = np.array([10.0 - sum(own[name] for name in taken)])
    assert {name: value[0] for name, value in shapley_values(errors).items()} == pytest.approx(own)


def test_placement_by_least_squares_undoes_a_shift(synthetic_model):
    rendering = render(synthetic_model, face())
    moved = (1.1 * rendering.landmarks + [5.0, -3.0]).astype(np.float32)
    placement = least_squares_placement(rendering, moved)
    again = render(synthetic_model, face(), placement=placement)
    assert landmark_distance(again.landmarks, moved) < 1e-3


def test_a_crop_cut_where_the_fit_lies_is_the_crop_itself(synthetic_model, row):
    # The fit is exact here, so that its landmarks are the crop's: the network sees the same again.
    assert row["crop"] == pytest.approx(row[""], rel=0.02)


def test_fitting_a_group_alone_lowers_the_error(synthetic_model, row):
    sample = Sample("a", 0, rendered_crop(synthetic_model, TRUTH))
    sources = ErrorSources(synthetic_model, "network", lambda crop: WRONG, refit=True)
    figures = sources(sample, {"network": WRONG, FIT: TRUTH})
    assert set(figures) - set(row) == {
        "refitted pose", "refitted pose and geometry", "refitted light", "refitted reflectance and light",
    }  # fmt: skip
    assert figures["refitted light"] < 0.7 * figures[""]
    assert figures["refitted pose"] < figures[""]
    table = source_table([figures], "network", Bootstrap(["a"]))
    assert "| network, light fitted to the photo |" in table


def test_faces_without_a_fit_give_no_figures(synthetic_model):
    sample = Sample("a", 0, rendered_crop(synthetic_model, TRUTH))
    assert ErrorSources(synthetic_model, "network", lambda crop: WRONG)(sample, {"network": WRONG}) == {}


def test_table_names_what_is_replaced(row):
    lines = source_table([row, {}, row], "network", Bootstrap(["a", "b", "c"])).splitlines()
    labels = [line.split("|")[1].strip() for line in lines[2:]]
    assert labels[:5] == ["network", *(f"{group} of the fit" for group in SOURCES)]
    assert labels[7] == "all of the fit"
    assert f"{row['pose']:.2f} [" in lines[3]
    shares = [float(lines[number].split("|")[5].split("[")[0]) for number in range(3, 7)]
    whole = float(lines[9].split("|")[5].split("[")[0])
    assert sum(shares) == pytest.approx(whole, abs=0.03)
