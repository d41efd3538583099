"""The fit as a whole, on rendered faces whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from inversefacenet.camera import Placement
from inversefacenet.crop import FaceCrop, face_mask, masked_crop
from inversefacenet.errors import ImageError, InputError, LandmarkError
from inversefacenet.fitting import FitOptions, fit
from inversefacenet.fitting.coverage import coverage_rows
from inversefacenet.fitting.directions import directions_of
from inversefacenet.fitting.normal_equations import spread
from inversefacenet.fitting.placing import motion
from inversefacenet.fitting.posed import POSE, pose
from inversefacenet.fitting.samples import Samples
from inversefacenet.fitting.view import Target, View, view
from inversefacenet.metrics import geometric_error, measure
from inversefacenet.parameters import GROUPS, Parameters
from inversefacenet.rasterizer import Fragments
from inversefacenet.rendering import render
from inversefacenet.sampling import NATURAL

QUICK = FitOptions(iterations=4, pixels=1000)


def crop_of(model, parameters):
    rendering = render(model, parameters)
    mask = face_mask(rendering.landmarks)
    image = rendering.image
    return FaceCrop(image * mask[..., None], image, mask, Placement(1.0, (0.0, 0.0)), rendering.landmarks)


@pytest.fixture(scope="module")
def truth(synthetic_model):
    return Parameters.from_vector(NATURAL.sample(np.random.default_rng(11), 1, synthetic_model)[0])


@pytest.fixture(scope="module")
def crop(synthetic_model, truth):
    return crop_of(synthetic_model, truth)


@pytest.fixture(scope="module")
def start(truth):
    """As a network answers: nearer to the mean face, and off in pose and light."""
    vector = truth.vector()
    rng = np.random.default_rng(12)
    for name in ("shape", "expression", "reflectance"):
        vector[GROUPS[name]] *= 0.5
    vector[GROUPS["rotation"]] += 0.07 * np.array([1, -1, 1], np.float32)
    vector[GROUPS["illumination"]] += rng.normal(0, 0.08, 27).astype(np.float32)
    return Parameters.from_vector(vector)


@pytest.fixture(scope="module")
def found(synthetic_model, crop, start):
    return fit(synthetic_model, crop, start, FitOptions(iterations=10, pixels=3000))


def test_a_disturbed_face_is_recovered(synthetic_model, crop, truth, start, found):
    before = measure(crop, render(synthetic_model, start))
    after = measure(crop, render(synthetic_model, found.parameters))
    assert before.photometric > 10
    assert after.photometric < 0.4 * before.photometric
    assert after.landmark < 0.4 * before.landmark
    assert after.iou >= before.iou
    faces = [synthetic_model.geometry(p.shape, p.expression) for p in (truth, start, found.parameters)]
    assert geometric_error(faces[2], faces[0]) < geometric_error(faces[1], faces[0])
    assert (
        np.abs(found.parameters.rotation - truth.rotation).max()
        < 0.5 * np.abs(start.rotation - truth.rotation).max()
    )


def test_energies_are_those_of_the_pictures(synthetic_model, crop, start, found):
    for parameters, stated in ((start, found.before), (found.parameters, found.after)):
        quality = measure(crop, render(synthetic_model, parameters))
        assert stated.rmse == pytest.approx(quality.photometric, abs=0.1)
        assert stated.total == pytest.approx(stated.photometric + stated.landmark + stated.prior)
    assert found.after.total < found.before.total
    assert 1 <= found.iterations <= 10


def test_the_same_fit_comes_out_every_time(synthetic_model, crop, start):
    first, second = (fit(synthetic_model, crop, start, QUICK) for _ in range(2))
    np.testing.assert_array_equal(first.parameters.vector(), second.parameters.vector())
    assert first.after == second.after


def test_what_lies_outside_the_face_region_does_not_matter(synthetic_model, crop, start):
    masked = replace(crop, unmasked=crop.image)
    first, second = (fit(synthetic_model, one, start, QUICK) for one in (crop, masked))
    np.testing.assert_array_equal(first.parameters.vector(), second.parameters.vector())


def test_landmarks_alone_lead_to_the_landmarks(synthetic_model, crop, start):
    options = FitOptions(photometric=0.0, iterations=8)
    found = fit(synthetic_model, crop, start, options)
    before = measure(crop, render(synthetic_model, start)).landmark
    assert measure(crop, render(synthetic_model, found.parameters)).landmark < 0.3 * before
    assert found.after.photometric == 0


def test_without_landmarks_colours_lead(synthetic_model, crop, start):
    unknown = masked_crop(crop.image)
    found = fit(synthetic_model, unknown, start, QUICK)
    assert found.after.landmark == 0
    assert found.after.rmse < 0.7 * found.before.rmse


@pytest.mark.parametrize(
    "options",
    [
        QUICK,
        replace(QUICK, robust=15.0),
        replace(QUICK, pixels=1),
        replace(QUICK, photometric=0.0, landmark=0.0),
        replace(QUICK, light=0.0, tint=0.0, shape=0.0, expression=0.0, reflectance=0.0),
    ],
    ids=["default", "robust", "one pixel", "priors alone", "no priors"],
)
def test_a_fit_is_never_worse_than_its_start(synthetic_model, crop, options, rng):
    for theta in NATURAL.sample(rng, 2, synthetic_model):
        found = fit(synthetic_model, crop, Parameters.from_vector(theta), options)
        assert found.after.total <= found.before.total
        assert np.isfinite(found.parameters.vector()).all()


def test_no_iterations_change_nothing(synthetic_model, crop, start):
    found = fit(synthetic_model, crop, start, FitOptions(iterations=0))
    np.testing.assert_array_equal(found.parameters.vector(), start.vector())
    assert found.before == found.after
    assert found.iterations == 0


def test_only_free_groups_change(synthetic_model, crop, start):
    options = replace(QUICK, free=("reflectance", "illumination"))
    found = fit(synthetic_model, crop, start, options)
    assert found.after.total < found.before.total
    for name in GROUPS:
        same = np.array_equal(getattr(found.parameters, name), getattr(start, name))
        assert same == (name not in options.free)


def test_a_robust_fit_ignores_what_covers_the_face(synthetic_model, crop, truth, start):
    hidden = crop.unmasked.copy()
    hidden[110:165, 60:180] = (20, 200, 40)
    covered = replace(crop, unmasked=hidden, image=hidden * crop.mask[..., None])
    free = crop.mask.copy()
    free[110:165, 60:180] = False

    def error(options):
        picture = render(synthetic_model, fit(synthetic_model, covered, start, options).parameters).image
        return np.sqrt(((picture[free].astype(float) - crop.unmasked[free]) ** 2).mean())

    plain = replace(QUICK, iterations=8)
    assert error(replace(plain, robust=20.0)) < 0.7 * error(plain)


def test_bare_pixels_pull_the_silhouette(synthetic_model, truth):
    """A face region that is longer below asks the points at its edge to move there."""
    face = pose(directions_of(synthetic_model), truth.vector().astype(np.float64))
    whole = view(face).fragments
    triangle = whole.triangle.copy()
    triangle[200:] = -1  # as if the mesh ended here
    seen = View(Fragments(triangle, whole.barycentric, whole.depth), np.zeros((240, 240, 3), np.float32))
    covered = seen.fragments.mask
    beside = np.arange(5) + 200 * 240 + 115
    mask = covered.copy()
    mask.ravel()[beside] = True
    target = Target(np.full((240, 240, 3), 100, np.float32), mask, face.landmark_pixels.astype(np.float32))
    rows, residual = coverage_rows(face, motion(face), seen, target, FitOptions())
    assert rows.shape == (5, POSE.stop)
    # One pixel away, the square is what a pixel's blackness costs.
    np.testing.assert_allclose(residual, -np.sqrt(100**2 / mask.sum()), rtol=1e-5)
    step = np.linalg.lstsq(rows, -residual, rcond=None)[0]
    vector = truth.vector().astype(np.float64)
    vector[POSE] += 0.5 * step
    samples = Samples.seen(face, seen, beside - 240)
    moved = samples.positions(pose(face.directions, vector)) - samples.positions(face)
    np.testing.assert_allclose(moved[:, 1], 0.5, atol=0.1)
    covered_alone = replace(target, mask=covered)
    assert coverage_rows(face, motion(face), seen, covered_alone, FitOptions())[0].size == 0


def test_pixels_are_spread_evenly(rng):
    pixels = np.arange(1000) * 3
    chosen = spread(pixels, 100, rng)
    assert len(np.unique(chosen)) == 100
    assert set(np.diff(chosen)) == {30}
    assert spread(pixels, 2000, rng) is pixels


def test_an_empty_face_region_is_refused(synthetic_model, crop, start):
    with pytest.raises(ImageError, match="face region is empty"):
        fit(synthetic_model, replace(crop, mask=np.zeros((240, 240), bool)), start)


def test_a_start_without_extent_is_refused(synthetic_model, crop):
    theta = Parameters.neutral().vector()
    theta[GROUPS["shape"]] = 3e38
    with np.errstate(all="ignore"), pytest.raises(LandmarkError):
        fit(synthetic_model, crop, Parameters.from_vector(theta))


@pytest.mark.parametrize(
    "wrong",
    [
        {"landmark": -1.0},
        {"shape": float("nan")},
        {"level": -1.0},
        {"pixels": 0},
        {"iterations": -1},
        {"robust": 0.0},
        {"free": ("pose",)},
        {"tolerance": float("inf")},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(InputError, match="fit"):
        FitOptions(**wrong)
