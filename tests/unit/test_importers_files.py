"""The readers of published files: what they accept, and what they say of everything else."""

import json
import sys
from dataclasses import replace

import h5py
import numpy as np
import published_models as published
import pytest
from scipy.io import savemat
from scipy.spatial import cKDTree

from inversefacenet.cli.import_model import KINDS
from inversefacenet.errors import FaceModelError, MissingDependencyError
from inversefacenet.importers import KINDS as READABLE
from inversefacenet.importers import ImportOptions, assemble, ict, read
from inversefacenet.importers.bfm_hdf5 import REQUIRED
from inversefacenet.importers.encoded_colour import linearise
from inversefacenet.importers.landmark_lists import BFM2009_LANDMARKS, BFM2009_VERTICES, read_landmarks
from inversefacenet.importers.nearest import nearest, nearest_few
from inversefacenet.importers.obj_file import read_polygons, read_vertices
from inversefacenet.importers.transfer import Warp
from inversefacenet.rig import sample_units


@pytest.fixture(scope="module")
def mat(synthetic_model):
    return published.bfm2009_arrays(synthetic_model)


@pytest.fixture(scope="module")
def h5(synthetic_model):
    return published.bfm_hdf5_arrays(synthetic_model)


@pytest.fixture
def basis(tmp_path, synthetic_model):
    return published.write_exp_pca(tmp_path, synthetic_model)


def save(tmp_path, arrays):
    path = tmp_path / "01_MorphableModel.mat"
    savemat(path, arrays)
    return path


def test_the_command_offers_what_can_be_read():
    assert KINDS == READABLE


# BFM 2009


def test_micrometres_deviations_and_numbers_from_one(tmp_path, mat, basis, synthetic_model):
    raw = read("bfm2009", save(tmp_path, mat), basis)
    expected = synthetic_model.mean_geometry + published.OFFSET
    np.testing.assert_allclose(raw.geometry, expected, atol=1e-4)
    np.testing.assert_allclose(
        raw.shape[:, :128], synthetic_model.shape_basis * synthetic_model.shape_sigma, atol=1e-3
    )
    assert raw.triangles.min() == 0
    assert raw.shape.shape[1] == 199
    np.testing.assert_allclose(
        raw.expression, synthetic_model.expression_basis * synthetic_model.expression_sigma, atol=1e-3
    )


@pytest.mark.parametrize("key", ["shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl"])
def test_a_missing_key_is_named(tmp_path, mat, basis, key):
    path = save(tmp_path, {name: value for name, value in mat.items() if name != key})
    with pytest.raises(FaceModelError, match=rf"no '{key}'.*it has.*01_MorphableModel.mat of the Basel"):
        read("bfm2009", path, basis)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapePC": np.zeros((12, 199))}, "'shapePC' has the shape \\(12, 199\\)"),
        ({"shapeEV": np.ones(5)}, "'shapeEV' has 5 numbers, but 'shapePC' has 199"),
        ({"texMU": np.ones((9, 1))}, "'texMU' has 9 numbers"),
        ({"texMU": None}, "colours of this model go from 0 to 255"),
        ({"tl": np.zeros((4, 3))}, "counted from 1"),
        ({"tl": np.full((4, 3), 10**6)}, "triangles name vertices"),
        ({"shapeMU": np.ones((6, 1))}, "'shapeMU' has 6 numbers"),
    ],
)
def test_wrong_shapes_and_values_are_named(tmp_path, mat, basis, change, message):
    if change.get("texMU", 0) is None:
        change = {"texMU": mat["texMU"] / 255}
    with pytest.raises(FaceModelError, match=message):
        read("bfm2009", save(tmp_path, {**mat, **change}), basis)


