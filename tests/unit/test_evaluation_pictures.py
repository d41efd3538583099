import numpy as np
import pytest

from inversefacenet.errors import InputError
from inversefacenet.parameters import Parameters
from training.evaluation.heat_map import GROUND, caption, colour_bar, colours, heat_map, per_pixel_error
from training.evaluation.layout import GAP, labelled_grid
from training.evaluation.pictures import geometric_map, photometric_map, reconstruction_of, strip
from training.rendered import rendered_crop


def test_colours_go_from_dark_to_bright():
    shown = colours(np.array([0.0, 4.0, 8.0, 100.0]), 8.0)
    np.testing.assert_array_equal(shown[0], [0, 0, 4])
    np.testing.assert_array_equal(shown[2], [252, 255, 164])
    np.testing.assert_array_equal(shown[3], shown[2])
    ramp = colours(np.linspace(0, 1, 50), 1.0).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(ramp) > 0).all()


def test_heat_maps_leave_what_is_outside():
    mask = np.array([[True, False]])
    picture = heat_map(np.array([[8.0, 8.0]]), mask, 8.0)
    np.testing.assert_array_equal(picture[0], [[252, 255, 164], GROUND])


def test_error_of_a_pixel_is_its_rmse():
    photo = np.array([[[10, 10, 10]]], np.uint8)
    picture = np.array([[[13, 14, 10]]], np.uint8)
    assert per_pixel_error(photo, picture)[0, 0] == pytest.approx(np.sqrt(25 / 3))


def test_bars_have_their_colours_in_order():
    bar = colour_bar(240, 80.0, "levels")
    assert bar.shape[0] == 240
    middle = bar[16:224, 10].astype(int).sum(axis=1)
    assert middle[0] > 500 > 60 > middle[-1]
    assert (bar[:, 40:].max(axis=2) > 200).any()  # something is written beside it


def test_captions_stand_above():
    picture = np.full((20, 100, 3), 7, np.uint8)
    whole = caption(picture, "a face", size=12)
    assert whole.shape == (20 + 21, 100, 3)
    np.testing.assert_array_equal(whole[21:], picture)
    assert whole[:21].max() > 200


def test_grids_hold_pictures_in_their_places():
    red, blue = (np.full((10, 20, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    grid = labelled_grid([[red, blue], [blue, red]])
    assert grid.shape == (20 + GAP, 40 + GAP, 3)
    np.testing.assert_array_equal(grid[5, 30], [0, 0, 255])
    np.testing.assert_array_equal(grid[-5, -5], [255, 0, 0])
    labelled = labelled_grid([[red, blue]], ["first", "second"], ["row"])
    np.testing.assert_array_equal(labelled[-10:, -20:], blue)
    assert labelled[:-10].min() < 60
    with pytest.raises(InputError, match="no picture"):
        labelled_grid([])


def test_maps_show_where_the_error_lies(synthetic_model):
    truth = Parameters.from_dict({"rotation": [0.1, 0.0, 0.0]})
    crop = rendered_crop(synthetic_model, truth)
    exact = reconstruction_of(synthetic_model, crop, truth)
    assert exact.quality.photometric < 0.1
    inside = photometric_map(exact)[crop.mask]
    assert inside.max() < 30
    shape = np.zeros(128)
    shape[0] = 3.0
    wider = reconstruction_of(
        synthetic_model, crop, Parameters.from_dict({"rotation": [0.1, 0.0, 0.0], "shape": shape.tolist()})
    )
    assert photometric_map(wider)[crop.mask].mean() > inside.mean() + 5
    seen = wider.rendering.model_mask
    assert geometric_map(wider, truth)[seen].mean() > geometric_map(exact, truth)[seen].mean() + 20
    assert strip(wider).shape[0] == 240
