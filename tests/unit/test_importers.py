"""What an import makes of published models, held against the model that they were written from."""

from dataclasses import replace
from functools import partial

import numpy as np
import published_models as published
import pytest
import trimesh

from inversefacenet import importers
from inversefacenet.basis_codec import decode_basis, encode_basis
from inversefacenet.camera import rotation_matrix
from inversefacenet.cli import main
from inversefacenet.errors import FaceModelError
from inversefacenet.export import face_mesh, mesh_to_bytes
from inversefacenet.importers import ImportOptions, assemble, read
from inversefacenet.importers.directions import principal
from inversefacenet.importers.ict import read_ict
from inversefacenet.importers.raw_model import RawModel
from inversefacenet.importers.surface import area_vectors
from inversefacenet.importers.transfer import complete_landmarks
from inversefacenet.metrics import intersection_over_union
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import DISTRIBUTIONS

WHOLE = ImportOptions(vertices=0, region="all", views=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, synthetic_model):
    """All kinds as files, of the small model."""
    base = tmp_path_factory.mktemp("published")
    published.write_bfm2009(base, synthetic_model)
    published.write_exp_pca(base, synthetic_model)
    published.write_bfm_hdf5(base / "model2017.h5", published.bfm_hdf5_arrays(synthetic_model))
    return base


@pytest.fixture(scope="module")
def raw2009(folder, synthetic_model):
    raw = read("bfm2009", folder / "01_MorphableModel.mat", folder / "Exp_Pca.bin")
    assert (raw.landmarks == -1).all()  # the published numbers are of another mesh
    return replace(raw, landmarks=synthetic_model.landmarks.astype(np.int64))


@pytest.fixture(scope="module")
def imported(folder, raw2009, synthetic_model, tmp_path_factory, default_model):
    """Each kind, imported whole."""
    ict = tmp_path_factory.mktemp("ict") / "FaceXModel"
    layout = published.write_ict(ict, synthetic_model, identities=30)
    raws = {
        "bfm2009": raw2009,
        "bfm2017": read("bfm2017", folder / "model2017.h5"),
        "bfm2019": read("bfm2019", folder / "model2017.h5"),
        "ict": read_ict(ict, layout),
    }
    return {kind: assemble(raw, WHOLE, default_model) for kind, raw in raws.items()}


KINDS = ["bfm2009", "bfm2017", "bfm2019", "ict"]


def counterparts(model, source):
    """Return each vertex's number in the model that was written, and the shift of the origin."""
    shift = model.mean_geometry[model.landmarks[30]] - source.mean_geometry[source.landmarks[30]]
    apart = np.linalg.norm((model.mean_geometry - shift)[:, None] - source.mean_geometry, axis=2)
    assert apart.min(axis=1).max() < 2e-3
    return apart.argmin(axis=1), shift


def second_moments(basis, sigma, rows=slice(None)):
    table = (basis * sigma)[rows]
    return table @ table.T


def rows_of(vertices):
    return (3 * vertices[:, None] + np.arange(3)).ravel()


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_has_all_that_the_pipeline_needs(imported, synthetic_model, kind, tmp_path):
    model = imported[kind]
    path = tmp_path / "model.npz"
    model.save(path)
    loaded = MorphableModel.load(path)
    assert len(loaded.digest) == 64
    assert loaded.part_names[0] == "skin"
    assert not (model.painted & model.mouth_triangles).any()
    skin = model.vertex_part == 0
    np.testing.assert_allclose(model.mean_geometry[skin].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_array_equal(model.contour_candidates[:, 0], model.landmarks[:17])
    for basis in (model.shape_basis, model.expression_basis, model.reflectance_basis):
        np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=2e-5)
    corners = model.mean_geometry[model.triangles[model.triangle_part == 0]].astype(float)
    assert area_vectors(corners)[:, 2].sum() > 0
    assert np.isin(model.landmarks, model.triangles).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_geometry_is_that_of_the_model_that_was_written(imported, synthetic_model, kind):
    index, _ = counterparts(imported[kind], synthetic_model)
    expected = second_moments(synthetic_model.shape_basis, synthetic_model.shape_sigma, rows_of(index))
    if kind == "ict":
        first = synthetic_model.shape_sigma * (np.arange(128) < 30)
        expected = second_moments(synthetic_model.shape_basis, first, rows_of(index))
    found = second_moments(imported[kind].shape_basis, imported[kind].shape_sigma)
    assert np.abs(found - expected).max() < 2e-4 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["bfm2009", "bfm2017"])