@pytest.mark.parametrize("key", ["shapeMU", "shapePC", "texPC"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, mat, basis, key):
    broken = mat[key].copy()
    broken[7] = np.nan
    with pytest.raises(FaceModelError, match="aren't finite"):
        read("bfm2009", save(tmp_path, {**mat, key: broken}), basis)


def test_files_that_are_none(tmp_path, basis):
    path = tmp_path / "01_MorphableModel.mat"
    with pytest.raises(FaceModelError, match=r"can't be read: No such file"):
        read("bfm2009", path, basis)
    path.write_bytes(b"something else entirely, and long enough to have a header" * 9)
    with pytest.raises(FaceModelError, match="no MATLAB file"):
        read("bfm2009", path, basis)
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    with pytest.raises(FaceModelError, match="'-v7'"):
        read("bfm2009", path, basis)


def test_an_expression_basis_of_fewer_vertices_cuts_the_others(tmp_path, mat, synthetic_model):
    covered = np.setdiff1d(np.arange(synthetic_model.vertex_count), [200, 201])
    basis = published.write_exp_pca(tmp_path, synthetic_model, covered)
    raw = read("bfm2009", save(tmp_path, mat), basis)
    # Numbers stay those of the file, so that landmark files hold, until the import cuts.
    assert len(raw.geometry) == synthetic_model.vertex_count
    raw = raw.compact()
    whole = synthetic_model.mean_geometry[np.unique(published.skin_triangles(synthetic_model))]
    gone = cKDTree(raw.geometry - published.OFFSET).query(whole)[0] > 1e-3
    lost = synthetic_model.mean_geometry[[200, 201]]
    assert set(map(tuple, lost)) <= set(map(tuple, whole[gone]))
    index = cKDTree(synthetic_model.mean_geometry).query(raw.geometry - published.OFFSET)[1]
    rows = (3 * index[:, None] + np.arange(3)).ravel()
    expected = (synthetic_model.expression_basis * synthetic_model.expression_sigma)[rows]
    np.testing.assert_allclose(raw.expression, expected, atol=1e-3)
    (tmp_path / "BFM_exp_idx.mat").unlink()
    with pytest.raises(FaceModelError, match=r"put BFM_exp_idx.mat.*'trimIndex'"):
        read("bfm2009", tmp_path / "01_MorphableModel.mat", basis)
    savemat(tmp_path / "model_info.mat", {"trimIndex": np.arange(1, 9)})
    with pytest.raises(FaceModelError, match="'trimIndex' names 8 vertices"):
        read("bfm2009", tmp_path / "01_MorphableModel.mat", basis)


def test_expressions_of_3ddfa_with_a_mean(tmp_path, mat, synthetic_model):
    columns, sigma = synthetic_model.expression_basis[:, :29], synthetic_model.expression_sigma[:29] * 1000
    mean = columns[:, :1] * 500
    path = tmp_path / "Model_Exp.mat"
    savemat(path, {"mu_exp": mean, "w_exp": columns, "sigma_exp": sigma[:, None]})
    raw = read("bfm2009", save(tmp_path, mat), path)
    assert raw.expression.shape[1] == 30
    np.testing.assert_allclose(raw.expression[:, 0], mean[:, 0] / 1000, atol=1e-4)
    savemat(path, {"mu_exp": mean, "w_exp": columns, "sigma_exp": sigma[:3, None]})
    with pytest.raises(FaceModelError, match="'sigma_exp' 3 numbers"):
        read("bfm2009", tmp_path / "01_MorphableModel.mat", path)
    savemat(path, {"mu_exp": mean, "sigma_exp": sigma})
    with pytest.raises(FaceModelError, match="no 'expPC'"):
        read("bfm2009", tmp_path / "01_MorphableModel.mat", path)


def test_one_file_of_face3d(tmp_path, mat, synthetic_model):
    arrays = {**mat, "tri": mat["tl"].T, "kpt_ind": synthetic_model.landmarks[None] + 1.0}
    del arrays["tl"]
    arrays |= {
        "expPC": synthetic_model.expression_basis,
        "expEV": synthetic_model.expression_sigma[:, None] * 1000,
        "expMU": np.zeros((3 * synthetic_model.vertex_count, 1)),
    }
    raw = read("bfm2009", save(tmp_path, arrays))
    np.testing.assert_array_equal(raw.landmarks, synthetic_model.landmarks)
    assert raw.expression.shape[1] == 64


def test_the_front_model_of_deep3d(tmp_path, synthetic_model):
    path = published.write_bfm_front(tmp_path, synthetic_model)
    raw = read("bfm2009", path)
    np.testing.assert_array_equal(raw.landmarks, synthetic_model.landmarks)
    np.testing.assert_allclose(raw.geometry, synthetic_model.mean_geometry + published.OFFSET, atol=1e-4)
    assert (raw.shape.shape[1], raw.expression.shape[1], raw.reflectance.shape[1]) == (80, 64, 80)
    arrays = published.bfm_front_arrays(synthetic_model)
    savemat(path, {**arrays, "keypoints": np.ones((1, 5))})
    with pytest.raises(FaceModelError, match="'keypoints' must name 68"):
        read("bfm2009", path)
    del arrays["exBase"]
    savemat(path, arrays)
    with pytest.raises(FaceModelError, match="no 'exBase'"):
        read("bfm2009", path)


def test_exp_pca_must_fit_together(tmp_path, mat, basis):
    path = save(tmp_path, mat)
    whole = basis.read_bytes()
    basis.write_bytes(whole[:-4])
    with pytest.raises(FaceModelError, match="64 directions, which don't go together"):
        read("bfm2009", path, basis)
    basis.write_bytes(whole)
    np.savetxt(tmp_path / "std_exp.txt", np.ones(3))
    with pytest.raises(FaceModelError, match=r"std_exp.txt has 3 numbers"):
        read("bfm2009", path, basis)
    (tmp_path / "std_exp.txt").unlink()
    with pytest.raises(FaceModelError, match=r"needs its standard deviations, std_exp.txt"):
        read("bfm2009", path, basis)
    with pytest.raises(FaceModelError, match=r"nowhere.bin can't be read"):
        read("bfm2009", path, tmp_path / "nowhere.bin")


def test_the_published_landmarks_at_the_true_number_of_vertices(tmp_path, default_model):
    """A plane of 53,490 vertices bent into a face, with few directions: the published numbers find it."""
    model, landmarks = true_size(default_model)
    path = save(tmp_path, model)
    savemat(tmp_path / "Model_Exp.mat", {"w_exp": model["shapePC"], "sigma_exp": model["shapeEV"] / 5})
    raw = read("bfm2009", path, tmp_path / "Model_Exp.mat")
    np.testing.assert_array_equal(raw.landmarks, BFM2009_LANDMARKS)
    np.testing.assert_allclose(raw.geometry[raw.landmarks], landmarks, atol=1e-2)
    face = assemble(raw, ImportOptions(vertices=6000, views=3), default_model)
    assert face.vertex_count == 6000
    shift = face.mean_geometry[face.landmarks[30]] - landmarks[30]
    np.testing.assert_allclose(face.mean_geometry[face.landmarks] - shift, landmarks, atol=2e-2)


def true_size(reference):
    """Return the arrays of a height field in the form of a face, and its landmarks' places."""
    columns, rows = 231, 232
    x, y = np.meshgrid(np.linspace(-85, 85, columns), np.linspace(-105, 95, rows))
    flat = np.stack([x.ravel(), y.ravel()], axis=1)[:BFM2009_VERTICES]
    bowl = 90 * np.sqrt(np.maximum(1 - (flat[:, 0] / 90) ** 2 - (flat[:, 1] / 140) ** 2, 0.02))
    nose = 20 * np.exp(-((flat[:, 0] / 9) ** 2) - ((flat[:, 1] + 10) / 14) ** 2)
    places = np.concatenate([flat, (bowl + nose)[:, None]], axis=1)
    wanted = reference.mean_geometry[reference.landmarks][:, :2]
    tree = cKDTree(flat)
    order = np.arange(BFM2009_VERTICES)
    where = np.arange(BFM2009_VERTICES)
    for number, place in zip(BFM2009_LANDMARKS, wanted, strict=True):
        # The vertex at this place changes its number with the one that the list names.
        current = where[tree.query(place)[1]]
        a, b = order[number], order[current]
        order[number], order[current] = b, a
        where[a], where[b] = current, number
    corner = np.arange((rows - 1) * columns).reshape(rows - 1, columns)[:, :-1].ravel()
    quads = [(corner, corner + 1, corner + columns), (corner + 1, corner + columns + 1, corner + columns)]
    triangles = np.concatenate([np.stack(quad, axis=1) for quad in quads])
    triangles = where[triangles[(triangles < BFM2009_VERTICES).all(axis=1)]]
    directions = np.zeros((3 * BFM2009_VERTICES, 2), np.float32)
    directions[1::3, 0] = directions[2::3, 1] = BFM2009_VERTICES**-0.5
    deviation = np.array([[2e5], [1e5]], np.float32)
    tan = np.tile([170.0, 130, 110], BFM2009_VERTICES).astype(np.float32)
    arrays = {
        "shapeMU": (1000 * places[order]).reshape(-1, 1).astype(np.float32),
        "shapePC": directions,
        "shapeEV": deviation,
        "texMU": tan[:, None],
        "texPC": directions,
        "texEV": deviation / 1000,
        "tl": triangles[:, ::-1].astype(np.int32) + 1,
    }
    return arrays, places[order][BFM2009_LANDMARKS]


# BFM 2017 and 2019


def test_millimetres_variances_and_named_points(tmp_path, h5, synthetic_model):
    raw = read("bfm2019", published.write_bfm_hdf5(tmp_path / "model2019_face12.h5", h5))
    assert raw.name == "Basel Face Model 2019 (model2019_face12)"
    np.testing.assert_allclose(raw.geometry, synthetic_model.mean_geometry + published.OFFSET, atol=1e-4)
    np.testing.assert_allclose(
        raw.shape, synthetic_model.shape_basis * synthetic_model.shape_sigma, atol=1e-3
    )
    known = raw.landmarks >= 0
    assert known.sum() == len(published.NAMED)
    np.testing.assert_array_equal(raw.landmarks[known], synthetic_model.landmarks[known])
    np.testing.assert_array_equal(raw.between[:, :2], [(37, 38), (40, 41), (43, 44), (46, 47)])
    # The mean expression is one more direction.
    np.testing.assert_allclose(raw.expression[:, 0], h5["expression/model/mean"])
    assert raw.expression.shape[1] == 101


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_data_set_is_named(tmp_path, h5, key):
    left = {name: value for name, value in h5.items() if name != key}
    path = published.write_bfm_hdf5(tmp_path / "model.h5", left)
    with pytest.raises(
        FaceModelError, match=rf"no data set '{key}': give an .h5 file.*2017-1_face12_nomouth"
    ):
        read("bfm2017", path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape/model/pcaBasis": np.zeros((9, 128))}, "'shape/model/pcaBasis' has the shape"),
        ({"shape/model/pcaVariance": np.ones(7)}, "7 variances"),
        ({"shape/model/pcaVariance": -np.ones(128)}, "negative variances"),
        ({"color/model/mean": np.full(9, 0.5)}, "'color/model/mean' has 9 numbers"),
        ({"color/model/mean": None}, "colours of this model go from 0 to 1"),
        ({"shape/representer/cells": np.zeros((4, 5))}, "3 x triangles"),
        ({"expression/model/mean": np.full(816, np.inf)}, "expression holds numbers that aren't finite"),
        ({"metadata/landmarks/json": "[1, 2]"}, "named points"),
        (
            {"metadata/landmarks/json": json.dumps({"center.nose.tip": [0, 0, 900.0]})},
            "mm off the mean face.*--landmarks",
        ),
    ],
)
def test_wrong_data_sets_are_named(tmp_path, h5, change, message, synthetic_model):
    (key, value), *_ = change.items()
    if value is None:
        value = 255 * h5[key]
    if key == "expression/model/mean":
        value = np.full(3 * synthetic_model.vertex_count, np.inf)
    if key.endswith("json"):
        value = np.array(value, dtype=object)
    with pytest.raises(FaceModelError, match=message):
        read("bfm2017", published.write_bfm_hdf5(tmp_path / "model.h5", {**h5, key: value}))


