import numpy as np
import pytest

from inversefacenet.metrics import measure
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from training.baselines import fit_rotation, mean_face, posed_mean_face, with_best_constant_light
from training.rendered import rendered_crop


def face(rotation=(0.0, 0.0, 0.0), light=(0.9, 0.9, 0.9)):
    illumination = np.zeros((9, 3))
    illumination[0] = light
    return Parameters.from_dict({"rotation": list(rotation), "illumination": illumination.tolist()})


@pytest.mark.parametrize("light", [(0.9, 0.9, 0.9), (0.3, 0.5, 1.7), (0.05, 0.9, 2.5)])
def test_best_constant_light_is_found(synthetic_model, light):
    crop = rendered_crop(synthetic_model, face(light=light))
    found = mean_face(synthetic_model, crop)
    # The search goes in steps of a tenth.
    np.testing.assert_allclose(found.illumination[0], light, rtol=0.06)
    assert not found.illumination[1:].any()
    assert not found.rotation.any()


def test_no_other_level_is_better(synthetic_model, rng):
    crop = rendered_crop(synthetic_model, face((0.3, 0.1, 0.0), (0.4, 0.8, 1.1)))
    found = mean_face(synthetic_model, crop)
    error = measure(crop, render(synthetic_model, found)).photometric_visible
    for factor in (0.85, 1.18):
        for channel in range(3):
            light = found.illumination.copy()
            light[0, channel] *= factor
            other = Parameters(found.rotation, found.shape, found.expression, found.reflectance, light)
            assert measure(crop, render(synthetic_model, other)).photometric_visible > error


def test_light_alone_is_changed(synthetic_model, rng):
    crop = rendered_crop(synthetic_model, face(light=(0.5, 0.5, 0.5)))
    given = Parameters.from_vector(0.3 * rng.normal(size=350).astype(np.float32))
    found = with_best_constant_light(synthetic_model, crop, given)
    np.testing.assert_array_equal(found.vector()[:323], given.vector()[:323])


@pytest.mark.parametrize("rotation", [(0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (-0.3, 0.25, 0.1), (0.2, -0.3, -0.2)])
def test_pose_of_the_mean_face_is_found(synthetic_model, rotation):
    landmarks = render(synthetic_model, face(rotation)).landmarks
    np.testing.assert_allclose(fit_rotation(synthetic_model, landmarks), rotation, atol=0.02)


def test_posed_mean_face_explains_a_turned_mean_face(synthetic_model):
    crop = rendered_crop(synthetic_model, face((0.4, 0.1, 0.05), (0.6, 0.5, 0.4)))
    plain = measure(crop, render(synthetic_model, mean_face(synthetic_model, crop)))
    posed = measure(crop, render(synthetic_model, posed_mean_face(synthetic_model, crop)))
    assert posed.landmark < 0.1 * plain.landmark
    assert posed.photometric < 0.6 * plain.photometric


def test_a_black_crop_gets_the_darkest_light(synthetic_model):
    found = mean_face(synthetic_model, rendered_crop(synthetic_model, face(light=(0.0, 0.0, 0.0))))
    assert found.illumination[0].max() < 0.03
