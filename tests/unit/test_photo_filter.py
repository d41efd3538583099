"""Which faces are good enough to learn from."""

import math

import numpy as np
import pytest

from inversefacenet.camera import Placement
from inversefacenet.landmarks import Face
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from training.photo_filter import PhotoFilter, implausible, inside_share

WHOLE = Placement(1.0, (0.0, 0.0))


@pytest.fixture(scope="module")
def points(default_model):
    """A face's landmarks, 240 pixels wide or high."""
    return render(default_model, Parameters.neutral()).landmarks


def box_of(points):
    """Return a box like the detector's: brows to chin, centred on the inner points."""
    x, y = points[17:].mean(axis=0)
    half = 0.5 * float(points[8, 1] - points[17:27, 1].mean())
    return (float(x) - half, float(y) - half, float(x) + half, float(y) + half)


def problem(points, box=None, score=1.0, placement=WHOLE, size=(240, 240), **thresholds):
    face = Face(box or box_of(points), score, points.astype(np.float32))
    found = PhotoFilter(**thresholds).problem(face, placement, *size)
    return found and found[0]


def test_a_good_face_passes(points):
    assert problem(points) is None


@pytest.mark.parametrize(("factor", "expected"), [(0.2, "small-face"), (1.0, None)])
def test_small_faces_are_named(points, factor, expected):
    assert problem(points * factor) == expected
    assert problem(points * factor, minimum_size=10) is None


@pytest.mark.parametrize("score", [0.19, -1.0, math.nan])
def test_doubtful_detections_are_named(points, score):
    assert problem(points, score=score) == "low-score"


def test_the_score_at_the_threshold_passes(points):
    assert problem(points, score=0.2) is None


def test_faces_at_the_border_are_named(points):
    assert inside_share(WHOLE, 240, 240) == 1.0
    assert inside_share(Placement(2.0, (-60.0, 0.0)), 100, 120) == pytest.approx(90 / 120 * 100 / 120)
    assert inside_share(Placement(1.0, (999.0, 0.0)), 100, 100) == 0.0
    assert problem(points, placement=Placement(1.0, (30.0, 0.0))) == "cut-off"
    assert problem(points, placement=Placement(1.0, (20.0, 0.0))) is None


def turned(points, degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    middle = points[17:].mean(axis=0)
    return (points - middle) @ np.array([[c, s], [-s, c]]) + middle


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: turned(p, 50), None),
        (lambda p: turned(p, 75), "rolled"),
        (lambda p: turned(p, 180), "rolled"),
        (lambda p: p * [1, 0.3] + [0, 80], "mouth is"),
        (lambda p: p[[*range(17), *range(27, 36), 17, *range(18, 27), *range(36, 68)]], "below each other"),
        (lambda p: np.concatenate([p[:36], p[36:48] * 0.1 + 100, p[48:]]), "eyes are"),
    ],
)
def test_landmarks_unlike_a_face_are_named(points, change, words):
    found = implausible(change(points).astype(np.float32), box_of(points))
    assert found is None if words is None else words in found


def test_landmarks_beside_their_box_are_named_unless_all_are_wanted(points):
    left, top, right, bottom = box_of(points)
    box = (left + 120, top, right + 120, bottom)
    assert problem(points, box=box) == "implausible-landmarks"
    assert problem(points, box=box, plausible=False) is None