def test_reflectance_becomes_linear_again(imported, synthetic_model, kind):
    model = imported[kind]
    index, _ = counterparts(model, synthetic_model)
    np.testing.assert_allclose(model.mean_reflectance, synthetic_model.mean_reflectance[index], atol=1e-4)
    expected = second_moments(
        synthetic_model.reflectance_basis, synthetic_model.reflectance_sigma, rows_of(index)
    )
    found = second_moments(model.reflectance_basis, model.reflectance_sigma)
    assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()


def test_a_basis_that_loses_no_vertex_keeps_its_coefficients(synthetic_model, tmp_path, default_model):
    source = replace(synthetic_model, triangle_part=np.zeros_like(synthetic_model.triangle_part))
    path = published.write_bfm2009(tmp_path, source)
    raw = read("bfm2009", path, published.write_exp_pca(tmp_path, source))
    model = assemble(replace(raw, landmarks=source.landmarks.astype(np.int64)), WHOLE, default_model)
    rng = np.random.default_rng(3)
    shape, expression = rng.normal(size=128), rng.normal(size=64)
    shift = model.mean_geometry[0] - source.mean_geometry[0]
    expected = source.geometry(shape, expression) + shift
    np.testing.assert_allclose(model.geometry(shape, expression), expected, atol=0.02)


def test_the_mean_expression_of_2017_is_one_of_the_models_faces(imported, synthetic_model):
    model = imported["bfm2017"]
    index, _ = counterparts(model, synthetic_model)
    given = published.bfm_hdf5_arrays(synthetic_model)["expression/model/mean"][rows_of(index)]
    weights = model.expression_basis.T @ given
    np.testing.assert_allclose(model.expression_basis @ weights, given, atol=1e-3)
    # It is less than its own deviation away from neutral, and not neutral itself.
    size = np.linalg.norm(weights / np.maximum(model.expression_sigma, 1e-6))
    assert 0.1 < size <= 1.001


def test_missing_landmarks_come_from_the_open_face_model(imported, synthetic_model):
    model = imported["bfm2017"]
    index, _ = counterparts(model, synthetic_model)
    known = sorted(published.NAMED)
    np.testing.assert_array_equal(index[model.landmarks[known]], synthetic_model.landmarks[known])
    off = np.linalg.norm(
        synthetic_model.mean_geometry[index[model.landmarks]]
        - synthetic_model.mean_geometry[synthetic_model.landmarks],
        axis=1,
    )
    # The small model is a flat sketch: its jaw isn't the open model's.
    assert off[17:].max() < 14
    assert off.max() < 45


def test_missing_landmarks_of_a_wider_and_flatter_face_are_found(default_model):
    count = default_model.vertex_count
    landmarks = default_model.landmarks.astype(np.int64)
    raw = RawModel(
        name="a wider face",
        geometry=default_model.mean_geometry * np.array([1.12, 1.0, 0.85]) + [3, -20, 60],
        triangles=default_model.triangles.astype(np.int64),
        triangle_part=default_model.triangle_part,
        part_names=default_model.part_names,
        shape=np.zeros((3 * count, 1), np.float32),
        expression=np.zeros((3 * count, 1), np.float32),
        reflectance_mean=np.full((count, 3), 0.5),
        reflectance=np.zeros((3 * count, 1), np.float32),
        landmarks=np.where(np.isin(np.arange(68), list(published.NAMED)), landmarks, -1),
    )
    found = complete_landmarks(raw, default_model).landmarks
    off = np.linalg.norm(raw.geometry[found] - raw.geometry[landmarks], axis=1)
    assert off[17:].max() < 3
    assert off[:17].max() < 9
    assert off.mean() < 2


