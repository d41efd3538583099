"""Photos unwrapped to textures, held against textures that are known and against plain code."""

from __future__ import annotations

import numpy as np
import pytest
from textured_faces import WIDTH, at, parameters, pattern, photo_of, reconstruction_of

from inversefacenet.camera import CAMERA_DISTANCE
from inversefacenet.errors import ExportError
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.texture import MIRRORED, MODEL, NOTHING, PHOTO, load_atlas, unwrap, unwrap_photo
from inversefacenet.texture.pull_push import pull_push
from inversefacenet.texture.sampling import PhotoSampler

SIZE = 512


@pytest.fixture(scope="module")
def frontal(default_model):
    return photo_of(default_model, parameters(), pattern())


@pytest.fixture(scope="module")
def turned(default_model):
    """The face looks to the photo's right: its left side, at the atlas's right, is hidden."""
    return photo_of(default_model, parameters(yaw=0.65), pattern())


def coarse_pattern() -> np.ndarray:
    return pattern().reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))


def texel_parts(model, size: int = SIZE) -> np.ndarray:
    triangle = unwrap.atlas_fragments(load_atlas(model), size, slice(0, size)).triangle
    return np.append(model.triangle_part.astype(int), -1)[triangle]


def test_a_known_texture_comes_back(default_model, frontal):
    texture = unwrap_photo(*frontal, size=SIZE)
    shown = (texture.source == PHOTO) & (texel_parts(default_model) == 0)
    assert shown.mean() > 0.25
    error = np.abs(texture.image[shown] - coarse_pattern()[shown])
    assert np.median(error) < 2
    assert np.percentile(error, 95) < 8


def test_the_visible_surface_has_the_photos_colours(default_model, frontal):
    """Random points of the mesh: the texture at their uv is the photo where they project to."""
    photo, reconstruction = frontal
    texture, atlas = unwrap_photo(photo, reconstruction, size=1024), load_atlas(default_model)
    rng = np.random.default_rng(0)
    chosen = rng.choice(np.flatnonzero(default_model.painted & (default_model.triangle_part == 0)), 4000)
    weights = rng.dirichlet([1, 1, 1], len(chosen))
    uv = np.einsum("nkc,nk->nc", atlas.uv[atlas.triangles[chosen]].astype(float), weights)
    source = texture.source[((1 - uv[:, 1]) * 1024).astype(int), (uv[:, 0] * 1024).astype(int)]
    corners = reconstruction.rendering.vertices[default_model.triangles[chosen]].astype(float)
    points = np.einsum("nkc,nk->nc", corners, weights)
    placement = reconstruction.photo_placement
    depth = CAMERA_DISTANCE - points[:, 2]
    x = placement.scale * points[:, 0] / depth + placement.offset[0]
    y = -placement.scale * points[:, 1] / depth + placement.offset[1]
    shown = source == PHOTO
    # The rest lies within the lips, the nostrils and the folds of the lids, where triangles are small.
    assert shown.mean() > 0.6
    difference = np.abs(at(texture.image, uv[:, 0] * 1024, (1 - uv[:, 1]) * 1024) - at(photo, x, y))[shown]
    assert np.median(difference) < 1.5
    assert np.percentile(difference, 97) < 6