def test_named_points_stored_otherwise(tmp_path, h5, synthetic_model):
    text = str(h5["metadata/landmarks/json"])
    by_name = json.dumps({entry["id"]: entry["coordinates"] for entry in json.loads(text)})
    expected = read("bfm2017", published.write_bfm_hdf5(tmp_path / "a.h5", h5)).landmarks
    as_bytes = np.frombuffer(by_name.encode(), np.uint8)
    path = published.write_bfm_hdf5(tmp_path / "b.h5", {**h5, "metadata/landmarks/json": as_bytes})
    np.testing.assert_array_equal(read("bfm2017", path).landmarks, expected)
    with h5py.File(path, "a") as file:
        del file["metadata"]
        file["metadata/landmarks/json"] = np.array([text.encode()])
    np.testing.assert_array_equal(read("bfm2017", path).landmarks, expected)
    with h5py.File(path, "a") as file:
        del file["metadata"]
    assert (read("bfm2017", path).landmarks == -1).all()


def test_the_2009_model_as_h5_lacks_expressions(tmp_path, h5):
    old = {name: value for name, value in h5.items() if not name.startswith("expression")}
    with pytest.raises(FaceModelError, match="no data set 'expression/model/mean'"):
        read("bfm2017", published.write_bfm_hdf5(tmp_path / "model2009-publicmm1-bfm.h5", old))


