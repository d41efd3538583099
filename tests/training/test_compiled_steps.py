"""The compiled corpus beside the torch one: each step on the same picture, from the same random numbers."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch.nn import functional

from training import degradations, jpeg, occluders
from training.augmentation import apply_tone, draw_backgrounds
from training.augmentation_options import AugmentationOptions, DegradationOptions, OccluderOptions
from training.compiled_corpus import backgrounds, blurring, encoding, noise, occluding, resampling
from training.compiled_corpus import jpeg as compiled_jpeg
from training.compiled_corpus.renderer import CompiledRenderer
from training.torch_model import TorchFaceModel
from training.torch_renderer import render_crops
from training.torch_shading import srgb_encode

SIZE = 120
ANY = torch.Generator()
KINDS = [item.name for item in fields(OccluderOptions)]


class Replay:
    """Gives torch numbers that are known, in the order in which it asks for them."""

    def __init__(self, monkeypatch, uniform=(), normal=()):
        self.uniform, self.normal = np.ravel(uniform), np.ravel(normal)
        monkeypatch.setattr(torch, "rand", lambda *shape, **_: self._next("uniform", shape))
        monkeypatch.setattr(torch, "randn", lambda *shape, **_: self._next("normal", shape))

    def _next(self, kind, shape):
        shape = shape[0] if isinstance(shape[0], tuple) else shape
        values, count = getattr(self, kind), int(np.prod(shape))
        assert len(values) >= count
        setattr(self, kind, values[count:])
        return torch.from_numpy(values[:count].reshape(shape).astype(np.float32))


@pytest.fixture
def picture(rng):
    """A smooth picture with some detail, linear or sRGB."""
    coarse = torch.from_numpy(rng.random((1, 3, 9, 9), np.float32))
    smooth = functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1)[0].numpy()
    return np.ascontiguousarray((smooth + 0.05 * rng.random((3, SIZE, SIZE), np.float32)).clip(0, 1))


def batch(planes):
    return torch.from_numpy(planes.copy())[None]


def numbers(rng, kind):
    module = backgrounds if kind == "background" else occluding
    return rng.random(module.UNIFORM, np.float32), rng.standard_normal(module.NORMAL, np.float32)


def test_faces_equal_the_torch_renderers(face_model, theta):
    crops, same = CompiledRenderer(face_model).render(theta, None, 0)
    rendered = render_crops(TorchFaceModel(face_model), torch.from_numpy(theta))
    assert np.array_equal(same, theta)
    assert (np.any(crops > 0, axis=3) & ~rendered.masks.numpy()).sum() == 0
    off = np.abs(crops.astype(int) - rendered.crops().numpy())
    # Where a pixel's centre lies on a triangle's edge, rounding decides.
    assert (off > 1).any(axis=3).mean() < 2e-5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_occluders_equal_torchs(monkeypatch, picture, rng, kind, seed):
    rng = np.random.default_rng(seed)
    uniform, normal = numbers(rng, kind)
    eyes = np.array([[0.33, 0.37], [0.66, 0.41]], np.float32)
    centres = (torch.arange(SIZE) + 0.5) / SIZE
    Replay(monkeypatch, uniform, normal)
    canvas = occluders._Canvas(centres[None, None], centres[None, :, None], torch.from_numpy(eyes)[None], ANY)
    opacity, colour = occluders.LAYERS[kind](canvas)
    below = batch(picture)
    expected = (below + opacity[:, None] * (colour - below))[0].numpy()
    result = picture.copy()
    occluding.occlude(result, KINDS.index(kind), eyes, uniform, normal)
    np.testing.assert_allclose(result, expected, atol=2e-4)
    assert kind == "fringes" or np.abs(result - picture).max() > 0.01


def test_every_kind_of_occluder_has_its_place():
    assert list(occluders.LAYERS) == KINDS


def test_backgrounds_equal_torchs(monkeypatch, picture, rng):
    uniform, normal = numbers(rng, "background")
    nearest = np.zeros((SIZE, SIZE), np.float32)
    nearest[10:90, 30:100] = 1
    nearest[40:50, 50:60] = 0
    nearest[95] = 1
    Replay(monkeypatch, uniform, normal)
    behind = draw_backgrounds(batch(picture), ANY)[0].numpy()
    result = picture.copy()
    backgrounds.fill_background(result, nearest, uniform, normal)
    np.testing.assert_allclose(result, np.where(nearest > 0, picture, behind), atol=1e-5)


@pytest.mark.parametrize("deviation", [0.0, 1.7, -2.0])
def test_encoding_and_tone_equal_torchs(monkeypatch, rng, deviation):
    linear = rng.uniform(-0.1, 1.2, (3, SIZE, SIZE)).astype(np.float32)
    linear[0, :2] = np.linspace(0, 0.01, 2 * SIZE).reshape(2, -1)
    options = AugmentationOptions(tone=0.1)
    Replay(monkeypatch, normal=[deviation])
    expected = apply_tone(srgb_encode(batch(linear)), options, ANY)[0].numpy()
    result = linear.copy()
    encoding.encode(result, np.float32(np.exp(0.1 * deviation)))
    np.testing.assert_allclose(result, expected, atol=5e-6)


@pytest.mark.parametrize("small", [40, 63, 100, 119])
def test_resizing_equals_torchs(picture, small):
    half, lower = np.empty((3, SIZE, small), np.float32), np.empty((3, small, small), np.float32)
    resampling.resize_turned(picture, *resampling.shrinking(SIZE, small), half)
    resampling.resize_turned(half, *resampling.shrinking(SIZE, small), lower)
    expected = functional.interpolate(batch(picture), size=(small, small), mode="bilinear", antialias=True)
    np.testing.assert_allclose(lower, expected[0].numpy(), atol=2e-6)
    half, back = np.empty((3, small, SIZE), np.float32), np.empty_like(picture)
    resampling.resize_turned(lower, *resampling.enlarging(small, SIZE), half)
    resampling.resize_turned(half, *resampling.enlarging(small, SIZE), back)
    expected = functional.interpolate(batch(lower), size=(SIZE, SIZE), mode="bilinear")
    np.testing.assert_allclose(back, expected[0].numpy(), atol=2e-6)


@pytest.mark.parametrize(
    ("blurred", "moved"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)], ids=["focus", "motion", "both"]
)
def test_blur_equals_torchs(monkeypatch, picture, rng, blurred, moved):
    options = DegradationOptions(blur_probability=blurred, motion_probability=moved)
    sigma, length, angle = rng.random(3)
    # Sizes, whether they happen (0.5 < 1 does, not < 0), and the angle, in torch's order.
    Replay(monkeypatch, [sigma, 0.5, length, 0.5, angle])
    kernels = degradations._draw_kernels(1, 0.8, 1.0, options, ANY)
    own = blurring.blur_kernel(
        blurred * 0.8 * (0.6 + 1.4 * sigma), moved * 0.8 * (3 + 6 * length), np.pi * angle
    )
    np.testing.assert_allclose(own, kernels[0].numpy(), atol=1e-6)
    expected = degradations.blur(batch(picture), kernels)[0].numpy()
    result = picture.copy()
    blurring.blur(result, own)
    np.testing.assert_allclose(result, expected, atol=3e-6)


@pytest.mark.parametrize("size", [SIZE, 97])
def test_noise_equals_torchs_of_the_same_numbers(monkeypatch, picture, size):
    picture = np.ascontiguousarray(picture[:, :size, :size])
    options = DegradationOptions(noise_probability=1.0)
    pairs = (size + 1) // 2
    rows = np.empty((3 * size, 2 * pairs), np.float32)
    for row, values in enumerate(rows):
        noise.normal_numbers(np.uint32(7), row * pairs, values)
    # Whether it happens, and the strengths of both kinds.
    Replay(monkeypatch, [0.5, 0.9, 0.7], rows[:, :size])
    expected = degradations.add_noise(batch(picture), options, ANY).clamp(0, 1)[0].numpy()
    result = picture.copy()
    read, shot = (np.float32((share * limit) ** 2) for share, limit in ((0.9, 0.02), (0.7, 0.03)))
    noise.add_noise(result, read, shot, np.uint32(7))
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("size", [SIZE, 83])
@pytest.mark.parametrize("subsample", [True, False])
@pytest.mark.parametrize("quality", [12.0, 49.6, 90.0])
def test_jpeg_equals_torchs(picture, quality, subsample, size):
    picture = np.ascontiguousarray(picture[:, :size, :size])
    expected = jpeg.jpeg(batch(picture), torch.tensor([quality]), subsample)[0].numpy()
    result = picture.copy()
    compiled_jpeg.jpeg(result, quality, subsample)
    levels = np.abs(result - expected) * 255
    # A coefficient halfway between two multiples of its step falls to either, and its block with it.
    assert np.median(levels) < 1e-3
    assert (levels > 1.5).mean() < 0.01
    assert levels.max() < 40


@pytest.mark.parametrize("name", ["exposure", "noise", "jpeg"])
def test_pictures_of_both_ways_have_the_same_statistics(synthetic_model, name):
    """Means over faces of brightness, detail and spread of colour, of all steps and of some."""
    from inversefacenet.sampling import NATURAL
    from training.corpus import RenderedCorpus, augmentation_named

    steps = {"exposure": "colour", "noise": "noise,blur", "jpeg": "resolution,jpeg"}[name]
    results = []
    for compiled in (True, False):
        corpus = RenderedCorpus(
            model=synthetic_model,
            distribution=NATURAL,
            augmentation=augmentation_named(steps),
            batch_size=96,
            batches=1,
            seed=5,
            device=torch.device("cpu"),
            compiled=compiled,
        )
        crops = corpus[0][0].numpy().astype(np.float32)
        inside = crops.max(axis=3) > 0
        detail = np.abs(np.diff(crops, axis=2))[inside[:, :, 1:] & inside[:, :, :-1]]
        colours = crops[inside]
        results.append([colours.mean(), colours.std(), detail.mean(), colours.std(axis=1).mean()])
    # The faces are the same, what happens to them is not: means of 96 faces differ by a few per cent.
    np.testing.assert_allclose(results[0], results[1], rtol=0.12)
