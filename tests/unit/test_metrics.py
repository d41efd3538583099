import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from inversefacenet.crop import crop_face, face_mask
from inversefacenet.metrics import (
    geometric_error,
    geometric_error_aligned,
    intersection_over_union,
    landmark_distance,
    measure,
    photometric_error,
    rotation_error,
)
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render


def picture(*levels):
    """One row of grey pixels."""
    return np.repeat(np.array([levels], np.uint8)[..., None], 3, axis=2)


def test_photometric_error_by_hand():
    photo, rendered = picture(10, 20, 200), picture(13, 16, 0)
    mask = np.array([[True, True, False]])
    assert photometric_error(photo, rendered, mask) == pytest.approx(np.sqrt((9 + 16) / 2))
    assert photometric_error(rendered, photo, mask) == pytest.approx(np.sqrt((9 + 16) / 2))


def test_photometric_error_counts_each_channel():
    photo, rendered = picture(0), picture(0)
    rendered[0, 0, 1] = 30
    assert photometric_error(photo, rendered, np.ones((1, 1), bool)) == pytest.approx(30 / np.sqrt(3))


def test_photometric_error_spans_0_to_255():
    whole = np.ones((1, 2), bool)
    assert photometric_error(picture(0, 0), picture(255, 255), whole) == 255
    assert photometric_error(picture(7, 9), picture(7, 9), whole) == 0
    assert photometric_error(picture(7, 9), picture(7, 9), ~whole) == 255


def test_intersection_over_union_by_hand():
    first, second = np.array([[1, 1, 1, 0, 0]], bool), np.array([[0, 1, 1, 1, 0]], bool)
    assert intersection_over_union(first, second) == 0.5
    assert intersection_over_union(first, first) == 1
    assert intersection_over_union(first, ~first) == 0
    assert intersection_over_union(first & ~first, first & ~first) == 0


def test_landmark_distance_leaves_out_the_inner_lip_corners():
    points = np.zeros((68, 2))
    moved = points.copy()
    moved[:] = [3, 4]
    moved[[60, 64]] = 1e6
    assert landmark_distance(points, moved) == pytest.approx(5)
    moved[0] = 0
    assert landmark_distance(points, moved) == pytest.approx(5 * 65 / 66)


def test_geometric_error_is_the_root_mean_squared_distance():
    truth = np.zeros((2, 3))
    assert geometric_error(np.array([[3.0, 0, 4], [0, 0, 0]]), truth) == pytest.approx(np.sqrt(25 / 2))
    assert geometric_error(truth + np.array([0, 0, 2]), truth) == pytest.approx(2)


def test_alignment_removes_rigid_motion_and_nothing_else(rng):
    truth = rng.normal(size=(50, 3)) * [60, 80, 40]
    rotation = Rotation.from_euler("xyz", [0.4, -0.3, 0.2]).as_matrix()
    moved = truth @ rotation.T + [10, -20, 30]
    assert geometric_error(moved, truth) > 20
    assert geometric_error_aligned(moved, truth) < 1e-9
    centred = truth - truth.mean(axis=0)
    expected = 0.1 * np.sqrt((centred**2).sum(axis=1).mean())
    assert geometric_error_aligned(1.1 * moved, truth) == pytest.approx(expected)


def test_alignment_agrees_with_scipy_and_never_mirrors(rng):
    truth, other = rng.normal(size=(2, 30, 3))
    a, b = other - other.mean(axis=0), truth - truth.mean(axis=0)
    _, residual = Rotation.align_vectors(b, a)
    assert geometric_error_aligned(other, truth) == pytest.approx(residual / np.sqrt(30))
    assert geometric_error_aligned(truth * [-1, 1, 1], truth) > 0.1


def test_rotation_error_is_the_angle_between(rng):
    base = Rotation.random(random_state=1).as_matrix()
    for degrees in (0.0, 0.5, 30.0, 179.0):
        axis = rng.normal(size=3)
        step = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
        assert rotation_error(step @ base, base) == pytest.approx(degrees, abs=1e-5)


def test_a_rendering_of_itself_is_nearly_perfect(synthetic_model):
    rendering = render(synthetic_model, Parameters.neutral())
    quality = measure(crop_face(rendering.image, rendering.landmarks), rendering)
    assert quality.photometric < 0.5
    assert quality.photometric_visible < 0.5
    assert quality.iou > 0.95
    assert quality.iou_hull > 0.999
    assert quality.landmark < 1e-3
    assert quality.nme < 1e-5


def test_quality_is_put_together_from_the_measures(synthetic_model):
    truth = render(synthetic_model, Parameters.from_dict({"rotation": [0.5, 0.1, 0.05]}))
    other = render(synthetic_model, Parameters.from_dict({"illumination": np.full((9, 3), 0.2).tolist()}))
    crop = crop_face(truth.image, truth.landmarks)
    quality = measure(crop, other)
    difference = (crop.image.astype(float) - other.image)[crop.mask]
    assert quality.photometric == pytest.approx(np.sqrt((difference**2).mean()))
    visible = (crop.image.astype(float) - other.image)[crop.mask & other.mask]
    assert quality.photometric_visible == pytest.approx(np.sqrt((visible**2).mean()))
    assert quality.iou == intersection_over_union(crop.mask, other.model_mask)
    assert quality.iou_hull == intersection_over_union(crop.mask, face_mask(other.landmarks))
    assert quality.landmark == landmark_distance(crop.landmarks, other.landmarks)
    eyes = np.linalg.norm(crop.landmarks[36] - crop.landmarks[45])
    assert quality.nme == pytest.approx(quality.landmark / eyes)


def test_uncovered_pixels_count_as_black(synthetic_model):
    # A face turned far away leaves a part of a frontal face's mask uncovered.
    front = render(synthetic_model, Parameters.neutral())
    turned = render(synthetic_model, Parameters.from_dict({"rotation": [1.2, 0, 0]}))
    crop = crop_face(front.image, front.landmarks)
    uncovered = crop.mask & ~turned.mask
    assert uncovered.sum() > 500
    quality = measure(crop, turned)
    assert quality.photometric > quality.photometric_visible
    count, visible = crop.mask.sum(), (crop.mask & turned.mask).sum()
    black = (crop.image[uncovered].astype(float) ** 2).mean()
    expected = np.sqrt((visible * quality.photometric_visible**2 + uncovered.sum() * black) / count)
    assert quality.photometric == pytest.approx(expected)


def test_quality_is_ready_for_json(synthetic_model):
    rendering = render(synthetic_model, Parameters.neutral())
    quality = measure(crop_face(rendering.image, rendering.landmarks), rendering).to_dict()
    assert set(json.loads(json.dumps(quality))) == {
        "photometric",
        "photometric_visible",
        "iou",
        "iou_hull",
        "landmark",
        "nme",
    }
