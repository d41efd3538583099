import hashlib
from dataclasses import fields, replace

import numpy as np
import pytest

from inversefacenet.errors import FaceModelError, ParameterError
from inversefacenet.morphable_model import MorphableModel

BASES = ("shape_basis", "expression_basis", "reflectance_basis")


def test_geometry_is_equation_2(synthetic_model, rng):
    shape, expression = rng.normal(size=128), rng.normal(size=64)
    expected = synthetic_model.mean_geometry.astype(float).ravel()
    for i in range(128):
        expected = expected + synthetic_model.shape_basis[:, i] * synthetic_model.shape_sigma[i] * shape[i]
    for j in range(64):
        expected = (
            expected
            + synthetic_model.expression_basis[:, j] * synthetic_model.expression_sigma[j] * expression[j]
        )
    geometry = synthetic_model.geometry(shape, expression)
    assert geometry.dtype == np.float32
    np.testing.assert_allclose(geometry.ravel(), expected, atol=1e-4)


def test_reflectance_is_equation_3_and_not_clipped(synthetic_model, rng):
    coefficients = 8 * rng.normal(size=128)
    offsets = (synthetic_model.reflectance_basis * synthetic_model.reflectance_sigma).astype(
        float
    ) @ coefficients
    expected = synthetic_model.mean_reflectance + offsets.reshape(-1, 3)
    assert expected.min() < 0
    np.testing.assert_allclose(synthetic_model.reflectance(coefficients), expected, atol=1e-4)


def test_batches_equal_single_faces(synthetic_model, rng):
    shape, expression = rng.normal(size=(2, 3, 128)), rng.normal(size=(2, 3, 64))
    geometry = synthetic_model.geometry(shape, expression)
    assert geometry.shape == (2, 3, synthetic_model.vertex_count, 3)
    np.testing.assert_allclose(
        geometry[1, 2], synthetic_model.geometry(shape[1, 2], expression[1, 2]), atol=1e-4
    )
    reflectance = synthetic_model.reflectance(shape)
    np.testing.assert_allclose(reflectance[0, 1], synthetic_model.reflectance(shape[0, 1]), atol=1e-5)


def test_zero_is_the_mean_face(synthetic_model):
    geometry = synthetic_model.geometry(np.zeros(128), np.zeros(64))
    np.testing.assert_array_equal(geometry, synthetic_model.mean_geometry)
    np.testing.assert_array_equal(
        synthetic_model.reflectance(np.zeros(128)), synthetic_model.mean_reflectance
    )


def test_one_moves_by_sigma_which_is_rms_times_root_of_vertices(synthetic_model):
    one = np.zeros(128)
    one[4] = 1
    moved = synthetic_model.geometry(one, np.zeros(64)) - synthetic_model.mean_geometry
    assert np.linalg.norm(moved) == pytest.approx(synthetic_model.shape_sigma[4], rel=1e-4)
    rms = np.sqrt((moved**2).sum(axis=1).mean())
    assert rms == pytest.approx(synthetic_model.shape_rms[4], rel=1e-4)
    root = np.sqrt(synthetic_model.vertex_count)
    np.testing.assert_allclose(
        synthetic_model.expression_rms, synthetic_model.expression_sigma / root, rtol=1e-6
    )
    np.testing.assert_allclose(
        synthetic_model.reflectance_rms, synthetic_model.reflectance_sigma / root, rtol=1e-6
    )


def test_units_are_turned_into_coefficients(synthetic_model):
    half = synthetic_model.expression_from_units({"jawOpen": 0.5, "browInnerUp": 1.0})
    names = synthetic_model.unit_names
    expected = (
        0.5 * synthetic_model.unit_coefficients[names.index("jawOpen")]
        + synthetic_model.unit_coefficients[names.index("browInnerUp")]
    )
    np.testing.assert_allclose(half, expected, atol=1e-6)
    assert not synthetic_model.expression_from_units({}).any()


