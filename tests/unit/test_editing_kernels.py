from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from inversefacenet.editing.appearance import guarded
from inversefacenet.editing.compositing import compose
from inversefacenet.editing.matte_kernels import matte, nearest_of
from inversefacenet.editing.mesh_kernels import (
    distance_to_border,
    neighbours_of,
    shade,
    smoothed,
    spread,
)
from inversefacenet.editing.pull_push import pull_push
from inversefacenet.editing.skin import neck_place, skin_likeness
from inversefacenet.illumination import sh_basis


@pytest.fixture
def strip():
    """Four triangles in a row: six vertices."""
    return np.array([[0, 1, 2], [2, 1, 3], [2, 3, 4], [4, 3, 5]], np.int32)


def test_neighbours_are_what_edges_join(strip):
    starts, links = neighbours_of(strip, 7)
    found = [sorted(links[a:b].tolist()) for a, b in pairwise(starts)]
    assert found == [[1, 2], [0, 2, 3], [0, 1, 3, 4], [1, 2, 4, 5], [2, 3, 5], [3, 4], []]


def test_smoothing_moves_half_way_to_the_neighbours(strip, rng):
    starts, links = neighbours_of(strip, 7)
    values = rng.normal(size=(7, 2)).astype(np.float32)
    after = smoothed(values, starts, links, 1)
    np.testing.assert_allclose(after[0], (values[0] + values[[1, 2]].mean(axis=0)) / 2, rtol=1e-5)
    np.testing.assert_array_equal(after[6], values[6])
    np.testing.assert_array_equal(smoothed(values, starts, links, 0), values)


def test_known_values_are_carried_on(strip):
    starts, links = neighbours_of(strip, 7)
    known = np.array([True, False, False, False, False, True, False])
    values = np.array([[1.0], [9], [9], [9], [9], [3], [9]], np.float32)
    found = spread(values, known, starts, links, 50)[:, 0]
    assert found[0] == 1
    assert found[5] == 3
    assert (np.diff(found[[0, 2, 3, 5]]) > 0).all()
    assert found[6] == 2  # nobody's neighbour: the mean of what is known
    np.testing.assert_array_equal(spread(values, known & False, starts, links, 5), np.ones((7, 1)))


def test_the_border_of_a_sheet(strip):
    points = np.array([[x, y, 0] for y in range(9) for x in range(9)], np.float32)
    quads = [(9 * y + x, 9 * y + x + 1, 9 * y + x + 9, 9 * y + x + 10) for y in range(8) for x in range(8)]
    sheet = np.array([t for a, b, c, d in quads for t in ((a, b, c), (c, b, d))], np.int32)
    distance = distance_to_border(points, sheet).reshape(9, 9)
    np.testing.assert_allclose(distance[4], [0, 1, 2, 3, 4, 3, 2, 1, 0])
    closed = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]], np.int32)
    assert np.isinf(distance_to_border(points[:4], closed)).all()


def test_shading_is_the_sum_of_the_harmonics(rng):
    normals = rng.normal(size=(50, 3))
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    light = rng.normal(size=(9, 3)).astype(np.float32)
    np.testing.assert_allclose(shade(normals, light), sh_basis(normals) @ light, atol=1e-5)


def test_guarded_values_never_reach_zero_and_grow():
    floor = np.full(3, 0.1)
    values = np.repeat(np.linspace(-1, 1, 2001)[:, None], 3, axis=1)
    bent = guarded(values, floor)
    assert bent.min() >= np.float32(0.1)
    assert (np.diff(bent[:, 0]) >= 0).all()
    np.testing.assert_array_equal(bent[values[:, 0] > 0.21], values.astype(np.float32)[values[:, 0] > 0.21])


def test_nearest_pixels_are_the_nearest(rng):
    mask = rng.random((23, 31)) < 0.02
    vectors = nearest_of(mask)
    seeds = np.argwhere(mask)
    rows, columns = np.mgrid[:23, :31]
    true = np.sqrt(((np.stack([rows, columns], -1)[:, :, None] - seeds) ** 2).sum(-1)).min(axis=-1)
    np.testing.assert_allclose(np.hypot(vectors[..., 0], vectors[..., 1]), true, atol=0.3)
    hit = np.stack([rows + vectors[..., 1], columns + vectors[..., 0]], axis=-1).astype(int)
    assert mask[hit[..., 0], hit[..., 1]].all()
    far = nearest_of(np.zeros((4, 5), bool))
    assert np.hypot(far[..., 0], far[..., 1]).min() > 5


