from dataclasses import replace

import numpy as np
import pytest

from inversefacenet.errors import FaceModelError
from inversefacenet.metrics import intersection_over_union, photometric_error
from inversefacenet.mirroring import FaceMirror, MirrorAveraging, mirror_partners
from inversefacenet.parameters import GROUPS, Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import DISTRIBUTIONS


@pytest.fixture(scope="module")
def mirror(default_model):
    return FaceMirror.of(default_model)


def faces(default_model, count=4):
    return DISTRIBUTIONS["natural"].sample(np.random.default_rng(5), count, default_model)


def test_a_mirrored_face_is_the_mirrored_picture(default_model, mirror):
    for theta in faces(default_model):
        picture = render(default_model, Parameters.from_vector(theta))
        mirrored = render(default_model, Parameters.from_vector(mirror.apply(theta)))
        flipped = picture.image[:, ::-1]
        both = picture.mask[:, ::-1] & mirrored.mask
        assert intersection_over_union(picture.mask[:, ::-1], mirrored.mask) > 0.99
        error = photometric_error(flipped, mirrored.image, both)
        assert error < 3.5
        unmirrored = render(default_model, Parameters.from_vector(theta))
        assert photometric_error(flipped, unmirrored.image, both) > 3 * error


def test_twice_mirrored_is_the_face_itself(default_model, mirror):
    theta = faces(default_model)
    again = mirror.apply(mirror.apply(theta))
    for first, second in zip(theta, again, strict=True):
        a, b = Parameters.from_vector(first), Parameters.from_vector(second)
        apart = default_model.geometry(a.shape, a.expression) - default_model.geometry(b.shape, b.expression)
        assert np.sqrt((apart**2).sum(axis=1).mean()) < 0.5  # mm; what leaves the bases is lost
        np.testing.assert_allclose(a.rotation, b.rotation, atol=1e-6)
        np.testing.assert_allclose(a.illumination, b.illumination, atol=1e-6)


def test_rotation_and_light_change_their_odd_signs(mirror):
    theta = np.zeros(350, np.float32)
    theta[:3] = 0.3, 0.1, -0.2
    theta[GROUPS["illumination"]] = np.arange(1, 28)
    mirrored = mirror.apply(theta)
    np.testing.assert_allclose(mirrored[:3], [-0.3, 0.1, 0.2], rtol=1e-6)
    signs = mirrored[GROUPS["illumination"]].reshape(9, 3) / np.arange(1, 28).reshape(9, 3)
    np.testing.assert_allclose(signs, np.repeat([1, 1, 1, -1, -1, 1, 1, -1, 1], 3).reshape(9, 3))


def test_symmetric_directions_keep_their_coefficients(mirror):
    shape = mirror.matrix[GROUPS["shape"], GROUPS["shape"]]
    np.testing.assert_allclose(np.diag(shape)[:18], 1, atol=0.02)
    assert not mirror.matrix[GROUPS["shape"], GROUPS["expression"]].any()


def test_asymmetric_models_are_refused(default_model):
    bent = default_model.mean_geometry.copy()
    bent[default_model.landmarks[0]] += 20
    with pytest.raises(FaceModelError, match="not symmetric"):
        FaceMirror.of(replace(default_model, mean_geometry=bent))


def test_partners_are_mutual(default_model):
    partner = mirror_partners(default_model.mean_geometry)
    np.testing.assert_array_equal(partner[partner], np.arange(default_model.vertex_count))
    jaw = default_model.landmarks[:17]
    np.testing.assert_array_equal(partner[jaw], jaw[::-1])


def test_directions_without_deviation_stay_still(default_model):
    sigma = default_model.shape_sigma.copy()
    sigma[100:] = 0
    mirror = FaceMirror.of(replace(default_model, shape_sigma=sigma))
    theta = np.ones(350, np.float32)
    assert not mirror.apply(theta)[GROUPS["shape"]][100:].any()
    assert np.isfinite(mirror.apply(theta)).all()


class OneSided:
    """Sees bright pixels in the left half as a turn to the left, and makes a constant error."""

    name, digest = "one-sided", "0" * 64

    def infer(self, crops, *, timeout=None):
        theta = np.zeros((len(crops), 350), np.float32)
        halves = crops.astype(np.float32).mean(axis=(1, 3)).reshape(len(crops), 2, 120).mean(axis=2)
        theta[:, 0] = (halves[:, 1] - halves[:, 0]) / 255 + 0.1
        return theta


def test_averaging_removes_errors_that_prefer_a_side(mirror):
    crops = np.zeros((3, 240, 240, 3), np.uint8)
    crops[1, :, :120] = 51
    crops[2, :, 120:] = 51
    averaged = MirrorAveraging(OneSided(), mirror)
    np.testing.assert_allclose(averaged.infer(crops)[:, 0], [0, -0.2, 0.2], atol=1e-6)
    assert (averaged.name, averaged.digest) == ("one-sided", "0" * 64)
    assert averaged.infer(crops[:0]).shape == (0, 350)
