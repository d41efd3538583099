import io
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image

from training import degradations
from training.augmentation import (
    AugmentationOptions,
    apply_gains,
    apply_tone,
    augment_crops,
    augment_linear,
    augment_rendered,
    draw_gains,
    draw_landmark_noise,
)
from training.degradations import DegradationOptions, degrade
from training.jpeg import jpeg
from training.occluders import OccluderOptions, occlude
from training.torch_model import TorchFaceModel
from training.torch_renderer import render_crops
from training.torch_shading import srgb_encode

DEVICES = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
SIZE = 96
NO_OCCLUDERS = OccluderOptions(**{item.name: 0.0 for item in fields(OccluderOptions)})
NO_DEGRADATIONS = DegradationOptions(
    resolution_probability=0.0,
    blur_probability=0.0,
    motion_probability=0.0,
    noise_probability=0.0,
    jpeg_probability=0.0,
)
NOTHING = AugmentationOptions(0.0, 0.0, 0.0, False, NO_OCCLUDERS, NO_DEGRADATIONS)


def seeded(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


@pytest.fixture(scope="module")
def model(synthetic_model):
    return TorchFaceModel(synthetic_model)


@pytest.fixture(scope="module")
def rendered(model, theta):
    return render_crops(model, torch.from_numpy(theta), size=SIZE)


def test_rendering_with_gained_light_equals_the_gained_rendering(model, rendered, theta):
    gains = torch.tensor([[0.5, 1.0, 2.0], [1.3, 0.7, 1.0], [1, 1, 1], [0.2, 0.2, 0.2], [1.1, 1.2, 1.3]])
    linear, changed = apply_gains(rendered.linear, torch.from_numpy(theta), gains)
    again = render_crops(model, changed, size=SIZE)
    torch.testing.assert_close(again.linear, linear, atol=1e-5, rtol=1e-5)
    levels = [(srgb_encode(picture) * 255).round() for picture in (again.linear, linear)]
    assert (levels[0] - levels[1]).abs().max() <= 1
    assert torch.equal(changed[:, :323], torch.from_numpy(theta)[:, :323])
    assert not torch.equal(changed[:, 323:], torch.from_numpy(theta)[:, 323:])


def test_augmented_theta_describes_the_picture(model, rendered, theta):
    options = replace(NOTHING, exposure=0.3, white_balance=0.2)
    crops, changed = augment_rendered(rendered, torch.from_numpy(theta), options, seeded(4))
    expected = render_crops(model, changed, size=SIZE).crops()
    assert (crops.int() - expected.int()).abs().max() <= 1
    assert (crops.int() - rendered.crops().int()).abs().float().mean() > 3


def test_gains_have_the_asked_spread():
    gains = draw_gains(4000, replace(NOTHING, exposure=0.3, white_balance=0.1), seeded()).log()
    assert gains.mean(dim=1).std() == pytest.approx((0.3**2 + 0.1**2 / 3) ** 0.5, rel=0.05)
    assert (gains - gains.mean(dim=1, keepdim=True)).square().sum(dim=1).mean() == pytest.approx(
        0.02, rel=0.1
    )


def test_nothing_asked_changes_nothing(rendered, theta):
    crops, changed = augment_rendered(rendered, torch.from_numpy(theta), NOTHING, seeded())
    assert torch.equal(changed, torch.from_numpy(theta))
    assert (crops.int() - rendered.crops().int()).abs().max() <= 1


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_everything_at_once_stays_black_outside_the_mask(synthetic_model, theta, device, seed):
    always = OccluderOptions(**{item.name: 0.5 for item in fields(OccluderOptions)})
    options = replace(AugmentationOptions(), occluders=always)
    vectors = torch.from_numpy(theta).to(device)
    rendered = render_crops(TorchFaceModel(synthetic_model).to(device), vectors, size=SIZE)
    crops, changed = augment_rendered(rendered, vectors, options, seeded(seed, device))
    assert crops.shape == (5, SIZE, SIZE, 3)
    assert crops.dtype == torch.uint8
    assert (crops[~rendered.masks] == 0).all()
    assert crops[rendered.masks].float().std() > 5
    assert torch.isfinite(changed).all()


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_generator_decides_everything(synthetic_model, theta, device):
    vectors = torch.from_numpy(theta).to(device)
    rendered = render_crops(TorchFaceModel(synthetic_model).to(device), vectors, size=SIZE)
    runs = [
        augment_rendered(rendered, vectors, AugmentationOptions(), seeded(seed, device)) for seed in (3, 3, 4)
    ]
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0], runs[2][0])
    assert not torch.equal(runs[0][1], runs[2][1])