def test_the_hidden_side_mirrors_the_visible_one(default_model, turned):
    texture = unwrap_photo(*turned, size=SIZE)
    skin = texel_parts(default_model) == 0
    mirrored = (texture.source == MIRRORED) & skin
    # The hidden half of the atlas is the right one.
    assert mirrored[:, SIZE // 2 :].mean() > 0.05
    assert mirrored[:, : SIZE // 2].mean() < 0.02
    error = np.abs(texture.image[mirrored] - coarse_pattern()[mirrored])
    assert np.median(error) < 6
    assert np.percentile(error, 90) < 25


def test_sources_blend_without_a_seam(default_model, turned):
    """Neighbouring texels of different sources differ no more than the pattern itself does there."""
    texture = unwrap_photo(*turned, size=SIZE)
    skin = texel_parts(default_model) == 0
    both = skin[:, 1:] & skin[:, :-1]
    seam = both & (texture.source[:, 1:] != texture.source[:, :-1])
    step = np.abs(np.diff(texture.image.astype(float), axis=1)).max(axis=2)
    assert seam.sum() > 100
    assert step[seam].mean() < step[both].mean() + 4


def test_what_faces_away_or_is_covered_is_not_taken_from_the_photo(default_model, turned):
    photo, reconstruction = turned
    texture, atlas = unwrap_photo(photo, reconstruction, size=SIZE), load_atlas(default_model)
    vertices = reconstruction.rendering.vertices
    corners = vertices[default_model.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    away = (normals * (np.array([0, 0, CAMERA_DISTANCE]) - corners.mean(axis=1))).sum(axis=1) < 0
    middle = atlas.uv[atlas.triangles].mean(axis=1)
    source = texture.source[((1 - middle[:, 1]) * SIZE).astype(int), (middle[:, 0] * SIZE).astype(int)]
    assert away.mean() > 0.2
    assert (source[away] == PHOTO).mean() < 0.01
    assert set(np.unique(texture.source)) == {NOTHING, PHOTO, MIRRORED, MODEL}


@pytest.mark.parametrize("yaw", [0.0, 0.5])
def test_the_background_does_not_bleed_in(default_model, yaw):
    """Skin on a green screen: no texel is green, even if the fit is off by two pixels of the crop."""
    photo, reconstruction = photo_of(default_model, parameters(yaw), None, background=(0, 255, 0))
    span = np.ptp(reconstruction.face.landmarks, axis=0).max() / 240
    moved = reconstruction.face.landmarks + np.float32(2 * span)
    shifted = reconstruction_of(default_model, reconstruction.parameters, photo, moved)
    texture = unwrap_photo(photo, shifted, size=SIZE)
    image = texture.image.astype(int)[texture.source != NOTHING]
    green = image[:, 1] - image[:, [0, 2]].max(axis=1)
    # At the outer corner of the farther eye a few texels may be.
    assert (green > 30).mean() < 1e-4


def test_outside_the_photo_nothing_is_taken_from_it(default_model):
    photo, reconstruction = photo_of(default_model, parameters(), pattern(), shift=(WIDTH / 2, 0))
    texture = unwrap_photo(photo, reconstruction, size=SIZE)
    skin = texel_parts(default_model) == 0
    assert (texture.source[:, : SIZE // 2][skin[:, : SIZE // 2]] == PHOTO).mean() > 0.2
    assert not (texture.source[:, SIZE // 2 + 4 :][skin[:, SIZE // 2 + 4 :]] == PHOTO).any()
    mirrored = (texture.source == MIRRORED) & skin
    assert np.median(np.abs(texture.image[mirrored] - coarse_pattern()[mirrored])) < 6


def test_fine_detail_is_averaged_not_aliased(default_model):
    """Pixels in stripes, black and white, read at an eighth of the photo's resolution, are grey."""
    photo, reconstruction = photo_of(default_model, parameters(), pattern(), scale=3.0)
    striped = photo.copy()
    striped[:, ::2], striped[:, 1::2] = 0, 255
    texture = unwrap_photo(striped, reconstruction, size=256)
    core = texture.image[110:140, 100:156][texture.source[110:140, 100:156] == PHOTO]
    assert len(core) > 800
    assert core.std() < 12


def test_islands_are_surrounded_by_their_own_colours(default_model, frontal):
    texture = unwrap_photo(*frontal, size=SIZE)
    inside = texture.source != NOTHING
    image = texture.image.astype(int)
    for axis in (0, 1):
        here, there = (np.take(inside, range(*r), axis=axis) for r in ((0, SIZE - 1), (1, SIZE)))
        step = np.abs(np.diff(image, axis=axis)).max(axis=2)
        assert np.percentile(step[here != there], 99) < 30
    # Nothing is black: coarser copies of the texture don't darken at the edges.
    assert image[~inside].max(axis=1).min() > 20


def test_strips_make_no_difference(default_model, turned, monkeypatch):
    whole = unwrap_photo(*turned, size=SIZE)
    monkeypatch.setattr(unwrap, "_STRIP_TEXELS", SIZE * 100)
    strips = unwrap_photo(*turned, size=SIZE)
    np.testing.assert_array_equal(strips.source, whole.source)
    difference = np.abs(strips.image.astype(int) - whole.image)
    assert difference.max() <= 2
    assert difference.mean() < 0.01


def test_sizes_show_the_same_face(frontal):
    large = unwrap_photo(*frontal, size=1024).image.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
    small = unwrap_photo(*frontal, size=SIZE).image
    assert np.abs(large - small).mean() < 3


def test_the_photo_stays_and_the_answer_is_the_same_again(frontal):
    photo, reconstruction = frontal
    before = photo.copy()
    first, second = (unwrap_photo(photo, reconstruction, size=256) for _ in range(2))
    np.testing.assert_array_equal(photo, before)
    np.testing.assert_array_equal(first.image, second.image)


@pytest.mark.parametrize("size", [0, 255, 4097])
def test_sizes_out_of_range_are_refused(frontal, size):
    with pytest.raises(ExportError, match=f"from 256 to 4096 texels on a side, not {size}"):
        unwrap_photo(*frontal, size=size)


def test_a_model_without_an_atlas_is_refused(synthetic_model):
    drawn = render(synthetic_model, Parameters.neutral())
    reconstruction = reconstruction_of(synthetic_model, Parameters.neutral(), drawn.image, drawn.landmarks)
    with pytest.raises(ExportError, match="no texture atlas"):
        unwrap_photo(drawn.image, reconstruction)


def test_pull_push_keeps_what_is_known_and_continues_it(rng):
    values = np.zeros((33, 50, 2), np.float32)
    weights = np.zeros((33, 50), np.float32)
    values[5, 7], values[30, 44] = (1, -1), (3, 5)
    weights[5, 7] = weights[30, 44] = 1
    everywhere = pull_push(values, weights, np.zeros(2, np.float32))
    np.testing.assert_allclose(everywhere[5, 7], [1, -1], atol=1e-6)
    np.testing.assert_allclose(everywhere[30, 44], [3, 5], atol=1e-6)
    assert everywhere[..., 0].min() > 0.9
    assert everywhere[..., 0].max() < 3.1
    assert everywhere[4, 6, 0] < 1.5
    assert everywhere[29, 45, 0] > 2.5


def test_pull_push_without_anything_known_gives_the_prior():
    prior = np.array([0.25, 7], np.float32)
    everywhere = pull_push(np.ones((9, 16, 2), np.float32), np.zeros((9, 16), np.float32), prior)
    np.testing.assert_allclose(everywhere, np.broadcast_to(prior, everywhere.shape), rtol=1e-5)


def test_the_sampler_interpolates_in_linear_light():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 2:] = 255
    points = np.array([[1.5, 2.0], [2.0, 2.0], [2.5, 2.0], [-9, 2], [99, 2]], np.float32)
    sampler = PhotoSampler.around(image, np.array([[0, 0], [4, 4]], np.float32), 1.0, 1.0)
    found = sampler(points, np.ones(5, np.float32))
    np.testing.assert_allclose(found[:, 0], [0, 0.5, 1, 0, 1], atol=1e-6)
