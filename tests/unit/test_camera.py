from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inversefacenet.camera import (
    CAMERA_DISTANCE,
    Placement,
    fit_placement,
    landmark_points,
    project,
    rotation_matrix,
)
from inversefacenet.errors import LandmarkError

NOSE_TIP, CHIN, LEFT_IN_IMAGE, RIGHT_IN_IMAGE = 30, 8, 36, 45


def turned(model, yaw=0.0, pitch=0.0, roll=0.0):
    """Landmarks on the image plane (x right, y down) of a turned mean face."""
    rotation = rotation_matrix(np.array([yaw, pitch, roll])).astype(np.float32)
    return landmark_points(model, model.mean_geometry @ rotation.T, roll)


def test_rotation_is_yaw_then_pitch_then_roll_about_fixed_axes(rng):
    angles = rng.uniform(-1.5, 1.5, (50, 3))
    expected = Rotation.from_euler("yxz", angles).as_matrix()
    np.testing.assert_allclose(rotation_matrix(angles), expected, atol=1e-12)


def test_rotation_keeps_batches_and_precision(rng):
    matrices = rotation_matrix(rng.normal(size=(2, 5, 3)).astype(np.float32))
    assert matrices.shape == (2, 5, 3, 3)
    assert matrices.dtype == np.float32


def test_positive_yaw_turns_the_face_to_the_images_right(synthetic_model):
    def nose_against_eyes(points):
        return points[NOSE_TIP, 0] - points[[LEFT_IN_IMAGE, RIGHT_IN_IMAGE], 0].mean()

    straight = nose_against_eyes(turned(synthetic_model))
    assert nose_against_eyes(turned(synthetic_model, yaw=0.4)) > straight + 0.01
    assert nose_against_eyes(turned(synthetic_model, yaw=-0.4)) < straight - 0.01


def test_positive_pitch_makes_the_face_look_down(synthetic_model):
    def nose_above_chin(points):
        return points[CHIN, 1] - points[NOSE_TIP, 1]

    assert (
        nose_above_chin(turned(synthetic_model, pitch=0.4)) < nose_above_chin(turned(synthetic_model)) - 0.01
    )


def test_positive_roll_turns_the_face_counter_clockwise_in_the_image(synthetic_model):
    points = turned(synthetic_model, roll=0.4)
    # Its right eye, in the image, rises; y points down.
    assert points[RIGHT_IN_IMAGE, 1] < points[LEFT_IN_IMAGE, 1] - 0.01


def test_projection_is_a_pinhole_on_the_z_axis(rng):
    points = rng.uniform(-100, 100, (20, 3))
    depth = CAMERA_DISTANCE - points[:, 2]
    np.testing.assert_allclose(project(points)[:, 0], points[:, 0] / depth)
    np.testing.assert_allclose(project(points)[:, 1], -points[:, 1] / depth)


def test_nearer_things_look_larger():
    near, far = project(np.array([[10.0, 0, 100], [10.0, 0, -100]]))
    assert near[0] / far[0] == pytest.approx(800 / 600)


def test_placement_inverse_and_composition(rng):
    points = rng.normal(size=(7, 2))
    first, second = Placement(3.0, (1.0, -2.0)), Placement(0.25, (10.0, 5.0))
    np.testing.assert_allclose(first.inverse().apply(first.apply(points)), points)
    np.testing.assert_allclose(first.then(second).apply(points), second.apply(first.apply(points)))
    assert first.apply(points.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(("wide", "high"), [(50, 20), (20, 50), (30, 30)])
def test_fitted_box_touches_the_margin_and_is_centred(rng, wide, high):
    points = rng.random((66, 2)) * [wide, high] + [300, -40]
    placed = fit_placement(points).apply(points)
    low, high_ = placed.min(axis=0), placed.max(axis=0)
    np.testing.assert_allclose((low + high_) / 2, [120, 120])
    assert (high_ - low).max() == pytest.approx(238)
    assert low.min() >= 1 - 1e-9


def test_fit_takes_other_sizes_and_margins():
    points = np.array([[0.0, 0], [10, 5]])
    placement = fit_placement(points, size=100, margin=10)
    assert placement.scale == 8
    np.testing.assert_allclose(placement.apply(points), [[10, 30], [90, 70]])


@pytest.mark.parametrize("bad", [np.ones((66, 2)), np.full((66, 2), np.nan), np.array([[0, 0], [np.inf, 1]])])
def test_unusable_points_are_refused(bad):
    with pytest.raises(LandmarkError), np.errstate(invalid="ignore"):
        fit_placement(bad)


def test_inner_points_are_the_landmark_vertices(synthetic_model):
    points = landmark_points(synthetic_model, synthetic_model.mean_geometry, 0.0)
    expected = project(synthetic_model.mean_geometry[synthetic_model.landmarks])
    np.testing.assert_array_equal(points[17:], expected[17:])


def test_jaw_points_are_the_outermost_candidates(synthetic_model):
    rotated = synthetic_model.mean_geometry @ rotation_matrix(np.array([0.8, 0.2, 0.0])).T.astype(np.float32)
    points = landmark_points(synthetic_model, rotated, 0.0)
    fixed = project(rotated[synthetic_model.landmarks[:17]])
    slid = 0
    for j, direction in enumerate(synthetic_model.contour_directions):
        outward = direction * [1, -1]
        reach = [project(rotated[v]) @ outward for v in synthetic_model.contour_candidates[j]]
        assert points[j] @ outward == pytest.approx(max(reach), abs=1e-6)
        slid += not np.allclose(points[j], fixed[j])
    assert slid >= 2


def test_roll_turns_all_landmarks_about_the_picture_centre(synthetic_model):
    # Roll comes last, about the camera's axis: an exact rotation of the picture, sliding included.
    roll = 0.7
    upright, rolled = turned(synthetic_model, 0.5, -0.2, 0.0), turned(synthetic_model, 0.5, -0.2, roll)
    c, s = np.cos(roll), np.sin(roll)
    np.testing.assert_allclose(rolled, upright @ np.array([[c, -s], [s, c]]), atol=2e-6)


def test_a_single_candidate_stays_where_it_is(synthetic_model):
    fixed = replace(synthetic_model, contour_candidates=synthetic_model.landmarks[:17, None])
    points = landmark_points(fixed, fixed.mean_geometry, 0.0)
    np.testing.assert_array_equal(points, project(fixed.mean_geometry[fixed.landmarks]))