def test_background_fills_only_what_the_mesh_leaves_free(rendered):
    options = replace(NOTHING, background=True)
    whole = torch.ones_like(rendered.masks)
    covered = rendered.covered
    crops = augment_linear(rendered.linear, whole, rendered.landmarks, options, seeded(), covered)
    expected = (srgb_encode(rendered.linear) * 255).round()
    assert (crops - expected)[covered].abs().max() <= 1
    assert crops[~covered].float().mean() > 3


def pillow_jpeg(picture, quality, subsampling):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(stream))


def psnr(a, b):
    return 10 * np.log10(255**2 / np.square(a.astype(float) - b).mean())


@pytest.mark.parametrize("size", [96, 83])
@pytest.mark.parametrize("subsample", [True, False])
@pytest.mark.parametrize("quality", [25, 50, 75, 92])
def test_jpeg_equals_pillows(rendered, quality, subsample, size):
    source = (srgb_encode(rendered.linear[0]) * 255).round().byte().numpy()[:size, :size]
    ramp = np.linspace(0, 150, size).astype(np.uint8)
    source = source // 3 + np.random.default_rng(0).integers(0, 20, source.shape).astype(np.uint8)
    source[..., 0] += ramp
    source[..., 2] += ramp[::-1, None]
    theirs = pillow_jpeg(source, quality, 2 if subsample else 0)
    planes = torch.from_numpy(source).permute(2, 0, 1)[None].float() / 255
    ours = (jpeg(planes, torch.tensor([float(quality)]), subsample) * 255).round()[0].permute(1, 2, 0).numpy()
    loss = psnr(source, theirs)
    assert psnr(ours, theirs) > 44
    assert psnr(source, ours) == pytest.approx(loss, abs=0.1)


def test_jpeg_loses_more_at_lower_quality(rendered):
    planes = srgb_encode(rendered.linear[:4]).permute(0, 3, 1, 2)
    decoded = jpeg(planes, torch.tensor([95.0, 60, 30, 5]))
    again = jpeg(planes, torch.tensor([5.0, 30, 60, 95]))
    worse = (decoded - planes).square().mean(dim=(1, 2, 3)), (again - planes).square().mean(dim=(1, 2, 3))
    assert worse[0][0] < worse[1][0]
    assert worse[0][3] > worse[1][3]
    assert ((decoded >= 0) & (decoded <= 1)).all()


def test_tone_is_monotone_and_keeps_black_and_white():
    ramp = torch.linspace(0, 1, 64).expand(5, 3, 1, 64)
    curved = apply_tone(ramp, replace(NOTHING, tone=0.3), seeded())
    assert (curved.diff(dim=3) > 0).all()
    assert (curved[..., 0] == 0).all()
    assert (curved[..., -1] == 1).all()
    assert curved[:, 0, 0, 32].std() > 0.05


def test_blur_keeps_what_is_flat_and_spreads_a_point():
    options = replace(
        NO_DEGRADATIONS,
        blur_probability=1.0,
        blur_sigma=(1.5, 1.5),
        motion_probability=1.0,
        motion_length=(8.0, 8.0),
    )
    kernels = degradations._draw_kernels(6, 1.0, 1.0, options, seeded())
    flat = torch.full((6, 3, 20, 30), 0.25)
    torch.testing.assert_close(degradations.blur(flat, kernels), flat)
    point = torch.zeros(6, 3, 31, 31)
    point[:, :, 15, 15] = 1
    spread = degradations.blur(point, kernels)
    torch.testing.assert_close(spread.sum(dim=(2, 3)), torch.ones(6, 3))
    offsets = torch.arange(31.0) - 15
    variance = (spread.sum(dim=2) * offsets**2).sum(dim=2) + (spread.sum(dim=3) * offsets**2).sum(dim=2)
    # Twice the focus's variance and once the motion's, less what the kernel's border cuts off.
    assert ((variance > 0.75 * (4.5 + 64 / 12)) & (variance < 4.5 + 64 / 12)).all()


def test_no_blur_leaves_pictures_as_they_are():
    pictures = torch.rand(4, 3, 24, 24, generator=seeded())
    kernels = degradations._draw_kernels(4, 1.0, 1.0, NO_DEGRADATIONS, seeded())
    torch.testing.assert_close(degradations.blur(pictures, kernels), pictures)


