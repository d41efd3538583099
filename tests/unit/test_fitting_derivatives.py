"""Every derivative of the fit against central differences, in double precision."""

import numpy as np
import pytest

from inversefacenet.camera import rotation_matrix
from inversefacenet.colour import srgb_encode
from inversefacenet.crop import landmarks66
from inversefacenet.fitting import FitOptions
from inversefacenet.fitting.directions import Directions, Rings
from inversefacenet.fitting.energy import energy, prior_rows
from inversefacenet.fitting.normal_equations import landmark_rows, linearise
from inversefacenet.fitting.photometric import colours, jacobian
from inversefacenet.fitting.placing import motion, projection
from inversefacenet.fitting.posed import POSE, pose, rotation_derivatives
from inversefacenet.fitting.samples import Samples, position_rows
from inversefacenet.fitting.shading import encoding_slopes, harmonic_slopes
from inversefacenet.fitting.view import LEVELS, Target, robust_cost, robust_weights, view
from inversefacenet.illumination import sh_basis
from inversefacenet.parameters import GROUPS, Parameters
from inversefacenet.rasterizer import vertex_normals
from inversefacenet.rendering import render
from inversefacenet.sampling import NATURAL

STEP = 1e-6


def slope(function, at, direction):
    """Return the central difference of a function along a direction."""
    return (function(at + STEP * direction) - function(at - STEP * direction)) / (2 * STEP)


def assert_close(found, expected, tolerance=1e-6):
    scale = np.abs(expected).max()
    assert scale > 0
    assert np.abs(found - expected).max() < tolerance * scale


@pytest.fixture(scope="module")
def directions(synthetic_model):
    return Directions.of(synthetic_model, np.float64)


@pytest.fixture(scope="module")
def theta(synthetic_model):
    return NATURAL.sample(np.random.default_rng(5), 1, synthetic_model)[0].astype(np.float64)


@pytest.fixture(scope="module")
def scene(directions, theta):
    """A face and points on it, none on a boundary where a choice would change."""
    face = pose(directions, theta)
    seen = view(face)
    pixels = np.random.default_rng(3).choice(np.flatnonzero(seen.fragments.mask), 150, replace=False)
    return face, motion(face), Samples.seen(face, seen, pixels)


def random_direction(group, seed=0):
    direction = np.zeros(350)
    direction[group] = np.random.default_rng(seed).normal(size=group.stop - group.start)
    return direction


def test_a_posed_face_is_the_rendered_one(synthetic_model, theta):
    parameters = Parameters.from_vector(theta)
    rendering = render(synthetic_model, parameters)
    face = pose(Directions.of(synthetic_model), theta)
    np.testing.assert_allclose(face.vertices, rendering.vertices, atol=2e-4)
    np.testing.assert_allclose(face.colours, rendering.colours, atol=2e-4)
    np.testing.assert_allclose(face.landmark_pixels, rendering.landmarks, atol=2e-3)
    assert face.placement.scale == pytest.approx(rendering.placement.scale, rel=1e-5)
    picture = view(face).picture
    assert np.abs(picture - rendering.image).mean() < 0.5


def test_normals_are_the_rasterizers(directions, theta, synthetic_model):
    face = pose(directions, theta)
    normals = face.normal_sums / np.linalg.norm(face.normal_sums, axis=1, keepdims=True)
    expected = vertex_normals(face.vertices.astype(np.float32), synthetic_model.triangles)
    np.testing.assert_allclose(normals, expected, atol=1e-4)


def test_a_vertex_without_triangles_has_no_normal(synthetic_model):
    directions = Directions.of(synthetic_model, np.float64)
    points = np.random.default_rng(0).normal(size=(synthetic_model.vertex_count, 3))
    used = np.unique(synthetic_model.triangles)
    alone = np.setdiff1d(np.arange(synthetic_model.vertex_count), used)
    assert not directions.normal_sums(points)[alone].any()


