"""The shipped texture atlas: it belongs to the face model, overlaps nowhere, and is its own mirror image."""

from __future__ import annotations

import numpy as np
import pytest

from inversefacenet.errors import ExportError, FaceModelError
from inversefacenet.rasterizer import rasterize
from inversefacenet.texture import FaceAtlas, load_atlas
from inversefacenet.texture.atlas import mesh_digest
from inversefacenet.texture.unwrap import atlas_fragments

SIZE = 1024


@pytest.fixture(scope="module")
def atlas(default_model) -> FaceAtlas:
    return load_atlas(default_model)


def doubled_areas(atlas: FaceAtlas) -> np.ndarray:
    a, b, c = (atlas.uv[atlas.triangles[:, corner]].astype(np.float64) for corner in range(3))
    return (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]


def test_its_triangles_are_the_models_in_the_models_order(atlas, default_model):
    np.testing.assert_array_equal(atlas.vertex[atlas.triangles], default_model.triangles)
    count = default_model.vertex_count
    np.testing.assert_array_equal(atlas.vertex[:count], np.arange(count))
    # Doubled are only the vertices on the lips and the margins of four lids.
    assert 0 < len(atlas.vertex) - count < 250
    assert atlas.mesh_digest == mesh_digest(default_model.triangles)


def test_islands_do_not_share_vertices(atlas, default_model):
    part = np.full(len(atlas.uv), -1)
    for number in range(len(default_model.part_names)):
        corners = np.unique(atlas.triangles[default_model.triangle_part == number])
        assert (part[corners] == -1).all()
        part[corners] = number
    assert (part >= 0).all()


def test_it_lies_in_the_square_and_the_face_fills_it(atlas, default_model):
    assert atlas.uv.min() > 0
    assert atlas.uv.max() < 1
    areas = doubled_areas(atlas) / 2
    assert areas[default_model.triangle_part == 0].sum() > 0.6
    assert areas.sum() > 0.7


def test_nothing_is_folded_or_overlaps(atlas):
    areas = doubled_areas(atlas)
    assert areas.min() > 0
    # Without folds, overlapping islands would cover fewer texels than their triangles' areas add up to.
    covered = atlas_fragments(atlas, SIZE, slice(0, SIZE)).mask.mean()
    assert covered == pytest.approx(areas.sum() / 2, abs=2e-3)


def test_each_texel_lies_in_one_triangle_only(atlas):
    """The rasterizer keeps the first triangle; drawn in the opposite order the last must be the same."""
    forward = atlas_fragments(atlas, SIZE, slice(0, SIZE)).triangle
    points = np.ones((len(atlas.uv), 3), np.float32)
    points[:, 0], points[:, 1] = atlas.uv[:, 0] * SIZE, (1 - atlas.uv[:, 1]) * SIZE
    count = len(atlas.triangles)
    backward = count - 1 - rasterize(points, atlas.triangles[::-1], SIZE, SIZE).triangle
    differs = (forward != backward) & (forward >= 0)
    # Texel centres exactly on an edge belong to both sides of it.
    shared = [
        len(np.intersect1d(atlas.triangles[a], atlas.triangles[b])) > 0
        for a, b in zip(forward[differs], backward[differs], strict=True)
    ]
    assert all(shared)
    assert differs.mean() < 2e-3


def test_islands_keep_apart(atlas, default_model):
    """No texel of one island is next to one of another, so that filters don't mix them."""
    triangle = atlas_fragments(atlas, SIZE, slice(0, SIZE)).triangle
    part = np.append(default_model.triangle_part.astype(int), -1)[triangle]
    for step in range(1, 5):
        for near, far in ((part[:, :-step], part[:, step:]), (part[:-step], part[step:])):
            both = (near >= 0) & (far >= 0)
            assert (near[both] == far[both]).all()


def test_it_is_its_own_mirror_image(atlas, default_model):
    mean = default_model.mean_geometry[atlas.vertex].astype(np.float64)
    nose = int(default_model.landmarks[30])
    left_eye, right_eye = default_model.landmarks[[45, 36]]
    assert atlas.uv[nose, 0] == pytest.approx(0.5, abs=1e-6)
    # The subject's left is at the right, the eyes above the nose.
    assert atlas.uv[left_eye, 0] > 0.5 > atlas.uv[right_eye, 0]
    assert atlas.uv[left_eye, 1] > atlas.uv[nose, 1]
    np.testing.assert_allclose(atlas.uv[left_eye] * [-1, 1] + [1, 0], atlas.uv[right_eye], atol=1e-6)
    mirrored = atlas.uv * np.array([-1, 1], np.float32) + np.array([1, 0], np.float32)
    order, other = (np.lexsort(np.round(uv * 65536).astype(int).T) for uv in (atlas.uv, mirrored))
    np.testing.assert_array_equal(atlas.uv[order], mirrored[other])
    # The mean face is a mean of sampled heads, so it is only nearly symmetric.
    np.testing.assert_allclose(mean[order] * [-1, 1, 1], mean[other], atol=0.3)


def test_coverage_is_exactly_symmetric(atlas):
    mask = atlas_fragments(atlas, 512, slice(0, 512)).mask
    assert (mask != mask[:, ::-1]).mean() < 1e-3


def test_a_round_trip_gives_the_same_bytes(atlas):
    content = atlas.to_bytes()
    again = FaceAtlas.from_bytes(content)
    np.testing.assert_array_equal(again.uv, atlas.uv)
    np.testing.assert_array_equal(again.triangles, atlas.triangles)
    assert again.to_bytes() == content


def test_the_shipped_file_is_what_to_bytes_writes(atlas, root):
    shipped = np.load(root / "inversefacenet" / "assets" / "face_atlas.npz")
    np.testing.assert_array_equal(shipped["uv"], np.rint(atlas.uv * 65536).astype(np.uint32))
    assert (root / "inversefacenet" / "assets" / "face_atlas.npz").stat().st_size < 300_000


def test_another_mesh_is_refused_with_advice(synthetic_model):
    with pytest.raises(ExportError, match=r"'synthetic'.*colours='shaded' or colours='reflectance'"):
        load_atlas(synthetic_model)


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all"])
def test_damaged_content_is_refused(content):
    with pytest.raises(FaceModelError, match="damaged"):
        FaceAtlas.from_bytes(content)


def test_another_format_is_refused(atlas, tmp_path):
    path = tmp_path / "atlas.npz"
    path.write_bytes(atlas.to_bytes())
    with np.load(path) as archive:
        values = dict(archive)
    np.savez(path, **{**values, "format_version": np.int32(9)})
    with pytest.raises(FaceModelError, match="format 9"):
        FaceAtlas.from_bytes(path.read_bytes())