def test_pull_push_fills_smoothly_and_keeps_what_is_known(rng):
    values, weights = np.zeros((37, 50, 2), np.float32), np.zeros((37, 50), np.float32)
    known = rng.random((37, 50)) < 0.03
    columns = np.mgrid[:37, :50][1]
    values[known] = np.stack([columns[known], np.full(known.sum(), 3)], axis=1) * 2
    weights[known] = 2
    filled = pull_push(values, weights)
    np.testing.assert_allclose(filled[known][:, 0], columns[known], rtol=1e-6)
    np.testing.assert_allclose(filled[..., 1], 3, rtol=1e-5)
    assert np.corrcoef(filled[..., 0].ravel(), columns.ravel())[0, 1] > 0.97
    nothing = pull_push(np.zeros((5, 6, 2), np.float32), np.zeros((5, 6), np.float32))
    assert not nothing.any()


def test_the_matte_ends_at_edges():
    picture = np.full((40, 60, 3), 0.6, np.float32)
    picture[:, 40:] = 0.1
    core = np.zeros((40, 60), bool)
    core[15:25, 15:25] = True
    like = np.ones((40, 60), np.float32)
    shared = matte(picture, core, core, like, 0.75 * like, 20.0, 0.3)
    assert shared[20, 20] == 1
    assert shared[20, 34] > 0.6
    assert shared[20, 42] < 0.05
    unlike = matte(picture, core, core, 0 * like, 0.75 * like, 20.0, 0.3)
    assert unlike[20, 34] < shared[20, 34]
    beyond = matte(picture, core, core, like, like, 20.0, 0.3)
    assert beyond[20, 50] > 0.9


def test_the_neck_lies_below_the_jaw():
    points = np.zeros((68, 2))
    points[4], points[12], points[8] = (30, 50), (70, 50), (50, 70)
    place = neck_place(points, np.eye(3), 60.0, (120, 100))
    assert place[80, 50] == 1
    assert place[60, 50] == 1
    assert not place[:51].any()
    assert not place[98:].any()
    assert not place[:, :27].any()
    # The head lies on its side: its chin points to the right.
    roll = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = neck_place(points[:, ::-1], roll, 60.0, (100, 120))
    np.testing.assert_allclose(turned, place.T, atol=1e-5)


def test_skin_is_known_by_its_hue():
    picture = np.full((4, 6, 3), (0.8, 0.6, 0.5), np.float32)
    picture[:, 2] = (0.4, 0.3, 0.25)
    picture[:, 4] = (0.5, 0.5, 0.8)
    picture[:, 5] = (0.8, 0.55, 0.5)
    core = np.zeros((4, 6), bool)
    core[:, 0] = True
    like = skin_likeness(picture, core)
    assert like[0, 2] > 0.99
    assert like[0, 4] < 0.01
    shadow = skin_likeness(picture, core, np.ones((4, 6), np.float32))
    assert like[0, 5] < shadow[0, 5]
    assert shadow[0, 4] < 0.02


def test_a_field_that_does_nothing_keeps_every_byte(rng):
    picture = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    field = np.zeros((9, 12, 9), np.float32)
    field[..., 2:5] = 1
    for smooth in (True, False):
        np.testing.assert_array_equal(compose(picture, field, 1.0, smooth), picture)


def test_a_field_moves_and_multiplies_linear_light():
    picture = np.zeros((9, 12, 3), np.uint8)
    picture[4, 6] = 188  # half of white
    field = np.zeros((9, 12, 9), np.float32)
    field[..., 2:5] = 1
    field[..., 0], field[..., 1] = 2, -1  # the colour lies two to the right, one up
    for smooth in (True, False):
        moved = compose(picture, field, 1.0, smooth)
        assert moved[5, 4].tolist() == [188, 188, 188]
        assert not moved[4, 6].any()
    field[..., :2] = 0
    field[..., 2:5] = 0.5, 1.0, 1.5
    assert compose(picture, field, 1.0, True)[4, 6].tolist() == [137, 188, 225]
    # Highlights roll off: they never burn out where there was detail.
    field[..., 2:5] = 3
    assert 240 < compose(picture, field, 1.0, True)[4, 6, 0] < 255


def test_the_fill_covers_by_its_share():
    picture = np.full((5, 5, 3), 255, np.uint8)
    field = np.zeros((5, 5, 9), np.float32)
    field[..., 2:5] = 1
    field[..., 5], field[..., 6:] = 0.5, 0
    assert compose(picture, field, 1.0, True)[2, 2].tolist() == [188, 188, 188]


def test_a_coarse_field_is_enlarged():
    picture = np.full((20, 20, 3), 188, np.uint8)
    field = np.ones((10, 10, 9), np.float32)
    field[..., [0, 1, 5, 6, 7, 8]] = 0
    field[:, 5:, 2:5] = 0.5
    out = compose(picture, field, 0.5, True)
    assert out[10, 2, 0] == 188
    assert out[10, 17, 0] == 137
    assert (np.diff(out[10, :, 0].astype(int)) <= 0).all()
