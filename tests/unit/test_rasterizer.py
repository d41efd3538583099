import pickle

import numpy as np
import pytest

from inversefacenet.rasterizer import Fragments, interpolate, rasterize, vertex_normals
from inversefacenet.rasterizer_reference import rasterize_reference

NEAR, FAR = 1 / 500, 1 / 900


def soup(rng, count, size, spread, behind=0.0):
    """Random triangles, both windings, of all sizes up to `spread` pixels."""
    middle = rng.uniform(-0.3 * size, 1.3 * size, (count, 1, 2))
    corners = middle + rng.uniform(-0.5, 0.5, (count, 3, 2)) * spread * rng.random((count, 1, 1))
    depth = rng.uniform(400, 1000, (count, 3, 1))
    inverse = np.where(rng.random((count, 3, 1)) < behind, -1, 1) / depth
    points = np.concatenate([corners, inverse], axis=2).reshape(-1, 3).astype(np.float32)
    return points, np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def same(first: Fragments, second: Fragments) -> None:
    np.testing.assert_array_equal(first.triangle, second.triangle)
    np.testing.assert_array_equal(first.depth, second.depth)
    np.testing.assert_allclose(first.barycentric, second.barycentric, atol=1e-6)


@pytest.mark.parametrize(
    ("count", "height", "width", "spread"),
    [
        (400, 40, 40, 6),
        (60, 64, 64, 80),
        (30, 33, 70, 2000),
        (30, 70, 33, 60),
        (200, 1, 90, 30),
        (40, 1, 1, 9),
        (900, 90, 5, 60),
        (60, 30, 15, 40),
        (60, 30, 17, 40),
    ],
)
def test_agrees_with_the_reference(rng, count, height, width, spread):
    points, triangles = soup(rng, count, max(height, width), spread)
    fast = rasterize(points, triangles, height, width)
    assert fast.mask.any()
    same(fast, rasterize_reference(points, triangles, height, width))


def test_agrees_with_the_reference_on_shared_vertices(rng):
    points, _ = soup(rng, 30, 60, 60)
    triangles = rng.integers(0, len(points), (150, 3)).astype(np.int32)
    same(rasterize(points, triangles, 60, 60), rasterize_reference(points, triangles, 60, 60))


@pytest.mark.parametrize("shift", [(0, 0), (900, 3), (-900, 3), (3, 900), (3, -900), (1e12, 0), (0, -1e30)])
def test_what_lies_beyond_the_picture_is_left_out(rng, shift):
    points, triangles = soup(rng, 60, 40, 60)
    moved = points + np.float32([*shift, 0])
    fragments = rasterize(moved, triangles, 40, 40)
    assert fragments.mask.any() == (shift == (0, 0))
    same(fragments, rasterize_reference(moved, triangles, 40, 40))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_points_that_are_no_numbers_spoil_their_own_triangles_alone(rng, bad):
    points, triangles = soup(rng, 80, 40, 60)
    axis = rng.integers(0, 2, 20)
    points[rng.choice(len(points), 20, replace=False), axis] = bad
    whole = np.isfinite(points[triangles]).all(axis=(1, 2))
    kept = np.flatnonzero(whole).astype(np.int32)
    fragments, expected = rasterize(points, triangles, 40, 40), rasterize(points, triangles[whole], 40, 40)
    assert 0 < len(kept) < len(triangles)
    np.testing.assert_array_equal(fragments.triangle, np.append(kept, -1)[expected.triangle])
    np.testing.assert_array_equal(fragments.depth, expected.depth)


def test_fragments_survive_pickling_and_are_computed_once(rng):
    points, triangles = soup(rng, 60, 50, 60)
    fragments, expected = rasterize(points, triangles, 50, 30), rasterize_reference(points, triangles, 50, 30)
    again = pickle.loads(pickle.dumps(fragments))
    same(again, expected)
    assert fragments.depth is fragments.depth
    assert fragments.barycentric is fragments.barycentric
    same(pickle.loads(pickle.dumps(fragments)), expected)
    assert isinstance(again, Fragments)
    with pytest.raises(AttributeError):
        fragments.triangle = expected.triangle


def test_nothing_behind_the_camera_is_drawn(rng):
    points, triangles = soup(rng, 60, 50, 60)
    points[:, 2] *= -1
    assert not rasterize(points, triangles, 50, 50).mask.any()


def test_corners_behind_the_camera_are_treated_as_in_the_reference(rng):
    points, triangles = soup(rng, 80, 50, 60, behind=0.3)
    fragments = rasterize(points, triangles, 50, 50)
    same(fragments, rasterize_reference(points, triangles, 50, 50))
    assert (fragments.depth > 0).all()


