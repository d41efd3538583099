"""Pictures of parameters alone: background, transparency, geometry."""

import numpy as np
import pytest

from inversefacenet.colour import to_linear, to_uint8
from inversefacenet.errors import LandmarkError
from inversefacenet.parameters import Parameters
from inversefacenet.visualisation import face_picture


@pytest.fixture(scope="module")
def parameters():
    vector = Parameters.neutral().vector()
    vector[:3] = (0.3, -0.1, 0.2)
    vector[326:329] = 0.25
    return Parameters.from_vector(vector)


def test_black_is_the_usual_background(default_model, parameters):
    np.testing.assert_array_equal(
        face_picture(default_model, parameters, 64),
        face_picture(default_model, parameters, 64, background=(0, 0, 0)),
    )


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (10, 200, 90)])
def test_a_cut_out_face_laid_over_a_colour_is_the_face_on_that_colour(default_model, parameters, colour):
    clear = face_picture(default_model, parameters, 96, background=None)
    painted = face_picture(default_model, parameters, 96, background=colour)
    assert clear.shape == (96, 96, 4)
    alpha = clear[..., 3:] / np.float32(255)
    ground = to_linear(np.array(colour, np.uint8))
    blended = to_uint8((alpha * to_linear(clear[..., :3]) + (1 - alpha) * ground).astype(np.float32))
    # Bytes of colour and coverage are rounded before they meet.
    assert np.abs(blended.astype(int) - painted).max() <= 4
    assert 0.2 < (clear[..., 3] == 255).mean() < 0.95
    assert ((clear[..., 3] > 0) & (clear[..., 3] < 255)).any()
    assert (clear[clear[..., 3] == 0] == 0).all()


def test_geometry_has_the_same_outline_and_no_colour(default_model, parameters):
    face = face_picture(default_model, parameters, 96, background=None)
    clay = face_picture(default_model, parameters, 96, geometry=True, background=None)
    np.testing.assert_array_equal(face[..., 3], clay[..., 3])
    seen = clay[..., 3] > 0
    spread = np.ptp(clay[seen][:, :3].astype(int), axis=1)
    assert spread.max() <= 1
    assert clay[seen][:, 0].std() > 10


def test_geometry_is_in_fixed_light(default_model, parameters):
    dark = Parameters.from_dict({**parameters.to_dict(), "illumination": np.zeros((9, 3)).tolist()})
    np.testing.assert_array_equal(
        face_picture(default_model, parameters, 48, geometry=True),
        face_picture(default_model, dark, 48, geometry=True),
    )


@pytest.mark.parametrize("group", ["shape", "expression", "illumination"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_that_overflow_are_an_error(default_model, group):
    values = Parameters.neutral().to_dict()
    values[group] = np.full(np.shape(values[group]), 3e38).tolist()
    with pytest.raises(LandmarkError):
        face_picture(default_model, Parameters.from_dict(values), 32)
