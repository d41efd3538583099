from dataclasses import replace

import numpy as np
import pytest

from inversefacenet.morphable_model import MorphableModel
from inversefacenet.narrow_basis import BLOCK


@pytest.fixture(scope="module")
def loaded(synthetic_model, tmp_path_factory):
    """A small model that was read from a file, and so knows its integers."""
    path = tmp_path_factory.mktemp("model") / "model.npz"
    synthetic_model.save(path)
    return MorphableModel.load(path)


def plain(model, shape, expression, reflectance):
    """Eq. 2 and 3 in float64 from the bases themselves."""
    geometry = model.shape_basis.astype(float) @ (model.shape_sigma * shape)
    geometry += model.expression_basis.astype(float) @ (model.expression_sigma * expression)
    skin = model.reflectance_basis.astype(float) @ (model.reflectance_sigma * reflectance)
    return model.mean_geometry + geometry.reshape(-1, 3), model.mean_reflectance + skin.reshape(-1, 3)


def coefficients(rng):
    return [rng.normal(size=count).astype(np.float32) for count in (128, 64, 128)]


@pytest.mark.parametrize("name", ["loaded", "default_model", "synthetic_model"])
def test_one_face_is_the_plain_sum(request, rng, name):
    model = request.getfixturevalue(name)
    for _ in range(3):
        shape, expression, reflectance = coefficients(rng)
        geometry, skin = plain(model, shape, expression, reflectance)
        # Float32 rounds 150 mm to within 8e-6 mm.
        np.testing.assert_allclose(model.geometry(shape, expression), geometry, atol=3e-5)
        np.testing.assert_allclose(model.reflectance(reflectance), skin, atol=2e-6)
        assert model.geometry(shape, expression).dtype == np.float32


def test_each_coefficient_moves_its_own_direction(loaded):
    for i in range(192):
        unit = np.zeros(192, np.float32)
        unit[i] = 2
        expected = 2 * loaded.geometry_directions[i].reshape(-1, 3)
        moved = loaded.geometries(unit) - loaded.mean_geometry
        np.testing.assert_allclose(moved, expected, atol=2e-5)


def test_many_faces_are_one_product_and_the_same(default_model, rng):
    batch = rng.normal(size=(2, 3, 192)).astype(np.float32)
    faces = default_model.geometries(batch)
    assert faces.shape == (2, 3, default_model.vertex_count, 3)
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(faces[index], default_model.geometries(batch[index]), atol=5e-5)
        shape, expression = batch[index][:128], batch[index][128:]
        np.testing.assert_array_equal(
            default_model.geometry(shape, expression), default_model.geometries(batch[index])
        )
    assert default_model.geometries(batch[:0]).shape == (0, 3, default_model.vertex_count, 3)


def test_another_basis_is_not_mistaken_for_the_file_s(loaded, rng):
    turned = replace(loaded, shape_basis=-loaded.shape_basis, shape_sigma=2 * loaded.shape_sigma)
    shape, expression, reflectance = coefficients(rng)
    geometry, _ = plain(turned, shape, expression, reflectance)
    np.testing.assert_allclose(turned.geometry(shape, expression), geometry, atol=3e-5)


def test_blocks_are_filled_up_with_nothing(loaded):
    narrow = loaded.narrow_geometry
    assert narrow.mean.size % BLOCK == 0
    assert narrow.count == 3 * loaded.vertex_count < narrow.mean.size
    assert not narrow.fine[-1, :, narrow.count % BLOCK :].any()
    assert narrow.apply(np.zeros(192, np.float32)).shape == (loaded.vertex_count, 3)


def test_faces_do_not_share_memory(loaded):
    first = loaded.geometries(np.zeros(192, np.float32))
    first += 1000
    np.testing.assert_array_equal(loaded.geometries(np.zeros(192, np.float32)), loaded.mean_geometry)
