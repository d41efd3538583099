"""Meshes are opened with Assimp, which shares no code with what writes them."""

from __future__ import annotations

import io
import json
import struct
import sys
import zipfile
from dataclasses import dataclass, replace

import assimp_py
import numpy as np
import pytest

from inversefacenet.colour import to_uint8
from inversefacenet.errors import ExportError, MissingDependencyError
from inversefacenet.export import (
    MEDIA_TYPES,
    MESH_FORMATS,
    Mesh,
    face_mesh,
    mesh_files,
    mesh_format,
    mesh_to_bytes,
    write_mesh,
)
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render


@dataclass
class Opened:
    """What Assimp read, corner by corner: readers may merge and renumber vertices."""

    corners: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    material: dict


def opened(path) -> Opened:
    scene = assimp_py.import_file(str(path), 0)
    (mesh,) = scene.meshes
    index = np.array(mesh.indices).reshape(-1, 3)
    return Opened(
        np.array(mesh.vertices).reshape(-1, 3)[index],
        np.array(mesh.normals).reshape(-1, 3)[index],
        np.array(mesh.colors[0]).reshape(-1, 4)[index],
        scene.materials[mesh.material_index],
    )


@pytest.fixture(scope="module")
def model(default_model) -> MorphableModel:
    return default_model


@pytest.fixture(scope="module")
def parameters(model) -> Parameters:
    rng = np.random.default_rng(3)
    vector = Parameters.neutral().vector()
    vector[:3] = 0.5, 0.1, -0.2
    vector[3:195] = rng.normal(0, 0.7, 192)
    vector[326:350] = rng.uniform(-0.15, 0.15, 24)
    return Parameters.from_vector(vector)


@pytest.fixture(scope="module")
def mesh(model, parameters) -> Mesh:
    return face_mesh(model, parameters)