def test_what_is_no_hdf5(tmp_path):
    with pytest.raises(FaceModelError, match="no such file"):
        read("bfm2017", tmp_path / "model.h5")
    (tmp_path / "model.h5").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FaceModelError, match="no HDF5 file"):
        read("bfm2017", tmp_path / "model.h5")


# ICT-FaceKit


@pytest.fixture(scope="module")
def facekit(tmp_path_factory, synthetic_model):
    folder = tmp_path_factory.mktemp("kit") / "FaceXModel"
    return folder, published.write_ict(folder, synthetic_model, identities=3)


def test_centimetres_one_sigma_files_and_units(facekit, synthetic_model):
    folder, layout = facekit
    raw = ict.read_ict(folder, layout)
    np.testing.assert_allclose(raw.geometry, synthetic_model.mean_geometry + published.OFFSET, atol=1e-4)
    first = synthetic_model.shape_basis[:, :3] * synthetic_model.shape_sigma[:3]
    np.testing.assert_allclose(raw.shape, first, atol=1e-4)
    np.testing.assert_array_equal(raw.landmarks, synthetic_model.landmarks)
    assert raw.part_names == ("skin", "lid", "mouth", "eye")
    np.testing.assert_array_equal(
        np.bincount(raw.triangle_part, minlength=4), np.bincount(synthetic_model.triangle_part, minlength=4)
    )
    # browInnerUp came as two files.
    assert raw.unit_names == synthetic_model.unit_names
    # What random expressions add has the second moment of what the columns add.
    weights = sample_units(np.random.default_rng(9), 20_000, raw.unit_names)
    faces = weights @ raw.units[::7].T
    expected = (faces**2).mean(axis=0)
    found = (raw.expression[::7] ** 2).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.02)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("mouthSmile_L", "mouthSmileLeft"),
        ("eyeBlink_R", "eyeBlinkRight"),
        ("cheekPuff_L", "cheekPuff"),
        ("browInnerUp_R", "browInnerUp"),
        ("jawLeft", "jawLeft"),
        ("mouthRollLower", "mouthRollLower"),
    ],
)
def test_units_get_the_rigs_names(name, unit):
    assert ict.unit_name(name) == unit