def test_ict_has_named_units_and_borrowed_colours(imported, synthetic_model, default_model):
    model = imported["ict"]
    assert model.unit_names == synthetic_model.unit_names
    index, _ = counterparts(model, synthetic_model)
    for unit in model.unit_names:
        expected = synthetic_model.expression_basis @ (
            synthetic_model.expression_sigma * synthetic_model.expression_from_units({unit: 1.0})
        )
        found = model.expression_basis @ (model.expression_sigma * model.expression_from_units({unit: 1.0}))
        np.testing.assert_allclose(found, expected[rows_of(index)], atol=0.02)
    assert 0.3 < model.mean_reflectance[model.vertex_part == 0, 0].mean() < 0.7
    mouth = model.vertex_part == model.part_names.index("mouth")
    assert model.mean_reflectance[mouth].mean() < 0.5 * model.mean_reflectance[~mouth].mean()
    assert model.reflectance_rms[0] == pytest.approx(default_model.reflectance_rms[0], rel=0.5)


def test_units_of_a_model_without_a_rig_are_its_directions(imported):
    model = imported["bfm2009"]
    assert model.unit_names[:2] == ("expression-01+", "expression-01-")
    np.testing.assert_allclose(
        model.expression_from_units({"expression-02-": 0.5}), np.eye(64, dtype=np.float32)[1] * -2
    )
    for name in ("natural", "paper", "paper-box"):
        theta = DISTRIBUTIONS[name].sample(np.random.default_rng(0), 50, model)
        assert 0.2 < theta[:, 131:195].std() < 8


def test_fewer_dimensions_are_padded_and_more_are_cut(imported):
    assert (imported["ict"].shape_sigma > 0).sum() == 30
    assert (imported["ict"].expression_sigma > 0).sum() == 6
    # 64 of the model's own, 36 more that the file has, and the mean: 64 are kept.
    assert (imported["bfm2017"].expression_sigma > 0).all()
    assert (np.diff(imported["bfm2017"].expression_sigma) <= 0).all()


def test_padding_is_orthonormal_and_takes_no_room_in_the_file(rng):
    given = (rng.normal(size=(9000, 30)) * np.linspace(9, 1, 30)).astype(np.float32)
    basis, sigma = principal(given, 128)
    np.testing.assert_allclose(basis.T @ basis, np.eye(128), atol=1e-5)
    assert (sigma[:30] > 0).all()
    assert (sigma[30:] == 0).all()
    stored = decode_basis("basis", encode_basis("basis", basis))
    np.testing.assert_allclose(stored.T @ stored, np.eye(128), atol=0.03)
    assert (stored[:, 30:] != 0).mean() < 0.01


@pytest.fixture(scope="module")
def lifelike(tmp_path_factory, default_model):
    """The open face model, written as the Basel Face Model 2009 and imported, whole and thinned."""
    base = tmp_path_factory.mktemp("lifelike")
    arrays = published.bfm2009_arrays(default_model)
    del arrays["segbin"]
    from scipy.io import savemat

    savemat(base / "01_MorphableModel.mat", arrays)
    raw = read("bfm2009", base / "01_MorphableModel.mat", published.write_exp_pca(base, default_model))
    raw = replace(raw, landmarks=default_model.landmarks.astype(np.int64))
    thin = ImportOptions(vertices=5000, views=15)
    return assemble(raw, replace(WHOLE, views=15), default_model), assemble(raw, thin, default_model)