def square(*colours: float, shaded: bool = False) -> Mesh:
    """Two triangles that face +z, each vertex of one grey."""
    vertices = np.array([[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    greys = np.resize(np.array(colours, np.float32), 4)
    return Mesh(vertices, triangles, np.repeat(greys[:, None], 3, axis=1), shaded=shaded)


def glb_json(content: bytes) -> dict:
    magic, version, length, json_length = struct.unpack("<4sIII", content[:16])
    assert (magic, version, length) == (b"glTF", 2, len(content))
    return json.loads(content[20 : 20 + json_length])


@pytest.mark.parametrize("file_format", MESH_FORMATS)
def test_another_reader_sees_the_same_triangles_in_the_format_s_unit(mesh, tmp_path, file_format):
    (path, *_) = write_mesh(mesh, tmp_path / f"face.{file_format}")
    unit = 0.001 if file_format == "glb" else 1.0
    expected = mesh.vertices[mesh.triangles] * unit
    seen = opened(path)
    # Corner by corner: number, order and orientation of triangles, and the bounding box, all at once.
    np.testing.assert_allclose(seen.corners, expected, atol=2e-6 if file_format == "glb" else 1e-4)
    height = np.ptp(seen.corners[..., 1])
    assert 0.12 * unit * 1000 < height < 0.4 * unit * 1000


@pytest.mark.parametrize("file_format", MESH_FORMATS)
def test_triangles_turn_counter_clockwise_from_outside(mesh, tmp_path, file_format):
    (path, *_) = write_mesh(mesh, tmp_path / f"face.{file_format}")
    seen = opened(path)
    a, b, c = (seen.corners[:, i] for i in range(3))
    facing = np.cross(b - a, c - a)
    assert facing[:, 2].sum() > 0
    agreement = np.einsum("tx,tx->t", facing, seen.normals.mean(axis=1))
    assert (agreement > 0).mean() > 0.98
    np.testing.assert_allclose(np.linalg.norm(seen.normals, axis=-1), 1, atol=1e-3)


@pytest.mark.parametrize(
    ("file_format", "tolerance"), [("glb", 1 / 65535), ("obj", 0.51 / 255), ("ply", 0.51 / 255)]
)
def test_colours_are_linear_in_gltf_and_srgb_elsewhere(mesh, tmp_path, file_format, tolerance):
    (path, *_) = write_mesh(mesh, tmp_path / f"face.{file_format}")
    expected = mesh.colours[mesh.triangles]
    if file_format != "glb":
        expected = to_uint8(expected) / 255
    seen = opened(path)
    np.testing.assert_allclose(seen.colours[..., :3], expected, atol=tolerance)
    np.testing.assert_array_equal(seen.colours[..., 3], 1)


def test_the_worked_value_of_the_convention(tmp_path):
    grey = {}
    for file_format in MESH_FORMATS:
        (path, *_) = write_mesh(square(0.5), tmp_path / f"square.{file_format}")
        grey[file_format] = float(opened(path).colours[0, 0, 0])
    assert grey["glb"] == pytest.approx(32768 / 65535, abs=1e-6)
    assert grey["obj"] == pytest.approx(0.7373, abs=5e-5)
    assert grey["ply"] == pytest.approx(188 / 255, abs=1e-6)


def test_dark_colours_keep_their_steps_in_gltf(tmp_path):
    write_mesh(square(0.0005, 0.0010, 0.0015, 0.0020), tmp_path / "dark.glb")
    # 0.0020 is half an 8-bit step: eight linear bits would make all four black or equal.
    assert len(np.unique(opened(tmp_path / "dark.glb").colours[..., 0])) == 4


def test_colours_out_of_range_are_clipped(tmp_path):
    write_mesh(square(-0.5, 1.7), tmp_path / "square.glb")
    colours = opened(tmp_path / "square.glb").colours[..., 0]
    assert colours.min() == 0
    assert colours.max() == 1


def test_vertices_keep_the_model_s_numbers(mesh, model):
    tree = glb_json(mesh_to_bytes(mesh, "glb"))
    (primitive,) = tree["meshes"][0]["primitives"]
    counts = {name: tree["accessors"][index]["count"] for name, index in primitive["attributes"].items()}
    assert counts == dict.fromkeys(("POSITION", "NORMAL", "COLOR_0"), model.vertex_count)
    assert f"element vertex {model.vertex_count}\n".encode() in mesh_to_bytes(mesh, "ply")[:500]
    lines = mesh_files(mesh, "obj")["face.obj"].decode().splitlines()
    assert sum(line.startswith("v ") for line in lines) == model.vertex_count


def test_shaded_colours_are_not_lit_again():
    tree = glb_json(mesh_to_bytes(square(0.5, shaded=True), "glb"))
    assert "KHR_materials_unlit" in tree["materials"][0]["extensions"]
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]
    assert "illum 0" in mesh_files(square(0.5, shaded=True), "obj")["face.mtl"].decode()
    lit = glb_json(mesh_to_bytes(square(0.5), "glb"))
    assert "extensions" not in lit["materials"][0]
    assert lit["materials"][0]["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert "illum 1" in mesh_files(square(0.5), "obj")["face.mtl"].decode()


@pytest.mark.parametrize("stem", ["face", "two words", "photo.v2.1"])
def test_obj_names_the_material_file_that_lies_beside_it(tmp_path, stem):
    written = write_mesh(square(0.5), tmp_path / f"{stem}.obj")
    assert [path.suffix for path in written] == [".obj", ".mtl"]
    assert written[0].name == f"{stem}.obj"
    (line,) = [line for line in written[0].read_text().splitlines() if line.startswith("mtllib")]
    assert line.split() == ["mtllib", written[1].name]
    material = opened(written[0]).material
    assert material["NAME"] == "face"
    assert material["COLOR_DIFFUSE"] == [1, 1, 1]


def test_obj_as_bytes_is_an_archive_of_both_files():
    content = mesh_to_bytes(square(0.5), "obj")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert sorted(archive.namelist()) == ["face.mtl", "face.obj"]
        assert archive.read("face.obj") == mesh_files(square(0.5), "obj")["face.obj"]
    assert set(MEDIA_TYPES) == set(MESH_FORMATS)


@pytest.mark.parametrize("file_format", MESH_FORMATS)
def test_the_same_mesh_gives_the_same_bytes(file_format):
    assert mesh_to_bytes(square(0.2), file_format) == mesh_to_bytes(square(0.2), file_format)


def test_spaces_and_colours_of_a_face(model, parameters):
    rendering = render(model, parameters)
    straight = face_mesh(model, parameters)
    np.testing.assert_array_equal(straight.vertices, model.geometry(parameters.shape, parameters.expression))
    np.testing.assert_array_equal(straight.colours, np.clip(model.reflectance(parameters.reflectance), 0, 1))
    turned = face_mesh(model, parameters, space="camera", colours="shaded")
    np.testing.assert_array_equal(turned.vertices, rendering.vertices)
    np.testing.assert_array_equal(turned.colours, np.clip(rendering.colours, 0, 1))
    assert turned.shaded
    assert not straight.shaded


def test_unknown_formats_are_refused(tmp_path):
    with pytest.raises(ExportError, match="glb, obj, ply, not as 'stl'"):
        write_mesh(square(0.5), tmp_path / "face.stl")
    with pytest.raises(ExportError, match="not as ''"):
        mesh_format(tmp_path / "face")
    assert mesh_format(tmp_path / "FACE.GLB") == "glb"
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_not_finite_are_refused():
    broken = square(0.5)
    broken.vertices[1, 2] = np.nan
    with pytest.raises(ExportError, match="finite"):
        mesh_to_bytes(broken, "ply")


def test_without_trimesh_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[export\]"):
        mesh_to_bytes(square(0.5), "ply")


def test_glb_needs_no_trimesh(monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    assert mesh_to_bytes(square(0.5), "glb")[:4] == b"glTF"


def test_normals_without_a_direction_point_to_the_viewer():
    lonely = square(0.5)
    normals = np.zeros_like(lonely.vertices)
    normals[1] = [3, 0, 4]
    content = mesh_to_bytes(replace(lonely, normals=normals), "glb")
    length = int.from_bytes(content[12:16], "little")
    tree, buffer = json.loads(content[20 : 20 + length]), content[28 + length :]
    index = tree["meshes"][0]["primitives"][0]["attributes"]["NORMAL"]
    view = tree["bufferViews"][tree["accessors"][index]["bufferView"]]
    written = np.frombuffer(buffer, "<f4", 6, view["byteOffset"]).reshape(2, 3)
    np.testing.assert_allclose(written, [[0, 0, 1], [0.6, 0, 0.8]], atol=1e-6)