def test_rings_say_how_a_normal_changes():
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 1, 0]], np.int32)
    points = np.random.default_rng(1).normal(size=(6, 3))
    rings = Rings.of(triangles, 6)
    assert rings.sizes().tolist() == [5, 4, 4, 3, 3, 0]

    def normal(moved):
        a, b, c = (moved[triangles[:, corner]] for corner in range(3))
        return np.cross(b - a, c - a).sum(axis=0)

    edges = rings.edge_sums(points)
    shift = np.random.default_rng(2).normal(size=3)
    for pair in range(rings.start[0], rings.start[1]):
        moving = np.zeros((6, 3))
        moving[rings.member[pair]] = shift
        np.testing.assert_allclose(np.cross(shift, edges[pair]), slope(normal, points, moving), atol=1e-8)


def test_rotation(rng):
    angles = rng.uniform(-0.8, 0.8, 3)
    for axis in range(3):
        expected = slope(rotation_matrix, angles, np.eye(3)[axis])
        np.testing.assert_allclose(rotation_derivatives(angles)[axis], expected, atol=1e-8)


def test_projection(rng):
    from inversefacenet.camera import project

    points, shift = rng.uniform(-80, 80, (20, 3)), rng.normal(size=(20, 3))
    assert_close((projection(points) @ shift[:, :, None])[:, :, 0], slope(project, points, shift))


def test_harmonics(rng):
    normals, shift = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    found = (harmonic_slopes(normals) @ shift[:, :, None])[:, :, 0]
    assert_close(found, slope(sh_basis, normals, shift))


def test_srgb():
    linear = np.array([-0.1, 0.001, 0.002, 0.01, 0.2, 0.9, 1.2])
    expected = slope(srgb_encode, linear, np.ones(7))
    np.testing.assert_allclose(encoding_slopes(linear), expected, rtol=1e-6)
    assert encoding_slopes(linear)[[0, 6]].tolist() == [0, 0]


@pytest.mark.parametrize("scale", [None, 20.0])
def test_robust_weights(scale):
    squared = np.array([0.0, 4.0, 400.0, 9000.0])
    np.testing.assert_allclose(
        robust_weights(squared, scale), slope(lambda s: robust_cost(s, scale), squared, np.ones(4)), rtol=1e-4
    )


@pytest.mark.parametrize("group", ["rotation", "shape", "expression"])
def test_landmarks_and_placement(directions, theta, scene, group):
    face, moved, _ = scene
    direction = random_direction(GROUPS[group])
    expected = slope(lambda t: pose(directions, t).landmark_pixels, theta, direction)
    assert_close(moved.landmark_pixels(face) @ direction[POSE], expected)
    scale = slope(lambda t: np.array(pose(directions, t).placement.scale), theta, direction)
    assert_close(np.array(moved.scale @ direction[POSE]), scale)
    offset = slope(lambda t: np.array(pose(directions, t).placement.offset), theta, direction)
    assert_close(moved.offset @ direction[POSE], offset)


@pytest.mark.parametrize("group", ["rotation", "shape", "expression"])
def test_positions(directions, theta, scene, group):
    face, moved, samples = scene
    direction = random_direction(GROUPS[group])
    along = np.broadcast_to(np.eye(2), (len(samples.corners), 2, 2))
    rows = position_rows(face, moved, samples, along)
    expected = slope(lambda t: samples.positions(pose(directions, t)), theta, direction)
    assert_close(rows @ direction[POSE], expected)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("gradient", [0.0, 3.0])
def test_colour_differences(directions, theta, scene, group, gradient):
    """The photo is a plane per channel, so that its derivative is the same everywhere."""
    face, moved, samples = scene
    plane = gradient * np.random.default_rng(4).normal(size=(3, 2))
    count = len(samples.corners)
    weights = np.random.default_rng(6).uniform(0.5, 2, count)

    def residual(at):
        posed = pose(directions, at)
        return weights[:, None] * (colours(posed, samples) - samples.positions(posed) @ plane.T)

    direction = random_direction(GROUPS[group], seed=7)
    rows = jacobian(face, moved, samples, np.broadcast_to(plane, (count, 3, 2)), weights)
    assert_close(rows @ direction, slope(residual, theta, direction))


