import pickle
from dataclasses import replace

import numpy as np
import pytest

from inversefacenet.camera import (
    CAMERA_DISTANCE,
    Placement,
    fit_placement,
    landmark_points,
    project,
    rotation_matrix,
)
from inversefacenet.colour import srgb_encode, to_uint8
from inversefacenet.crop import landmarks66
from inversefacenet.errors import LandmarkError
from inversefacenet.illumination import irradiance
from inversefacenet.parameters import ILLUMINATION, Parameters
from inversefacenet.rasterizer import interpolate, vertex_normals
from inversefacenet.rasterizer_reference import rasterize_reference
from inversefacenet.rendering import painted_pixels, pose_and_shade, render, screen_points
from inversefacenet.sampling import NATURAL


@pytest.fixture
def parameters(synthetic_model):
    return Parameters.from_vector(NATURAL.sample(np.random.default_rng(5), 1, synthetic_model)[0])


def nearest_hit(vertices, triangles, ray):
    """Meet a ray from the pinhole with every triangle (Möller and Trumbore 1997), front faces only."""
    eye = np.array([0.0, 0.0, CAMERA_DISTANCE])
    a, b, c = (vertices[triangles[:, i]].astype(float) for i in range(3))
    edge1, edge2 = b - a, c - a
    p = np.cross(ray, edge2)
    determinant = (edge1 * p).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = eye - a
        u = (s * p).sum(axis=1) / determinant
        q = np.cross(s, edge1)
        v = (q @ ray) / determinant
        t = (edge2 * q).sum(axis=1) / determinant
    hit = (determinant > 1e-9) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    if not hit.any():
        return None
    nearest = np.where(hit, t, np.inf).argmin()
    return nearest, t[nearest], np.array([1 - u[nearest] - v[nearest], u[nearest], v[nearest]])


def test_pixels_show_what_their_rays_meet(synthetic_model, parameters):
    rendering = render(synthetic_model, parameters)
    inverse = rendering.placement.inverse()
    seen = agreed = 0
    for row in range(3, 240, 17):
        for column in range(2, 240, 13):
            x, y = inverse.apply(np.array([column + 0.5, row + 0.5]))
            hit = nearest_hit(rendering.vertices, synthetic_model.triangles, np.array([x, -y, -1.0]))
            assert (hit is not None) == rendering.mask[row, column]
            if hit is None:
                assert not rendering.image[row, column].any()
                continue
            triangle, depth, weights = hit
            seen += 1
            agreed += triangle == rendering.fragments.triangle[row, column]
            assert rendering.fragments.depth[row, column] == pytest.approx(depth, rel=1e-4)
            linear = weights @ rendering.colours[synthetic_model.triangles[triangle]]
            expected = 255 * srgb_encode(linear)
            assert np.abs(rendering.image[row, column] - expected).max() < 1.5
    assert seen > 100
    assert agreed >= seen - 2


def test_colours_are_reflectance_times_irradiance_at_turned_normals(synthetic_model, parameters):
    vertices, colours = pose_and_shade(synthetic_model, parameters)
    geometry = synthetic_model.geometry(parameters.shape, parameters.expression).astype(float)
    rotation = rotation_matrix(parameters.rotation.astype(float))
    np.testing.assert_allclose(vertices, geometry @ rotation.T, atol=1e-3)
    normals = np.zeros_like(geometry)
    for a, b, c in synthetic_model.triangles:
        normal = np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
        normals[[a, b, c]] += normal
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = irradiance(normals, parameters.illumination.astype(float))
    expected = synthetic_model.reflectance(parameters.reflectance) * light
    np.testing.assert_allclose(colours, expected, atol=2e-4)


def test_landmarks_fill_the_crop_as_a_detected_faces_do(synthetic_model, parameters):
    points = landmarks66(render(synthetic_model, parameters).landmarks)
    low, high = points.min(axis=0), points.max(axis=0)
    assert (high - low).max() == pytest.approx(238, abs=1e-3)
    np.testing.assert_allclose((low + high) / 2, 120, atol=1e-3)


def test_inner_landmarks_lie_on_their_vertices(synthetic_model, parameters):
    rendering = render(synthetic_model, parameters)
    expected = rendering.points()[synthetic_model.landmarks]
    np.testing.assert_allclose(rendering.landmarks[17:], expected[17:], atol=1e-3)
    np.testing.assert_allclose(
        rendering.points(), rendering.placement.apply(project(rendering.vertices)), atol=1e-4
    )


def test_model_mask_is_the_visible_painted_region_without_the_mouth(synthetic_model, parameters):
    rendering = render(synthetic_model, parameters)
    triangle = rendering.fragments.triangle
    expected = np.zeros((240, 240), bool)
    for row, column in np.argwhere(triangle >= 0):
        t = triangle[row, column]
        expected[row, column] = synthetic_model.painted[t] and synthetic_model.triangle_part[t] != 2
    np.testing.assert_array_equal(rendering.model_mask, expected)
    assert expected.sum() < rendering.mask.sum()


def test_uncovered_pixels_are_black(synthetic_model, parameters):
    rendering = render(synthetic_model, parameters, placement=Placement(300.0, (120.0, 120.0)))
    assert 0.02 < rendering.mask.mean() < 0.5
    assert not rendering.image[~rendering.mask].any()
    np.testing.assert_array_equal(rendering.mask, rendering.fragments.triangle >= 0)