def test_opening_the_jaw_moves_the_chin_down(synthetic_model):
    opened = synthetic_model.geometry(np.zeros(128), synthetic_model.expression_from_units({"jawOpen": 1.0}))
    chin = synthetic_model.landmarks[8]
    assert opened[chin, 1] < synthetic_model.mean_geometry[chin, 1] - 10


def test_unknown_units_are_named_with_the_known_ones(synthetic_model):
    with pytest.raises(ParameterError, match=r"tongueOut.*jawOpen"):
        synthetic_model.expression_from_units({"tongueOut": 1.0})


def test_painted_vertices_leave_the_mouth_out(synthetic_model):
    counted = synthetic_model.painted & (
        synthetic_model.triangle_part != synthetic_model.part_names.index("mouth")
    )
    assert 0 < counted.sum() < synthetic_model.painted.sum()
    assert set(synthetic_model.painted_vertices) == set(synthetic_model.triangles[counted].ravel())


def test_saved_models_are_read_back(synthetic_model, tmp_path):
    path = tmp_path / "model.npz"
    synthetic_model.save(path)
    loaded = MorphableModel.load(path)
    assert loaded.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    for item in fields(MorphableModel):
        ours, theirs = getattr(synthetic_model, item.name), getattr(loaded, item.name)
        if item.name.endswith("_basis"):
            np.testing.assert_allclose(theirs, ours, atol=0.6 * np.abs(ours).max() / 127)
            assert theirs.dtype == np.float32
        elif isinstance(ours, np.ndarray):
            np.testing.assert_array_equal(theirs, ours)
            assert theirs.dtype == ours.dtype
        elif item.name != "digest":
            assert theirs == ours


def test_a_saved_face_moves_by_hundredths_of_a_millimetre(synthetic_model, tmp_path, rng):
    synthetic_model.save(tmp_path / "model.npz")
    loaded = MorphableModel.load(tmp_path / "model.npz")
    shape, expression = rng.normal(size=128), rng.normal(size=64)
    moved = loaded.geometry(shape, expression) - synthetic_model.geometry(shape, expression)
    assert np.sqrt((moved**2).sum(axis=1).mean()) < 0.05


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(FaceModelError, match=r"nowhere\.npz"):
        MorphableModel.load(tmp_path / "nowhere.npz")
    with pytest.raises(FaceModelError):
        MorphableModel.load(tmp_path)


def test_damaged_files_are_a_clear_error(synthetic_model, tmp_path):
    path = tmp_path / "model.npz"
    synthetic_model.save(path)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    damaged = [content[:n] for n in (0, 3, 200, len(content) // 2, len(content) - 8)]
    for bad in [*damaged, bytes(flipped), b"no model at all", b"PK\x03\x04" + bytes(50)]:
        with pytest.raises(FaceModelError, match="damaged"):
            MorphableModel.from_bytes(bad)


def test_files_of_other_formats_are_refused(tmp_path):
    np.savez(tmp_path / "future.npz", format_version=np.int32(99))
    with pytest.raises(FaceModelError, match="99"):
        MorphableModel.load(tmp_path / "future.npz")
    np.savez(tmp_path / "other.npz", vertices=np.zeros(3))
    with pytest.raises(FaceModelError, match="damaged or incomplete"):
        MorphableModel.load(tmp_path / "other.npz")


def test_models_that_contradict_themselves_are_refused(synthetic_model):
    bases = {name: getattr(synthetic_model, name)[:30] for name in BASES}
    with pytest.raises(FaceModelError, match="must have shape"):
        replace(synthetic_model, **bases)
    landmarks = synthetic_model.landmarks.copy()
    landmarks[5] = synthetic_model.vertex_count
    with pytest.raises(FaceModelError, match="names vertices"):
        replace(synthetic_model, landmarks=landmarks)
    with pytest.raises(FaceModelError, match="names vertices"):
        replace(synthetic_model, triangles=synthetic_model.triangles - 1)