@pytest.mark.parametrize(
    "corners",
    [
        [[5, 5], [5, 5], [5, 5]],
        [[1, 1], [9, 9], [5, 5]],
        [[2, 3], [8, 3], [5, 3]],
        [[np.nan, 1], [1, 9], [9, 5]],
        [[np.inf, 1], [1, 9], [9, 5]],
    ],
)
def test_triangles_without_a_proper_area_are_left_out(corners):
    points = np.column_stack([np.array(corners, float), np.full(3, NEAR)]).astype(np.float32)
    assert not rasterize(points, np.array([[0, 1, 2]], np.int32), 12, 12).mask.any()


def test_no_triangles_give_an_empty_picture():
    fragments = rasterize(np.zeros((3, 3), np.float32), np.zeros((0, 3), np.int32), 4, 5)
    assert fragments.triangle.shape == (4, 5)
    assert (fragments.triangle == -1).all()
    assert np.isinf(fragments.depth).all()
    assert not fragments.barycentric.any()


def test_only_triangles_that_face_the_camera_are_seen():
    # Counter-clockwise with y up, so clockwise in a list of pixel coordinates read with y down.
    points = np.array([[1, 9, NEAR], [9, 9, NEAR], [5, 1, NEAR]], np.float32)
    assert rasterize(points, np.array([[0, 1, 2]], np.int32), 10, 10).mask.any()
    assert not rasterize(points, np.array([[0, 2, 1]], np.int32), 10, 10).mask.any()


def test_nearest_triangle_wins_in_any_order():
    corners = np.array([[0, 12], [12, 12], [0, 0]])
    points = np.concatenate(
        [np.column_stack([corners, np.full(3, inverse)]) for inverse in (FAR, NEAR)]
    ).astype(np.float32)
    order = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    assert set(np.unique(rasterize(points, order, 12, 12).triangle)) == {-1, 1}
    assert set(np.unique(rasterize(points, order[::-1], 12, 12).triangle)) == {-1, 0}


def test_of_equally_near_triangles_the_first_wins():
    points = np.array([[0, 8, NEAR], [8, 8, NEAR], [0, 0, NEAR]], np.float32)
    twice = np.array([[0, 1, 2], [0, 1, 2]], np.int32)
    assert set(np.unique(rasterize(points, twice, 8, 8).triangle)) == {-1, 0}


def test_planes_that_cross_are_divided_where_their_depths_are_equal():
    # Two triangles fill the picture: one gets nearer to the right, one to the left.
    wide = np.array([[-50, 90], [150, 90], [20, -160]], float)
    right = 1e-3 + 1e-5 * wide[:, 0]
    left = 1e-3 + 1e-5 * (40.0 - wide[:, 0])
    points = np.concatenate([np.column_stack([wide, right]), np.column_stack([wide, left])])
    triangles = np.arange(6, dtype=np.int32).reshape(2, 3)
    seen = rasterize(points.astype(np.float32), triangles, 40, 40).triangle
    assert (seen[:, :20] == 1).all()
    assert (seen[:, 20:] == 0).all()


def grid(points_x, points_y, rng, jitter=0.0):
    """A mesh over a grid, diagonals and first corners at random."""
    x, y = np.meshgrid(points_x, points_y)
    inner = np.zeros((*x.shape, 2))
    inner[1:-1, 1:-1] = rng.uniform(-jitter, jitter, (x.shape[0] - 2, x.shape[1] - 2, 2))
    points = np.column_stack([(x + inner[..., 0]).ravel(), (y + inner[..., 1]).ravel()])
    index = np.arange(x.size).reshape(x.shape)
    triangles = []
    for a, b, c, d in zip(
        index[:-1, :-1].ravel(),
        index[:-1, 1:].ravel(),
        index[1:, :-1].ravel(),
        index[1:, 1:].ravel(),
        strict=True,
    ):
        pair = [[a, c, b], [b, c, d]] if rng.random() < 0.5 else [[a, c, d], [a, d, b]]
        triangles += [np.roll(t, rng.integers(3)) for t in pair]
    points = np.column_stack([points, rng.uniform(FAR, NEAR, len(points))]).astype(np.float32)
    return points, np.array(triangles, np.int32)


def coverage(points, triangles, size):
    """Count the triangles that claim each pixel."""
    counts = np.zeros((size, size), int)
    for triangle in triangles:
        counts += rasterize(points, triangle[None], size, size).mask
    return counts