def test_all_published_expressions_become_units_that_the_sampler_knows(default_model):
    """The list is that of ICT-FaceKit's vertex_indices.json."""
    sided = "browDown browInnerUp browOuterUp cheekPuff cheekSquint eyeBlink eyeLookDown eyeLookIn eyeLookOut"
    sided += " eyeLookUp eyeSquint eyeWide mouthDimple mouthFrown mouthLowerDown mouthPress mouthSmile"
    sided += " mouthStretch mouthUpperUp noseSneer"
    whole = "jawForward jawLeft jawOpen jawRight mouthClose mouthFunnel mouthLeft mouthPucker mouthRight"
    whole += " mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper"
    published_names = [f"{name}_{side}" for name in sided.split() for side in "LR"] + whole.split()
    assert len(published_names) == 53
    units = {ict.unit_name(name) for name in published_names}
    assert units == {name for name in default_model.unit_names if not name.startswith("mh:")}


def test_missing_and_foreign_ict_files_are_named(facekit, tmp_path):
    folder, layout = facekit
    with pytest.raises(FaceModelError, match=r"no generic_neutral_mesh.obj: give the folder FaceXModel"):
        read("ict", tmp_path)
    with pytest.raises(FaceModelError, match=r"ICT-FaceKit's has 26719"):
        read("ict", folder)
    with pytest.raises(FaceModelError, match="eyeballs"):
        ict.read_ict(folder, replace(layout, eyes=layout.eyes[::-1]))

    def broken(name, content=None):
        copy = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        copy.mkdir()
        for path in folder.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        if content is None:
            (copy / name).unlink()
        else:
            (copy / name).write_text(content)
        return copy

    cases = [
        (broken("identity000.obj"), "no identity000.obj"),
        (broken("jawOpen.obj"), "names the expression 'jawOpen'"),
        (broken("jawOpen.obj", "v 1 2 3\n"), "jawOpen.obj has 1 vertices"),
        (broken("identity001.obj", "v 1 2 here\n"), "a vertex can't be read"),
        (broken("identity001.obj", "version https://git-lfs\n"), "identity001.obj has no vertices"),
        (broken("vertex_indices.json", "{}"), "no list 'expressions'"),
        (broken("vertex_indices.json", '{"expressions": [], "idx_to_landmark_verts": [1]}'), "must name 68"),
        (broken("vertex_indices.json", "{"), "vertex_indices.json can't be read"),
    ]
    for copy, message in cases:
        with pytest.raises(FaceModelError, match=message):
            ict.read_ict(copy, layout)


