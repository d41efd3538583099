"""Meshes that wear their photo, and meshes that lie over it, opened with trimesh and Assimp."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import assimp_py
import numpy as np
import pytest
import trimesh
from PIL import Image
from textured_faces import HEIGHT, WIDTH, at, parameters, pattern, photo_of, reconstruction_of

from inversefacenet.errors import ExportError, ImageError
from inversefacenet.export import Mesh, face_mesh, mesh_files, mesh_of, mesh_to_bytes, write_mesh
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import rasterize
from inversefacenet.rendering import render
from inversefacenet.texture import PHOTO, load_atlas, unwrap_photo

SIZE = 512


@pytest.fixture(scope="module")
def face(default_model):
    return photo_of(default_model, parameters(yaw=0.3, pitch=0.1), pattern())


@pytest.fixture(scope="module")
def mesh(face) -> Mesh:
    photo, reconstruction = face
    return mesh_of(reconstruction, "photo", "photo", photo, SIZE)


@pytest.fixture(scope="module")
def texture(face) -> np.ndarray:
    return unwrap_photo(*face, size=SIZE)


def gltf_tree(content: bytes) -> dict:
    return json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])


def opened(content: bytes) -> trimesh.Trimesh:
    (geometry,) = trimesh.load_scene(io.BytesIO(content), file_type="glb", process=False).geometry.values()
    return geometry


def camera_pixels(tree: dict, vertices: np.ndarray) -> np.ndarray:
    """Project by the file's own camera (glTF 2.0, 3.10.3.3), onto pixels of the photo's size."""
    (node,) = (node for node in tree["nodes"] if "camera" in node)
    (camera,) = tree["cameras"]
    assert camera["type"] == "orthographic"
    lens = camera["orthographic"]
    local = vertices - np.array(node["translation"])
    assert (-local[:, 2]).min() > lens["znear"] > 0
    assert (-local[:, 2]).max() < lens["zfar"]
    normal = local[:, :2] / [lens["xmag"], lens["ymag"]]
    size = 2 * np.array([lens["xmag"], lens["ymag"]])
    return (normal * [1, -1] + 1) / 2 * size


def test_glb_through_its_camera_shows_the_photo(default_model, face, mesh, texture):
    """Points of the mesh, seen by the file's camera, have the photo's colours by trimesh's own lookup."""
    photo, _ = face
    content = mesh_to_bytes(mesh, "glb")
    geometry = opened(content)
    pixels = camera_pixels(gltf_tree(content), np.asarray(geometry.vertices, float))
    rng = np.random.default_rng(1)
    skin = np.flatnonzero(default_model.painted & (default_model.triangle_part == 0))
    chosen, weights = rng.choice(skin, 3000), rng.dirichlet([1, 1, 1], 3000)
    corners = np.asarray(geometry.faces)[chosen]
    uv = np.einsum("nkc,nk->nc", geometry.visual.uv[corners], weights)
    where = np.einsum("nkc,nk->nc", pixels[corners], weights)
    colours = trimesh.visual.color.uv_to_color(uv, geometry.visual.material.baseColorTexture)[:, :3]
    source = texture.source[((1 - uv[:, 1]) * SIZE).astype(int), (uv[:, 0] * SIZE).astype(int)]
    shown = source == PHOTO
    assert shown.sum() > 1200
    error = np.abs(colours.astype(float) - at(photo, where[:, 0], where[:, 1]))[shown]
    assert np.median(error) < 3
    assert np.percentile(error, 95) < 12


def test_the_photos_space_is_the_overlays(default_model, face, mesh):
    photo, reconstruction = face
    atlas = load_atlas(default_model)
    assert mesh.photo_size == (WIDTH, HEIGHT)
    expected = reconstruction.photo_points()[atlas.vertex]
    np.testing.assert_allclose(mesh.vertices[:, 0], expected[:, 0], atol=1e-3)
    np.testing.assert_allclose(mesh.vertices[:, 1], HEIGHT - expected[:, 1], atol=1e-3)
    tree = gltf_tree(mesh_to_bytes(mesh, "glb"))
    pixels = camera_pixels(tree, mesh.vertices.astype(float))
    np.testing.assert_allclose(pixels, expected, atol=0.01)
    # What a parallel view of it covers, and which triangle comes first, is what the perspective view sees.
    nearness = (mesh.vertices[:, 2:] - mesh.vertices[:, 2].min()) / 1000 + 1
    points = np.concatenate([pixels, nearness], axis=1).astype(np.float32)
    parallel = rasterize(points, mesh.triangles, HEIGHT, WIDTH)
    seen = render(
        default_model,
        reconstruction.parameters,
        placement=reconstruction.photo_placement,
        shape=photo.shape[:2],
    ).fragments
    assert (parallel.triangle != seen.triangle).mean() < 2e-3