def test_every_column_of_a_few_samples(directions, theta, scene):
    face, moved, samples = scene
    few = samples.part(slice(0, 5))
    plane = np.array([[2.0, -1.0], [0.5, 3.0], [-2.0, 1.0]])
    rows = jacobian(face, moved, few, np.broadcast_to(plane, (5, 3, 2)), np.ones(5))

    def residual(at):
        posed = pose(directions, at)
        return colours(posed, few) - few.positions(posed) @ plane.T

    for column in range(0, 350, 13):
        expected = slope(residual, theta, np.eye(350)[column])
        np.testing.assert_allclose(rows[:, :, column], expected, atol=1e-5 * max(1, np.abs(expected).max()))


def test_landmark_and_prior_terms_are_the_energys(directions, theta, scene):
    """Half the energy's derivative is J^T r, of all terms that need no pixels."""
    face, moved, _ = scene
    points = (face.landmark_pixels + np.random.default_rng(8).normal(0, 4, (68, 2))).astype(np.float32)
    target = Target(np.zeros((240, 240, 3), np.float32), np.ones((240, 240), bool), points)
    options = FitOptions(photometric=0.0, light=3.0, tint=2.0)
    equations = linearise(face, view(face), target, options, np.random.default_rng(0))
    direction = np.random.default_rng(9).normal(size=350)

    def total(at):
        posed = pose(directions, at)
        return np.array(energy(posed, view(posed), target, options).total)

    assert_close(np.array(2 * equations.gradient @ direction), slope(total, theta, direction), 1e-5)
    rows, residual = landmark_rows(face, moved, target, options)
    prior, _ = prior_rows(options)
    matrix = prior.T @ prior
    matrix[POSE, POSE] += rows.T @ rows
    np.testing.assert_allclose(equations.matrix, matrix, rtol=1e-9, atol=1e-12)
    distance = landmarks66(face.landmark_pixels - points)
    assert residual @ residual == pytest.approx(options.landmark * (distance**2).sum(axis=1).mean(), rel=1e-5)


def test_white_constant_light_of_usual_brightness_costs_nothing():
    rows, wanted = prior_rows(FitOptions())
    neutral = Parameters.neutral().vector().astype(np.float64)
    assert np.abs(rows @ neutral - wanted).max() < 1e-6
    costs = []
    for changed in ((0, 1, 2), (0,), (5,)):
        light = neutral.copy()
        light[GROUPS["illumination"].start + np.array(changed)] += 0.1
        costs.append(((rows @ light - wanted) ** 2).sum())
    defaults = FitOptions()
    assert costs[0] == pytest.approx(0.01 * defaults.level, rel=1e-5)
    assert costs[1] == pytest.approx(0.01 * (defaults.level / 9 + defaults.tint * 2 / 3), rel=1e-5)
    assert costs[2] == pytest.approx(0.01 * (defaults.light + defaults.tint * 2 / 3), rel=1e-5)


def test_the_photos_slope_stays_inside_the_face_region():
    photo = np.zeros((240, 240, 3), np.float32)
    photo[:, :, 0] = 2 * np.arange(240)[None] + 5 * np.arange(240)[:, None]
    mask = np.zeros((240, 240), bool)
    mask[50:100, 60:90] = True
    target = Target(photo * mask[:, :, None], mask, np.zeros((68, 2), np.float32))
    inside = target.gradient[50:100, 60:90]
    np.testing.assert_array_equal(inside[..., 0, 0], 2)
    np.testing.assert_array_equal(inside[..., 0, 1], 5)
    assert not inside[..., 1:, :].any()
    assert LEVELS == 255