def test_the_readmes_polygons_at_the_true_size(tmp_path):
    """26,719 vertices and 26,384 quads, with eyeballs where the README has them: 24 units of no action."""
    rng = np.random.default_rng(0)
    vertices = rng.normal(0, 5, (26719, 3))
    vertices[21451:23021, 0] = 3.2
    vertices[23021:24591, 0] = -3.2
    quads = rng.integers(0, 21000, (26384, 4))
    quads[21496:23094] = rng.integers(21451, 23021, (1598, 4))
    quads[23094:24692] = rng.integers(23021, 24591, (1598, 4))
    text = "\n".join("v " + " ".join(map(str, vertex.round(4))) for vertex in vertices)
    faces = "\n".join("f " + " ".join(f"{corner}/1/1" for corner in quad) for quad in quads + 1)
    for name in ("generic_neutral_mesh", "identity000", "jawOpen"):
        (tmp_path / f"{name}.obj").write_text(f"{text}\n{faces}\n")
    landmarks = np.unique(quads[:11144])[:68].tolist()
    document = {"expressions": ["jawOpen"], "idx_to_landmark_verts": landmarks}
    (tmp_path / "vertex_indices.json").write_text(json.dumps(document))
    raw = read("ict", tmp_path)
    assert np.bincount(raw.triangle_part).tolist() == [2 * 11144, 2 * 808, 2 * 2082, 2 * 3196]
    assert (raw.landmarks >= 0).all()


# Files and pieces


