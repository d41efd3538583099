"""Rebuild the shipped face model and compare. Needs the MakeHuman data: `make test-face-model`.

Directions are compared as subspaces, weighted by their variance: single vectors turn within
nearly equal variances with the last bit of the arithmetic.
"""

from pathlib import Path

import numpy as np
import pytest

from inversefacenet.morphable_model import MorphableModel
from training.face_model.build import build_face_model
from training.face_model.template import build_template

# The build takes about a minute of one core; a busy machine may need several.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def shipped():
    return MorphableModel.load_default()


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    model, _ = build_face_model(seed=0)
    path: Path = tmp_path_factory.mktemp("model") / "face_model.npz"
    model.save(path)
    return MorphableModel.load(path)


def test_template_is_the_same_each_time(shipped):
    template = build_template()
    np.testing.assert_array_equal(template.triangles, shipped.triangles)
    np.testing.assert_array_equal(template.landmarks, shipped.landmarks)
    np.testing.assert_allclose(np.asarray(template.operator.sum(axis=1)).ravel(), 1)


def test_means_agree(shipped, rebuilt):
    np.testing.assert_allclose(rebuilt.mean_geometry, shipped.mean_geometry, atol=0.01)
    np.testing.assert_allclose(rebuilt.mean_reflectance, shipped.mean_reflectance, atol=1e-3)


@pytest.mark.parametrize("name", ["shape", "expression", "reflectance"])
def test_variances_and_subspaces_agree(shipped, rebuilt, name):
    sigma = getattr(rebuilt, f"{name}_sigma")
    np.testing.assert_allclose(sigma, getattr(shipped, f"{name}_sigma"), rtol=0.01)
    old, _ = np.linalg.qr(getattr(shipped, f"{name}_basis").astype(np.float64))
    directions = getattr(rebuilt, f"{name}_basis") * sigma
    missed = (directions**2).sum() - ((old.T @ directions) ** 2).sum()
    assert missed / (directions**2).sum() < 1e-3


def test_regions_and_units_agree(shipped, rebuilt):
    assert (rebuilt.painted != shipped.painted).mean() < 0.01
    np.testing.assert_array_equal(rebuilt.contour_candidates, shipped.contour_candidates)
    np.testing.assert_allclose(rebuilt.contour_directions, shipped.contour_directions, atol=1e-5)
    assert rebuilt.unit_names == shipped.unit_names
    moved = (rebuilt.unit_coefficients * rebuilt.expression_sigma) @ rebuilt.expression_basis.T
    before = (shipped.unit_coefficients * shipped.expression_sigma) @ shipped.expression_basis.T
    np.testing.assert_allclose(moved, before, atol=0.15)