def test_depth_is_in_pixels_towards_the_viewer(default_model, face, mesh):
    """At the head's pivot a millimetre has as many pixels in depth as across."""
    _, reconstruction = face
    atlas = load_atlas(default_model)
    depth = reconstruction.rendering.vertices[atlas.vertex, 2]
    near = np.abs(depth) < 3
    pixel = reconstruction.photo_placement.scale / 700
    np.testing.assert_allclose(mesh.vertices[near, 2], depth[near] * pixel, atol=0.05)
    assert mesh.vertices[depth.argmax(), 2] == mesh.vertices[:, 2].max()


def test_glb_embeds_an_unlit_texture(mesh, texture):
    content = mesh_to_bytes(mesh, "glb")
    tree = gltf_tree(content)
    (primitive,) = tree["meshes"][0]["primitives"]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0"}
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]
    (material,) = tree["materials"]
    assert "KHR_materials_unlit" in material["extensions"]
    assert material["pbrMetallicRoughness"]["baseColorTexture"] == {"index": 0}
    (image,) = tree["images"]
    view = tree["bufferViews"][image["bufferView"]]
    start = 28 + int.from_bytes(content[12:16], "little") + view["byteOffset"]
    stored = Image.open(io.BytesIO(content[start : start + view["byteLength"]]))
    assert (stored.format, image["mimeType"], stored.size) == ("JPEG", "image/jpeg", (SIZE, SIZE))
    assert np.abs(np.asarray(stored, float) - texture.image).mean() < 3
    assert int.from_bytes(content[8:12], "little") == len(content)
    assert tree["buffers"][0]["byteLength"] + 28 + int.from_bytes(content[12:16], "little") == len(content)