def test_obj_polygons_become_fans(tmp_path):
    path = tmp_path / "a.obj"
    path.write_text(
        "v 0 0 0\nv 1 0 0 0.5 0.5 0.5\nv 1 1 0\nv 0 1 0\nvn 0 0 1\nf 1//1 2//1 3//1 4//1\nf 1 3 4\n"
    )
    np.testing.assert_array_equal(read_vertices(path)[2], [1, 1, 0])
    triangles, polygon = read_polygons(path)
    np.testing.assert_array_equal(triangles, [[0, 1, 2], [0, 2, 3], [0, 2, 3]])
    np.testing.assert_array_equal(polygon, [0, 0, 1])
    path.write_text("v 0 0 0\nf -1 -2 -3\n")
    with pytest.raises(FaceModelError, match="no faces"):
        read_polygons(path)


def test_landmark_files(tmp_path):
    numbers = list(range(100, 168))
    path = tmp_path / "points.anl"
    path.write_text("% a comment\n" + "\n".join(f"{number}  # point" for number in numbers))
    np.testing.assert_array_equal(read_landmarks(path), numbers)
    path = tmp_path / "points.json"
    path.write_text(json.dumps([-1, *numbers[1:]]))
    assert read_landmarks(path)[0] == -1
    for text in ("[1, 2]", '{"a": 1}', "[", json.dumps([-5] * 68)):
        path.write_text(text)
        with pytest.raises(FaceModelError, match=r"points.json must hold"):
            read_landmarks(path)
    with pytest.raises(FaceModelError, match="can't be read"):
        read_landmarks(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("module", "kind", "name"), [("scipy.io", "bfm2009", "a.mat"), ("h5py", "bfm2017", "a.h5")]
)
def test_missing_packages_name_the_extra(monkeypatch, tmp_path, module, kind, name):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[importers\]"):
        read(kind, tmp_path / name)


def test_linearisation_is_exact_to_first_order(rng):
    mean = rng.uniform(0.2, 0.8, 300)
    columns = rng.normal(0, 0.02, (300, 5)).astype(np.float32)
    linear_mean, linear, error = linearise(mean, columns)

    def decode(encoded):  # IEC 61966-2-1, written down again
        return ((encoded + 0.055) / 1.055) ** 2.4

    np.testing.assert_allclose(linear_mean, decode(mean), rtol=1e-6)
    gaps = []
    for step in (0.1, 1.0):
        weights = np.full(5, step, np.float32)
        gap = decode(mean + columns @ weights) - (linear_mean + linear @ weights)
        gaps.append(np.sqrt(np.mean(gap**2)))
    # A tenth of the step leaves a hundredth of the error: what is missing is of second order.
    assert gaps[1] < 0.006
    assert gaps[0] == pytest.approx(gaps[1] / 100, rel=0.2)
    assert 0 < error < 0.005
    same_mean, same, nothing = linearise(mean, columns, "linear")
    np.testing.assert_array_equal(same, columns)
    np.testing.assert_array_equal(same_mean, mean)
    assert nothing == 0


def test_nearest_agrees_with_a_tree(rng):
    points, targets = rng.normal(size=(50, 3)), rng.normal(size=(700, 3))
    tree = cKDTree(targets)
    np.testing.assert_array_equal(nearest(points, targets), tree.query(points)[1])
    np.testing.assert_array_equal(np.sort(nearest_few(points, targets, 3)), np.sort(tree.query(points, 3)[1]))


def test_a_warp_undoes_a_similarity_and_meets_its_anchors(rng):
    source = rng.normal(0, 40, (20, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    target = 1.3 * source @ turn.T + [5.0, -7, 90]
    warp = Warp.fit(source, target)
    others = rng.normal(0, 40, (30, 3))
    np.testing.assert_allclose(warp(others), 1.3 * others @ turn.T + [5.0, -7, 90], atol=1e-6)
    bent = target + rng.normal(0, 2, target.shape)
    assert np.linalg.norm(Warp.fit(source, bent)(source) - bent, axis=1).max() < 0.5