def test_a_face_looks_as_it_did(lifelike, default_model):
    for model, largest in zip(lifelike, (0.3, 1.5), strict=True):
        # The origin is the skin's centroid, which is elsewhere without the mouth's interior or with fewer
        # vertices: put back for the comparison.
        shift = (
            model.mean_geometry[model.landmarks[30]]
            - default_model.mean_geometry[default_model.landmarks[30]]
        )
        placed = replace(model, mean_geometry=model.mean_geometry - shift)
        for rotation in ([0.0, 0, 0], [0.5, -0.2, 0.1], [-0.6, 0.3, 0]):
            parameters = Parameters.from_dict({"rotation": rotation})
            expected, found = render(default_model, parameters), render(placed, parameters)
            np.testing.assert_allclose(found.landmarks[17:], expected.landmarks[17:], atol=0.1)
            np.testing.assert_allclose(found.landmarks[:17], expected.landmarks[:17], atol=3)
            both = expected.mask & found.mask
            assert intersection_over_union(expected.mask, found.mask) > 0.99
            assert np.abs(expected.image.astype(float) - found.image)[both].mean() < largest
            assert intersection_over_union(expected.model_mask, found.model_mask) > 0.95


def test_a_thinned_mesh_keeps_its_form_and_its_landmarks(lifelike, default_model):
    whole, thin = lifelike
    assert (whole.vertex_count, thin.vertex_count) == (10030, 5000)
    index, _ = counterparts_by_place(thin, whole)
    np.testing.assert_array_equal(index[thin.landmarks], whole.landmarks)
    meshes = [trimesh.Trimesh(m.mean_geometry, m.triangles, process=False) for m in lifelike]
    assert meshes[1].is_winding_consistent
    assert meshes[1].area == pytest.approx(meshes[0].area, rel=0.01)
    _, uses = np.unique(np.sort(meshes[1].edges, axis=1), axis=0, return_counts=True)
    assert uses.max() == 2
    expected = second_moments(whole.shape_basis, whole.shape_sigma, rows_of(index[:200]))
    found = second_moments(thin.shape_basis, thin.shape_sigma, rows_of(np.arange(200)))
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def counterparts_by_place(thin, whole):
    shift = thin.mean_geometry[thin.landmarks[30]] - whole.mean_geometry[whole.landmarks[30]]
    order = np.lexsort(np.round(whole.mean_geometry, 2).T)
    keys = {tuple(np.round(whole.mean_geometry[i], 2)): i for i in order}
    places = thin.mean_geometry - shift
    found = [keys.get(tuple(np.round(place, 2))) for place in places]
    exact = np.array([-1 if i is None else i for i in found])
    for i in np.flatnonzero(exact < 0):  # two roundings of the same number
        exact[i] = np.linalg.norm(whole.mean_geometry - places[i], axis=1).argmin()
    assert np.linalg.norm(whole.mean_geometry[exact] - places, axis=1).max() < 0.01
    return exact, shift


def test_the_exported_mesh_is_a_head_as_another_reader_sees_it(lifelike):
    content = mesh_to_bytes(face_mesh(lifelike[1], Parameters.neutral()), "ply")
    mesh = trimesh.load(trimesh.util.wrap_as_stream(content), file_type="ply", process=False)
    width, height, depth = mesh.extents  # millimetres
    assert 120 < width < 170
    assert 130 < height < 260
    assert 80 < depth < 220
    # Most of the surface looks forward, and the nose is what lies farthest in front.
    assert mesh.face_normals[:, 2].mean() > 0.3
    tip = mesh.vertices[mesh.vertices[:, 2].argmax()]
    assert abs(tip[0]) < 3


def test_the_region_leaves_neck_and_back_of_the_head_out(raw2009, default_model):
    far = np.array([[0, -400.0, 0], [20, -400, 0], [0, -420, 0]])
    count = len(raw2009.geometry)
    wider = replace(
        raw2009,
        geometry=np.concatenate([raw2009.geometry, far]),
        triangles=np.concatenate([raw2009.triangles, [[count, count + 2, count + 1]]]),
        triangle_part=np.append(raw2009.triangle_part, np.uint8(0)),
        reflectance_mean=np.concatenate([raw2009.reflectance_mean, np.ones((3, 3))]),
        **{
            name: np.concatenate(
                [getattr(raw2009, name), np.zeros((9, getattr(raw2009, name).shape[1]), np.float32)]
            )
            for name in ("shape", "expression", "reflectance")
        },
    )
    cut = assemble(wider, replace(WHOLE, region="face"), default_model)
    kept = assemble(wider, WHOLE, default_model)
    assert kept.mean_geometry[:, 1].min() < -350
    assert cut.mean_geometry[:, 1].min() > -200
    assert cut.vertex_count < kept.vertex_count - 3  # the corners of the small model's sheet are far away too
    np.testing.assert_array_equal(
        np.diff(cut.mean_geometry[cut.landmarks], axis=0).round(3),
        np.diff(kept.mean_geometry[kept.landmarks], axis=0).round(3),
    )


