import math

import numpy as np
import pytest

from inversefacenet.comparison_kernels import CELL, OFF, STRANGE
from inversefacenet.crop import crop_face, face_mask
from inversefacenet.evidence import evidence, largest_region
from inversefacenet.landmarks import Face
from inversefacenet.metrics import intersection_over_union, measure, photometric_error
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import NATURAL

EYES, NOSE, MOUTH = (slice(36, 42), slice(42, 48)), slice(27, 36), slice(48, 68)
PLACES = (*EYES, NOSE, MOUTH)


@pytest.fixture(scope="module")
def pairs(default_model):
    """Crops of noisy renderings, each beside its own rendering and beside another face's."""
    rng = np.random.default_rng(4)
    faces = [
        render(default_model, Parameters.from_vector(vector))
        for vector in NATURAL.sample(rng, 5, default_model)
    ]
    found = []
    for i, face in enumerate(faces):
        noise = rng.normal(scale=30, size=face.image.shape) + rng.normal(scale=40, size=(1, 240, 3))
        photo = np.clip(face.image + noise, 0, 255).astype(np.uint8)
        points = face.landmarks + rng.normal(scale=3, size=(68, 2)).astype(np.float32)
        crop = crop_face(photo, points)
        found += [(crop, face), (crop, faces[i - 1])]
    return found


def averages(picture):
    return picture.reshape(48, CELL, 48, CELL, -1).mean(axis=(1, 3)).astype(np.float32)


def correlation(a, b):
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    rest = 2 * math.sqrt(a.size)
    return (a @ b) / ((np.linalg.norm(a) + rest) * (np.linalg.norm(b) + rest))


def window(centre, radius):
    low = np.rint((centre - radius) / CELL).astype(int)
    high = np.maximum(np.rint((centre + radius) / CELL).astype(int), low + 1)
    low, high = np.clip(low, 0, 48), np.clip(high, 0, 48)
    return slice(low[1], high[1]), slice(low[0], high[0])


def gradient(picture):
    return np.hypot(np.diff(picture, axis=0)[:, :-1], np.diff(picture, axis=1)[:-1])


def plain_pixels(crop, rendering):
    """The measures of pixels in plain numpy."""
    photo, drawn = averages(crop.unmasked), averages(rendering.image)
    face = averages(crop.mask)[..., 0] > 0.5
    seen = face & (averages(rendering.mask)[..., 0] > 0.9)
    grey, shown = photo.mean(axis=2), drawn.mean(axis=2)
    contrast = grey[seen].std() + 2
    off = np.where(seen, grey - shown - np.median((grey - shown)[seen]), 0)
    hue = np.diff(photo - drawn, axis=2)
    hue = np.where(seen, np.abs(hue - np.median(hue[seen], axis=0)).max(axis=2), 0)
    points = crop.landmarks.astype(float)
    eyes = np.linalg.norm(points[36] - points[45])
    down = (points[8] - points[36:48].mean(axis=0)) / 3
    darkness = [
        grey[window(points[eye].mean(axis=0) + down, 0.09 * eyes)].mean()
        - grey[window(points[eye].mean(axis=0), 0.1 * eyes)].min()
        for eye in EYES
    ]
    likeness = []
    for place in PLACES:
        cells = window(points[place].mean(axis=0), 0.22 * eyes)
        likeness.append(correlation(grey[cells], shown[cells]))
    edges, own = (gradient(one)[seen[:-1, :-1]] for one in (grey, shown))
    return {
        "likeness": correlation(grey[seen], shown[seen]),
        "unexplained": math.log(math.sqrt((off[seen] ** 2).mean()) / contrast + 0.02),
        "odd_region": largest_region(np.abs(off) > OFF) / face.sum(),
        "hue": math.log(math.sqrt((hue[seen] ** 2).mean()) + 1),
        "hue_region": largest_region(hue > STRANGE) / face.sum(),
        "least_likeness": min(likeness),
        "eye_darkness": min(darkness) / contrast,
        "edges": math.log((edges.mean() + 0.5) / contrast),
        "edge_likeness": correlation(edges, own),
    }


def after_similarity(points, onto):
    """Distances after the best similarity, by Procrustes without mirroring, and its angle."""
    a, b = points - points.mean(axis=0), onto - onto.mean(axis=0)
    u, s, vt = np.linalg.svd(a.T @ b)
    turn = u @ np.diag([1, np.linalg.det(u @ vt)]) @ vt
    scale = (s * [1, np.linalg.det(u @ vt)]).sum() / (a**2).sum()
    return np.linalg.norm(b - scale * a @ turn, axis=1), math.atan2(turn[0, 1], turn[0, 0])


def measured(crop, rendering):
    face = Face((0.0, 0.0, 240.0, 240.0), 1.0, crop.landmarks, 0.004)
    return evidence(face, crop, rendering, measure(crop, rendering))


def test_pixels_are_measured_as_in_plain_numpy(pairs):
    for crop, rendering in pairs:
        ours = measured(crop, rendering)
        for name, value in plain_pixels(crop, rendering).items():
            assert ours[name] == pytest.approx(value, abs=2e-5), name


def test_landmarks_are_measured_as_by_procrustes(pairs):
    for crop, rendering in pairs:
        ours = measured(crop, rendering)
        points, model = crop.landmarks.astype(float), rendering.landmarks.astype(float)
        eyes = np.linalg.norm(points[36] - points[45])
        inner, angle = after_similarity(model[17:], points[17:])
        whole, _ = after_similarity(model, points)
        assert ours["inner_points"] == pytest.approx(math.log(math.sqrt((inner**2).mean()) / eyes + 0.005))
        assert ours["jaw_points"] == pytest.approx(math.log(whole[:17].mean() / eyes + 0.005))
        assert ours["model_turned"] == pytest.approx(abs(angle), abs=1e-9)


def test_quality_is_that_of_the_plain_measures(pairs):
    for crop, rendering in pairs:
        quality = measure(crop, rendering)
        visible = crop.mask & rendering.mask
        assert quality.photometric == photometric_error(crop.unmasked, rendering.image, crop.mask)
        assert quality.photometric_visible == photometric_error(crop.unmasked, rendering.image, visible)
        assert quality.iou == intersection_over_union(crop.mask, rendering.model_mask)
        hull = face_mask(rendering.landmarks)
        assert quality.iou_hull == intersection_over_union(crop.mask, hull)


def test_the_largest_region_is_that_of_scipy(rng):
    from scipy.ndimage import label

    for share in (0.1, 0.4, 0.6, 0.9):
        marked = rng.random((31, 44)) < share
        before = marked.copy()
        labels, count = label(marked)
        assert largest_region(marked) == np.bincount(labels.ravel(), minlength=count + 2)[1:].max()
        np.testing.assert_array_equal(marked, before)
    assert largest_region(np.ones((5, 7), bool)) == 35
    assert largest_region(np.zeros((0, 0), bool)) == 0