@pytest.mark.parametrize("count", [4, 6, 7, 9, 12])
def test_meshes_have_no_holes_where_edges_meet_pixel_centres(rng, count):
    # Corners on pixel centres and on thirds of pixels: many centres lie exactly on edges.
    for lines in (np.linspace(0.5, 31.5, count), np.linspace(0, 32, count), np.arange(-1, 38, count / 3)):
        points, triangles = grid(lines, lines, rng)
        assert coverage(points, triangles, 32).min() >= 1
        assert rasterize(points, triangles, 32, 32).mask.all()


def test_each_pixel_off_the_edges_belongs_to_exactly_one_triangle(rng):
    lines = np.linspace(-3, 35, 9)
    points, triangles = grid(lines, lines, rng, jitter=1.5)
    counts = coverage(points, triangles, 32)
    assert counts.min() == 1
    assert (counts == 1).mean() > 0.999


def test_large_triangles_meet_without_holes(rng):
    points, triangles = grid([-9e4, 17.3, 8e4], [-7e4, 11.9, 9e4], rng)
    assert rasterize(points, triangles, 64, 64).mask.all()


def test_part_of_a_picture_is_what_a_larger_picture_shows_there(rng):
    points, triangles = soup(rng, 100, 50, 40)
    large = rasterize(points + np.float32([32, 16, 0]), triangles, 96, 112)
    small = rasterize(points, triangles, 50, 50)
    np.testing.assert_array_equal(large.triangle[16:66, 32:82], small.triangle)


def test_weights_are_perspective_correct():
    # A slanted plane seen by a pinhole: where the ray of each pixel meets it is known in closed form.
    distance, focal = 700.0, 900.0
    corners = np.array([[-60.0, -50, 80], [70, -40, -120], [-10, 75, 30]])
    depth = distance - corners[:, 2]
    pixels = np.column_stack(
        [32 + focal * corners[:, 0] / depth / 3, 32 - focal * corners[:, 1] / depth / 3, 1 / depth]
    ).astype(np.float32)
    triangles = np.array([[0, 1, 2]], np.int32)
    fragments = rasterize(pixels, triangles, 64, 64)
    assert fragments.mask.sum() > 300
    shown = interpolate(fragments, triangles, corners.astype(np.float32))
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    for row, column in np.argwhere(fragments.mask):
        ray = np.array([(column + 0.5 - 32) * 3 / focal, -(row + 0.5 - 32) * 3 / focal, -1.0])
        eye = np.array([0, 0, distance])
        reach = normal @ (corners[0] - eye) / (normal @ ray)
        np.testing.assert_allclose(shown[row, column], eye + reach * ray, atol=0.02)
        assert fragments.depth[row, column] == pytest.approx(reach, rel=1e-5)


def test_weights_sum_to_one_where_something_is_seen(rng):
    points, triangles = soup(rng, 50, 40, 60)
    fragments = rasterize(points, triangles, 40, 40)
    np.testing.assert_allclose(fragments.barycentric.sum(axis=2), fragments.mask, atol=2e-6)
    np.testing.assert_array_equal(np.isfinite(fragments.depth), fragments.mask)


def test_interpolation_weighs_the_corners(rng):
    points, triangles = soup(rng, 50, 40, 60)
    attributes = rng.normal(size=(len(points), 5)).astype(np.float32)
    fragments = rasterize(points, triangles, 40, 40)
    picture = interpolate(fragments, triangles, attributes)
    corners = attributes[triangles[fragments.triangle]]
    expected = (fragments.barycentric[..., None] * corners).sum(axis=2) * fragments.mask[..., None]
    np.testing.assert_allclose(picture, expected, atol=1e-5)


def test_normals_are_the_area_weighted_mean_of_the_faces(synthetic_model):
    vertices, triangles = synthetic_model.mean_geometry, synthetic_model.triangles
    a, b, c = (vertices[triangles[:, i]].astype(float) for i in range(3))
    faces = np.cross(b - a, c - a)
    expected = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(expected, triangles[:, corner], faces)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    normals = vertex_normals(vertices, triangles)
    np.testing.assert_allclose(normals, expected, atol=1e-5)
    # Seen from the front, the face's middle looks at the viewer.
    assert normals[synthetic_model.landmarks[33], 2] > 0.5


def test_a_vertex_of_no_triangle_has_no_normal():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], np.float32)
    normals = vertex_normals(vertices, np.array([[0, 1, 2]], np.int32))
    np.testing.assert_array_equal(normals, [[0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0]])