def test_heads_of_another_size_or_pose_are_refused(raw2009, default_model):
    with pytest.raises(FaceModelError, match=r"outer eye corners are 0\.0"):
        assemble(replace(raw2009, geometry=raw2009.geometry / 1000), WHOLE, default_model)
    turned = raw2009.geometry @ rotation_matrix(np.array([np.pi, 0.0, 0.0])).T
    with pytest.raises(FaceModelError, match=r"looks along \+z"):
        assemble(replace(raw2009, geometry=turned), WHOLE, default_model)
    shifted = replace(raw2009, landmarks=np.roll(raw2009.landmarks, 20))
    with pytest.raises(FaceModelError, match="--landmarks"):
        assemble(shifted, WHOLE, default_model)
    few = np.where(np.arange(68) < 4, raw2009.landmarks, -1)
    with pytest.raises(FaceModelError, match="only 4 of the 68"):
        assemble(replace(raw2009, landmarks=few), WHOLE, default_model)


def test_the_command_writes_a_file_that_the_others_take(
    folder, tmp_path, synthetic_model, capsys, monkeypatch
):
    monkeypatch.setattr(importers, "ImportOptions", partial(ImportOptions, views=5))
    landmarks = tmp_path / "landmarks.txt"
    lines = ["# vertices from 0", *map(str, synthetic_model.landmarks)]
    landmarks.write_text("\n".join(lines))
    output = tmp_path / "models" / "bfm.npz"
    arguments = ["--kind", "bfm2009", "--input", str(folder / "01_MorphableModel.mat")]
    arguments += ["--expression", str(folder / "Exp_Pca.bin"), "--landmarks", str(landmarks)]
    assert main(["import-model", *arguments, "--output", str(output), "--region", "all"]) == 0
    figures = dict(pair.split("=", 1) for pair in capsys.readouterr().out.split())
    model = MorphableModel.load(output)
    assert figures["output"] == str(output)
    assert int(figures["vertices"]) == model.vertex_count
    assert model.digest.startswith(figures["digest"])
    assert 0 < float(figures["reflectance_error"]) < 0.1
    sheet = tmp_path / "sheet.png"
    options = ["--count", "2", "--size", "48", "--face-model", str(output), "--sheet", str(sheet)]
    assert main(["sample", *options]) == 0
    assert sheet.is_file()


def test_the_command_names_what_is_wrong(folder, tmp_path, capsys):
    output = str(tmp_path / "a.npz")
    start = ["import-model", "--input", str(folder / "01_MorphableModel.mat"), "--output", output]
    assert main([*start, "--kind", "bfm2009"]) == 1
    assert "--expression" in capsys.readouterr().err
    assert main([*start, "--kind", "bfm2017"]) == 1
    assert "no HDF5 file" in capsys.readouterr().err
    assert main([*start, "--kind", "ict"]) == 1
    assert "generic_neutral_mesh.obj" in capsys.readouterr().err
    h5 = ["--input", str(folder / "model2017.h5"), "--expression", "x"]
    assert main(["import-model", "--kind", "bfm2019", *h5, "--output", output]) == 1
    assert "leave --expression out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*start, "--kind", "bfm2009", "--vertices", "12"])
    with pytest.raises(SystemExit):
        main(["import-model", "--kind", "ict", "--input", "x", "--output", "model.bin"])
    assert not (tmp_path / "a.npz").exists()