def test_sizes_show_the_same_picture(synthetic_model, parameters):
    small, large = render(synthetic_model, parameters), render(synthetic_model, parameters, size=720)
    np.testing.assert_allclose(large.landmarks, 3 * small.landmarks, atol=1e-2)
    middle = large.image[1::3, 1::3]
    assert np.median(np.abs(middle.astype(int) - small.image)) <= 1
    assert (large.mask[1::3, 1::3] == small.mask).all()


def test_a_placement_and_a_shape_give_a_part_of_any_picture(synthetic_model, parameters):
    whole = render(synthetic_model, parameters)
    shifted = Placement(
        whole.placement.scale, (whole.placement.offset[0] - 32, whole.placement.offset[1] - 64)
    )
    part = render(synthetic_model, parameters, placement=shifted, shape=(100, 150))
    assert part.image.shape == (100, 150, 3)
    assert np.abs(part.image.astype(int) - whole.image[64:164, 32:182]).max() <= 1


def test_gains_of_the_light_are_gains_of_the_linear_picture(synthetic_model, parameters):
    gains = np.array([0.8, 0.9, 1.1], np.float32)
    vector = parameters.vector()
    vector[ILLUMINATION] = (parameters.illumination * gains).ravel()
    _, plain = pose_and_shade(synthetic_model, parameters)
    _, gained = pose_and_shade(synthetic_model, Parameters.from_vector(vector))
    np.testing.assert_allclose(gained, plain * gains, rtol=1e-5, atol=1e-6)


def test_mean_face_in_ambient_light_shows_its_reflectance(synthetic_model):
    rendering = render(synthetic_model, Parameters.neutral())
    nose = synthetic_model.landmarks[30]
    column, row = np.floor(rendering.points()[nose]).astype(int)
    expected = to_uint8(0.9 * synthetic_model.mean_reflectance[nose])
    assert np.abs(rendering.image[row, column].astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("placement", "shape"),
    [
        (None, None),
        (Placement(700.0, (50.0, 60.0)), (100, 150)),
        (Placement(700.0, (50.0, 60.0)), (150, 9)),
        (Placement(300.0, (120.0, -20.0)), (90, 240)),
        (Placement(3000.0, (-300.0, 120.0)), (64, 64)),
        (Placement(700.0, (9000.0, 0.0)), (40, 50)),
        (Placement(700.0, (9000.0, 0.0)), (1, 1)),
    ],
)
def test_one_pass_draws_what_the_plain_steps_draw(synthetic_model, parameters, placement, shape):
    rendering = render(synthetic_model, parameters, placement=placement, shape=shape)
    height, width = shape or (240, 240)
    points = screen_points(rendering.vertices, rendering.placement)
    expected = rasterize_reference(points, synthetic_model.triangles, height, width)
    np.testing.assert_array_equal(rendering.fragments.triangle, expected.triangle)
    np.testing.assert_array_equal(rendering.fragments.depth, expected.depth)
    np.testing.assert_allclose(rendering.fragments.barycentric, expected.barycentric, atol=1e-6)
    np.testing.assert_array_equal(rendering.mask, expected.mask)
    np.testing.assert_array_equal(rendering.model_mask, painted_pixels(synthetic_model, expected))
    linear = interpolate(expected, synthetic_model.triangles, rendering.colours)
    difference = rendering.image.astype(int) - to_uint8(linear)
    # A sum may be rounded once instead of twice: that can only turn a value that lies on a level's border.
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 1e-3
    assert rendering.image.shape == (height, width, 3)


def test_vertices_are_turned_and_lit_as_by_the_plain_functions(default_model):
    for vector in NATURAL.sample(np.random.default_rng(2), 3, default_model):
        parameters = Parameters.from_vector(vector)
        vertices, colours = pose_and_shade(default_model, parameters)
        geometry = default_model.geometry(parameters.shape, parameters.expression)
        np.testing.assert_allclose(vertices, geometry @ rotation_matrix(parameters.rotation).T, atol=5e-5)
        light = irradiance(vertex_normals(vertices, default_model.triangles), parameters.illumination)
        expected = default_model.reflectance(parameters.reflectance) * light
        np.testing.assert_allclose(colours, expected, atol=1e-4)


def test_landmarks_and_placement_are_those_of_the_plain_functions(default_model):
    for vector in NATURAL.sample(np.random.default_rng(3), 20, default_model):
        parameters = Parameters.from_vector(vector)
        rendering = render(default_model, parameters, shape=(8, 8))
        points = landmark_points(default_model, rendering.vertices, float(parameters.rotation[2]))
        assert rendering.placement == fit_placement(landmarks66(points))
        np.testing.assert_array_equal(rendering.landmarks, rendering.placement.apply(points))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("group", ["rotation", "shape", "expression"])
def test_parameters_that_are_no_numbers_are_an_error_without_a_placement(synthetic_model, group, bad):
    values = getattr(Parameters.neutral(), group).copy()
    values[0] = bad
    broken = replace(Parameters.neutral(), **{group: values})
    with np.errstate(invalid="ignore"):
        with pytest.raises(LandmarkError, match="finite"):
            render(synthetic_model, broken)
        picture = render(synthetic_model, broken, placement=Placement(700.0, (50.0, 60.0)), shape=(90, 90))
    assert not picture.mask.any()
    assert not picture.image.any()


def test_renderings_survive_pickling(synthetic_model, parameters):
    rendering = render(synthetic_model, parameters)
    again = pickle.loads(pickle.dumps(rendering))
    np.testing.assert_array_equal(again.image, rendering.image)
    np.testing.assert_array_equal(again.fragments.depth, rendering.fragments.depth)
    np.testing.assert_array_equal(again.fragments.barycentric, rendering.fragments.barycentric)