def test_noise_grows_with_brightness():
    options = replace(NO_DEGRADATIONS, noise_probability=1.0, read_noise=0.02, shot_noise=0.2)
    levels = torch.tensor([0.0, 1.0])[:, None].expand(2, 50)
    pictures = levels.reshape(1, 1, 1, 100).expand(40, 3, 60, 100)
    noise = degradations.add_noise(pictures, options, seeded()) - pictures
    assert noise.mean().abs() < 1e-3
    dark, bright = noise[..., :50].std(), noise[..., 50:].std()
    assert dark == pytest.approx(0.02 / 3**0.5, rel=0.2)
    assert bright > 4 * dark


def test_lower_resolution_removes_detail_and_keeps_brightness():
    pictures = torch.rand(8, 3, SIZE, SIZE, generator=seeded())
    options = replace(NO_DEGRADATIONS, resolution_probability=1.0, resolution=(80.0, 80.0))
    soft = degrade(pictures, options, seeded())
    assert soft.diff(dim=3).abs().mean() < 0.3 * pictures.diff(dim=3).abs().mean()
    torch.testing.assert_close(soft.mean(dim=(2, 3)), pictures.mean(dim=(2, 3)), atol=0.01, rtol=0)


def test_degrading_keeps_the_order_of_pictures():
    levels = torch.linspace(0.1, 0.9, 11)
    pictures = levels[:, None, None, None].expand(11, 3, SIZE, SIZE).contiguous()
    result = degrade(pictures, DegradationOptions(), seeded(9))
    torch.testing.assert_close(result.mean(dim=(1, 2, 3)), levels, atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", [item.name for item in fields(OccluderOptions)])
def test_occluder_changes_only_the_pictures_that_drew_it(rendered, kind):
    pictures = rendered.linear.permute(0, 3, 1, 2).clamp(0, 1).repeat(8, 1, 1, 1)
    landmarks = rendered.landmarks.repeat(8, 1, 1)
    changed = occlude(pictures, landmarks, replace(NO_OCCLUDERS, **{kind: 0.5}), seeded(1))
    difference = (changed - pictures).abs().amax(dim=(1, 2, 3))
    assert 0.15 < (difference == 0).float().mean() < 0.85
    assert 0.1 < (difference > 0.05).float().mean() < 0.85
    assert torch.isfinite(changed).all()
    assert changed.min() >= 0
    everywhere = occlude(pictures, landmarks, replace(NO_OCCLUDERS, **{kind: 1.0}), seeded(2))
    assert ((everywhere - pictures).abs().amax(dim=(1, 2, 3)) > 0.02).float().mean() > 0.7


def test_spectacles_sit_on_the_eyes(rendered):
    pictures = torch.full((5, 3, SIZE, SIZE), 0.5)
    worn = occlude(pictures, rendered.landmarks, replace(NO_OCCLUDERS, spectacles=1.0), seeded(5))
    darkened = (0.5 - worn).mean(dim=1).clamp(min=0)
    rows = torch.arange(SIZE) + 0.5
    height = (darkened.sum(dim=2) * rows).sum(dim=1) / darkened.sum(dim=(1, 2))
    eyes = rendered.landmarks[:, 36:48, 1].mean(dim=1)
    assert (height - eyes).abs().max() < 0.12 * SIZE


def test_landmark_noise_moves_the_jaw_most():
    noise = draw_landmark_noise(3000, 1.5, seeded())
    shared = (1 + 1 / 9) ** 0.5
    assert noise[:, 20:].std() == pytest.approx(1.5 * shared, rel=0.03)
    assert noise[:, 4:12].std() == pytest.approx(1.5 * (4 + 1 / 9) ** 0.5, rel=0.05)
    steps = noise[:, 3:13].diff(dim=1).std()
    assert steps < noise[:, 20:].diff(dim=1).std()


def test_stored_crops_can_be_augmented(rendered):
    crops, masks = rendered.crops().numpy(), rendered.masks.numpy()
    landmarks = rendered.landmarks.numpy()
    result = augment_crops(crops, masks, landmarks, AugmentationOptions(), seeded(2))
    assert result.shape == crops.shape
    assert result.dtype == np.uint8
    assert (result[~masks] == 0).all()
    assert (result != crops).any(axis=(1, 2, 3)).all()


def test_blur_brings_no_black_into_a_stored_crop(rendered):
    masks = rendered.masks.numpy()
    grey = np.where(masks[..., None], np.uint8(128), np.uint8(0)).repeat(3, axis=3)
    soft = replace(
        DegradationOptions(), resolution_probability=1.0, blur_probability=1.0, noise_probability=0.0
    )
    options = replace(NOTHING, degradations=soft)
    result = augment_crops(grey, masks, rendered.landmarks.numpy(), options, seeded())
    assert np.abs(result[masks].astype(int) - 128).max() <= 2
