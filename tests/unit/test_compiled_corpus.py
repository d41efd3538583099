import io
import subprocess
import sys
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
from numba import njit
from PIL import Image

from benchmarks.corpus import StepTimes, time_ways
from inversefacenet.crop import face_mask
from inversefacenet.parameters import ILLUMINATION
from inversefacenet.sampling import NATURAL
from training.augmentation_options import (
    AUGMENTATIONS,
    NO_DEGRADATIONS,
    NO_OCCLUDERS,
    AugmentationOptions,
    CorpusAugmentation,
    DegradationOptions,
    OccluderOptions,
)
from training.compiled_corpus import arithmetic, draws, faces, jpeg, noise
from training.compiled_corpus.renderer import CompiledRenderer
from training.rendered import rendered_images

PHOTOGRAPHIC = AUGMENTATIONS["photographic"]
NOTHING = AugmentationOptions(0.0, 0.0, 0.0, False, NO_OCCLUDERS, NO_DEGRADATIONS)


@pytest.fixture(scope="module")
def renderer(synthetic_model):
    return CompiledRenderer(synthetic_model)


@pytest.fixture(scope="module")
def theta(synthetic_model):
    return NATURAL.sample(np.random.default_rng(4), 6, synthetic_model)


def test_the_package_works_without_torch():
    code = "import sys, training.compiled_corpus.renderer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("which", ["synthetic_model", "default_model"])
def test_plain_crops_are_the_librarys(request, which, theta):
    model = request.getfixturevalue(which)
    crops, same = CompiledRenderer(model).render(theta, None, 0)
    difference = np.abs(crops.astype(int) - rendered_images(model, theta))
    assert np.array_equal(same, theta)
    assert (difference > 1).any(axis=3).mean() < 2e-5


def test_masks_are_the_librarys():
    rng = np.random.default_rng(5)
    spread = rng.uniform(-8, 104, (20, 68, 2))
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    circle = 48 + 40 * np.stack([np.cos(angle), np.sin(angle)], 1)
    lattice = np.stack(np.divmod(np.arange(68), 9), 1) * 8.0 + 10.5
    doubled = np.repeat(spread[0, ::2], 2, axis=0)
    for points in np.concatenate([spread, [circle, lattice, doubled]]).astype(np.float32):
        np.testing.assert_array_equal(faces.face_mask(points, 96), face_mask(points, 96))


def test_seed_decides_everything(renderer, theta):
    first, again, other = (renderer.render(theta, PHOTOGRAPHIC, seed) for seed in (1, 1, 2))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert (first[0] != other[0]).reshape(6, -1).any(axis=1).all()
    assert (first[1] != other[1]).any(axis=1).all()


def test_threads_may_share_a_renderer(renderer, theta):
    expected = [renderer.render(theta, PHOTOGRAPHIC, seed)[0] for seed in range(3)]
    results = {}

    def work(seed):
        results[seed] = renderer.render(theta, PHOTOGRAPHIC, seed)[0]

    threads = [Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[seed], expected[seed]) for seed in range(3))


def test_parameters_describe_the_gained_picture(renderer, theta):
    gains = CorpusAugmentation(replace(NOTHING, exposure=0.3, white_balance=0.2), landmark_noise=0.0)
    crops, changed = renderer.render(theta, gains, 3)
    again, _ = renderer.render(changed, None, 0)
    assert np.abs(crops.astype(int) - again).max() <= 1
    before = slice(0, ILLUMINATION.start)
    assert np.array_equal(changed[:, before], theta[:, before])
    ratio = (changed[:, ILLUMINATION] / theta[:, ILLUMINATION]).reshape(6, 9, 3)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-4)
    assert np.abs(ratio - 1).max() > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_everything_at_once_stays_black_outside_the_mask(synthetic_model, theta, seed):
    always = OccluderOptions(*[0.5] * 7)
    options = CorpusAugmentation(replace(PHOTOGRAPHIC.pictures, occluders=always), landmark_noise=0.0)
    crops, changed = CompiledRenderer(synthetic_model, 96).render(theta, options, seed)
    assert crops.shape == (6, 96, 96, 3)
    masks = [face_mask(points, 96) for points in _landmarks(synthetic_model, theta, 96)]
    for crop, mask in zip(crops, masks, strict=True):
        assert (crop[~mask] == 0).all()
        assert crop[mask].std() > 5
    assert np.isfinite(changed).all()


def _landmarks(model, theta, size):
    batches = faces.FaceBatches(model)
    return batches.place(theta, batches.offsets(theta)[0], None, size)[0]


def test_background_is_drawn_where_there_is_no_face(synthetic_model, theta):
    # Landmarks far off leave bare corners inside the mask.
    with_one, without = (
        CompiledRenderer(synthetic_model).render(
            theta, CorpusAugmentation(replace(NOTHING, background=background), landmark_noise=12.0), 5
        )[0]
        for background in (True, False)
    )
    changed = (with_one != without).any(axis=3)
    assert changed.mean() > 0.002
    assert (without[changed] == 0).all()