def test_texture_coordinates_count_downwards_in_glb_and_upwards_in_obj(mesh, tmp_path):
    """Assimp turns glTF's around when it reads; both files then say the same as the atlas."""
    for ending in ("glb", "obj"):
        (path, *_) = write_mesh(mesh, tmp_path / f"face.{ending}")
        scene = assimp_py.import_file(str(path), 0)
        (read,) = scene.meshes
        index = np.array(read.indices)
        found = np.array(read.texcoords[0]).reshape(-1, read.num_uv_components[0])[index, :2]
        np.testing.assert_allclose(found, mesh.texture.uv[mesh.triangles.ravel()], atol=1e-5)
    tree = gltf_tree(mesh_to_bytes(mesh, "glb"))
    number = tree["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]
    view = tree["bufferViews"][tree["accessors"][number]["bufferView"]]
    content = mesh_to_bytes(mesh, "glb")
    start = 28 + int.from_bytes(content[12:16], "little") + view["byteOffset"]
    raw = np.frombuffer(content[start : start + view["byteLength"]], "<f4").reshape(-1, 2)
    np.testing.assert_allclose(raw, mesh.texture.uv * [1, -1] + [0, 1], atol=1e-6)


def test_obj_names_a_texture_beside_it(face, texture, tmp_path):
    photo, reconstruction = face
    worn = mesh_of(reconstruction, "model", "photo", photo, SIZE)
    written = write_mesh(worn, tmp_path / "my face.obj")
    assert [path.name for path in written] == ["my face.obj", "my_face.mtl", "my_face.jpg"]
    assert "map_Kd my_face.jpg" in written[1].read_text()
    read = trimesh.load_mesh(written[0], process=False)
    picture = read.visual.material.image
    assert np.abs(np.asarray(picture.convert("RGB"), float) - texture.image).mean() < 3
    corners = np.asarray(read.vertices)[np.asarray(read.faces)]
    np.testing.assert_allclose(corners, worn.vertices[worn.triangles], atol=1e-4)
    with zipfile.ZipFile(io.BytesIO(mesh_to_bytes(worn, "obj"))) as archive:
        assert sorted(archive.namelist()) == ["face.jpg", "face.mtl", "face.obj"]


def test_ply_takes_vertex_colours_from_the_texture(face, texture):
    photo, reconstruction = face
    worn = mesh_of(reconstruction, "model", "photo", photo, SIZE)
    read = trimesh.load_mesh(io.BytesIO(mesh_to_bytes(worn, "ply")), file_type="ply", process=False)
    np.testing.assert_allclose(read.vertices, worn.vertices, atol=1e-4)
    uv = worn.texture.uv
    expected = at(texture.image, uv[:, 0] * SIZE, (1 - uv[:, 1]) * SIZE)
    colours = np.asarray(read.visual.vertex_colors, float)[:, :3]
    assert np.median(np.abs(colours - expected)) < 3


def test_positions_and_normals_stay_the_plain_meshs(default_model, face):
    photo, reconstruction = face
    count = default_model.vertex_count
    for space in ("model", "camera"):
        plain = face_mesh(default_model, reconstruction.parameters, space)
        worn = mesh_of(reconstruction, space, "photo", photo, SIZE)
        np.testing.assert_array_equal(worn.vertices[:count], plain.vertices)
        np.testing.assert_array_equal(worn.vertices[worn.triangles], plain.vertices[plain.triangles])
        with_colours, with_texture = opened(mesh_to_bytes(plain, "glb")), opened(mesh_to_bytes(worn, "glb"))
        np.testing.assert_allclose(
            with_texture.vertex_normals[:count], with_colours.vertex_normals, atol=1e-5
        )


@pytest.mark.parametrize("colours", ["reflectance", "shaded"])
def test_the_photos_space_goes_with_vertex_colours_too(face, colours):
    photo, reconstruction = face
    laid = mesh_of(reconstruction, "photo", colours, photo)
    assert laid.texture is None
    assert laid.shaded == (colours == "shaded")
    tree = gltf_tree(mesh_to_bytes(laid, "glb"))
    assert tree["cameras"][0]["orthographic"]["xmag"] == WIDTH / 2
    assert "COLOR_0" in tree["meshes"][0]["primitives"][0]["attributes"]
    assert b"pixels of the photo" in mesh_files(laid, "obj")["face.obj"][:80]


def test_the_same_face_gives_the_same_bytes(face, mesh):
    photo, reconstruction = face
    again = mesh_of(reconstruction, "photo", "photo", photo, SIZE)
    for file_format in ("glb", "obj"):
        assert mesh_to_bytes(again, file_format) == mesh_to_bytes(mesh, file_format)


def test_what_needs_the_photo_says_so(face):
    _, reconstruction = face
    for space, colours in (("photo", "shaded"), ("model", "photo")):
        with pytest.raises(ExportError, match="need the photo"):
            mesh_of(reconstruction, space, colours)
        with pytest.raises(ExportError, match="Parameters hold no photo"):
            face_mesh(reconstruction.model, reconstruction.parameters, space, colours)


def test_a_wrong_texture_size_is_refused(face):
    photo, reconstruction = face
    with pytest.raises(ExportError, match="from 256 to 4096"):
        mesh_of(reconstruction, "model", "photo", photo, 100)


def test_other_face_models_lie_over_their_photo_but_have_no_texture(synthetic_model):
    drawn = render(synthetic_model, Parameters.neutral())
    reconstruction = reconstruction_of(synthetic_model, Parameters.neutral(), drawn.image, drawn.landmarks)
    laid = mesh_of(reconstruction, "photo", "shaded", drawn.image)
    assert laid.photo_size == (240, 240)
    with pytest.raises(ExportError, match="colours='shaded' or colours='reflectance'"):
        mesh_of(reconstruction, "model", "photo", drawn.image)


def test_another_photo_is_refused(synthetic_model):
    drawn = render(synthetic_model, Parameters.neutral())
    reconstruction = replace(
        reconstruction_of(synthetic_model, Parameters.neutral(), drawn.image, drawn.landmarks),
        photo_size=(240, 200),
    )
    for space, colours in (("photo", "shaded"), ("model", "photo")):
        with pytest.raises(ImageError, match=r"240 x 240 pixels, .* reconstructed 240 x 200"):
            mesh_of(reconstruction, space, colours, drawn.image)
    assert mesh_of(reconstruction, "model", "shaded", drawn.image).photo_size is None