def test_shares_and_ranges_are_the_options(rng):
    count, options = 6000, AugmentationOptions(exposure=0.3, white_balance=0.1, tone=0.08)
    drawn = draws.draw_pictures(rng, count, 240, options)
    gains = np.log(drawn.gains)
    assert gains.mean(axis=1).std() == pytest.approx((0.3**2 + 0.1**2 / 3) ** 0.5, rel=0.05)
    assert np.log(drawn.exponent).std() == pytest.approx(0.08, rel=0.05)
    shares = np.bincount(drawn.kinds, minlength=7) / count
    np.testing.assert_allclose(shares, [0.08, 0.10, 0.08, 0.08, 0.05, 0.10, 0.10], atol=0.015)
    assert drawn.first[0] == 0
    assert drawn.first[-1] == len(drawn.kinds)
    assert np.diff(drawn.first).max() >= 3
    own, usual = drawn.degradations, DegradationOptions()
    lower = own.side[own.side < 240]
    assert len(lower) / count == pytest.approx(usual.resolution_probability, abs=0.02)
    assert (lower.min(), lower.max()) == (80, 200)
    for values, share in ((own.sigma, 0.3), (own.length, 0.15), (own.read, 0.5), (own.quality, 0.8)):
        assert (values > 0).mean() == pytest.approx(share, abs=0.02)
    assert own.subsample.mean() == pytest.approx(0.8, abs=0.02)
    assert 40 <= own.quality[own.quality > 0].min() < 41 < 94 < own.quality.max() <= 95
    assert own.sigma.max() <= 2
    assert np.sqrt(own.read.max()) == pytest.approx(0.02, rel=0.02)


def test_landmark_noise_is_larger_and_joint_on_the_jaw(rng):
    errors = draws.draw_landmark_noise(rng, 4000, 2.0)
    jaw, rest = errors[:, :17], errors[:, 17:]
    shared = 2 / 3
    assert rest.std() == pytest.approx((4 + shared**2) ** 0.5, rel=0.03)
    assert jaw[:, 8].std() == pytest.approx((16 + shared**2) ** 0.5, rel=0.03)
    assert np.corrcoef(jaw[:, 8, 0], jaw[:, 9, 0])[0, 1] > 0.7
    assert np.corrcoef(rest[:, 0, 0], rest[:, 9, 0])[0, 1] == pytest.approx(0.1, abs=0.05)


def test_noise_is_normal_and_without_pattern():
    rows = np.empty((400, 256), np.float32)
    for row, values in enumerate(rows):
        noise.normal_numbers(np.uint32(11), row * 128, values)
    flat = rows.ravel()
    assert flat.mean() == pytest.approx(0, abs=0.01)
    assert flat.std() == pytest.approx(1, abs=0.01)
    assert (np.abs(flat) > 2).mean() == pytest.approx(0.0455, abs=0.003)
    assert (flat**4).mean() == pytest.approx(3, abs=0.1)
    for first, second in ((rows[:, 1:], rows[:, :-1]), (rows[1:], rows[:-1]), (rows[:, :128], rows[:, 128:])):
        assert np.corrcoef(first.ravel(), second.ravel())[0, 1] == pytest.approx(0, abs=0.015)
    other = np.empty(256, np.float32)
    noise.normal_numbers(np.uint32(12), 0, other)
    assert np.abs(np.corrcoef(other, rows[0])[0, 1]) < 0.25


@pytest.mark.parametrize("subsample", [True, False])
@pytest.mark.parametrize("quality", [25, 75, 92])
def test_jpeg_equals_pillows(quality, subsample):
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 150, 90).astype(np.uint8)
    source = rng.integers(0, 30, (90, 90, 3)).astype(np.uint8)
    source[..., 0] += ramp
    source[..., 2] += ramp[::-1, None]
    stream = io.BytesIO()
    Image.fromarray(source).save(stream, "JPEG", quality=quality, subsampling=2 if subsample else 0)
    theirs = np.asarray(Image.open(stream)).astype(float)
    planes = np.ascontiguousarray(source.transpose(2, 0, 1).astype(np.float32) / 255)
    jpeg.jpeg(planes, float(quality), subsample)
    ours = planes.transpose(1, 2, 0) * 255
    assert 10 * np.log10(255**2 / np.square(ours - theirs).mean()) > 44


def test_arithmetic_is_as_exact_as_it_says():
    exp, log2, sine, sigmoid = arithmetic.exp, arithmetic.log2, arithmetic.sin, arithmetic.sigmoid

    @njit
    def work(x, results):
        for i in range(x.shape[0]):
            results[0, i] = exp(x[i])
            results[1, i] = log2(np.float32(abs(x[i]) + np.float32(1e-3)))
            results[2, i] = sine(x[i])
            results[3, i] = sigmoid(x[i])

    x = np.linspace(-30, 30, 5001).astype(np.float32)
    results = np.empty((4, len(x)), np.float32)
    work(x, results)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(results[0], np.exp(wide), rtol=3e-6)
    np.testing.assert_allclose(results[1], np.log2(np.abs(x) + np.float32(1e-3)), atol=1e-6)
    np.testing.assert_allclose(results[2], np.sin(wide), atol=1e-5)
    np.testing.assert_allclose(results[3], 1 / (1 + np.exp(-wide)), rtol=5e-6)


def test_the_benchmark_takes_turns_and_leaves_the_first_batch_out():
    now, calls = [0], []

    def way(name, duration):
        def batch(index):
            calls.append((name, index))
            now[0] += duration + (1000 if index == 0 else 0)

        return batch

    times = time_ways({"a": way("a", 10), "b": way("b", 30)}, 3, lambda: now[0])
    assert times == {"a": 10, "b": 30}
    assert calls == [(name, index) for index in range(4) for name in "ab"]


def test_the_benchmark_sees_every_step(renderer, theta):
    steps = StepTimes()
    plain = renderer.render(theta, PHOTOGRAPHIC, 1)[0]
    timed = renderer.render(theta, PHOTOGRAPHIC, 1, steps)[0]
    assert np.array_equal(plain, timed)
    assert {"geometry", "render", "mask", "background", "occluders", "tone", "final"} < set(steps.total)
