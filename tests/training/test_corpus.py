from dataclasses import replace

import numpy as np
import pytest
import torch

from inversefacenet.errors import InputError
from inversefacenet.parameters import ILLUMINATION
from inversefacenet.sampling import NATURAL
from training.corpus import AUGMENTATIONS, STEPS, CorpusAugmentation, RenderedCorpus, augmentation_named
from training.rendered import rendered_images

CPU = torch.device("cpu")


def corpus(model, augmentation=None, **changes):
    plain = RenderedCorpus(
        model=model,
        distribution=NATURAL,
        augmentation=augmentation,
        batch_size=4,
        batches=3,
        seed=1,
        device=CPU,
    )
    return replace(plain, **changes)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=list(AUGMENTATIONS))
def test_a_batch_is_always_the_same(synthetic_model, augmentation):
    crops, theta = corpus(synthetic_model, augmentation)[1]
    again, theta_again = corpus(synthetic_model, augmentation)[1]
    assert torch.equal(crops, again)
    assert torch.equal(theta, theta_again)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=list(AUGMENTATIONS))
def test_other_indices_and_seeds_give_other_faces(synthetic_model, augmentation):
    batches = [corpus(synthetic_model, augmentation)[i] for i in (0, 1)]
    batches.append(corpus(synthetic_model, augmentation, seed=2)[0])
    for i, (crops, theta) in enumerate(batches):
        for others, other_theta in batches[i + 1 :]:
            assert (theta != other_theta).any(dim=1).all()
            assert (crops != others).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=list(AUGMENTATIONS))
def test_crops_are_masked_bytes_with_350_parameters(synthetic_model, augmentation):
    crops, theta = corpus(synthetic_model, augmentation)[0]
    assert crops.shape == (4, 240, 240, 3)
    assert crops.dtype == torch.uint8
    assert theta.shape == (4, 350)
    assert theta.dtype == torch.float32
    covered = (crops.amax(dim=3) > 0).flatten(1).float().mean(dim=1)
    assert bool(((covered > 0.3) & (covered < 0.98)).all())


@pytest.mark.parametrize("compiled", [True, False])
def test_plain_crops_are_the_librarys(synthetic_model, compiled):
    crops, theta = corpus(synthetic_model, compiled=compiled)[0]
    expected = rendered_images(synthetic_model, theta.numpy())
    difference = np.abs(crops.numpy().astype(int) - expected)
    assert np.median(difference) == 0
    # A pixel on the mask's edge may fall on the other side by rounding.
    assert (difference > 2).any(axis=3).mean() < 2e-4


@pytest.mark.parametrize("compiled", [True, False])
def test_augmentation_changes_pictures_and_keeps_all_but_the_light(synthetic_model, compiled):
    plain, truth = corpus(synthetic_model)[0]
    changed, theta = corpus(synthetic_model, AUGMENTATIONS["photographic"], compiled=compiled)[0]
    assert (plain != changed).flatten(1).float().mean(dim=1).min() > 0.2
    assert torch.equal(theta[:, : ILLUMINATION.start], truth[:, : ILLUMINATION.start])
    ratio = (theta / truth)[:, ILLUMINATION].view(-1, 9, 3)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(ratio, torch.ones_like(ratio), atol=1e-2)


def test_landmark_noise_shifts_the_crop_and_not_the_truth(synthetic_model):
    def masks_and_truth(augmentation):
        crops, theta = corpus(synthetic_model, augmentation=augmentation)[0]
        return crops.amax(dim=3) > 0, theta[:, : ILLUMINATION.start]

    plain, calm, noisy = (
        masks_and_truth(augmentation)
        for augmentation in (
            None,
            CorpusAugmentation(landmark_noise=0.0),
            CorpusAugmentation(landmark_noise=6.0),
        )
    )
    assert torch.equal(calm[1], plain[1])
    assert torch.equal(noisy[1], plain[1])
    moved, kept = ((other[0] != plain[0]).float().mean() for other in (noisy, calm))
    assert moved > 3 * kept
    assert moved > 0.01


def test_both_ways_render_the_same_faces(synthetic_model):
    fast, theta = corpus(synthetic_model, batch_size=8)[2]
    slow, same = corpus(synthetic_model, batch_size=8, compiled=False)[2]
    assert torch.equal(theta, same)
    off = (fast.int() - slow.int()).abs() > 1
    assert off.float().mean() < 2e-4
    augmented, _ = corpus(synthetic_model, AUGMENTATIONS["photographic"], batch_size=8)[2]
    other, _ = corpus(synthetic_model, AUGMENTATIONS["photographic"], batch_size=8, compiled=False)[2]
    assert not torch.equal(augmented, other)


@pytest.mark.parametrize("index", [-1, 3])
def test_indices_beyond_the_corpus_are_refused(synthetic_model, index):
    assert len(corpus(synthetic_model)) == 3
    with pytest.raises(IndexError):
        corpus(synthetic_model)[index]


def test_distribution_is_drawn_from(synthetic_model):
    turned = replace(NATURAL, yaw=1.0, pitch=0.0, roll=0.0, frontal_share=0.0)
    _, theta = corpus(synthetic_model, distribution=turned, batch_size=8)[0]
    assert float(theta[:, 0].abs().max()) <= np.radians(1.0) + 1e-6
    assert not theta[:, 1:3].any()


@pytest.mark.parametrize("step", STEPS)
def test_each_step_can_be_had_alone(synthetic_model, step):
    # Eight faces are enough for each step to happen to one of them.
    clean, truth = corpus(synthetic_model, None, batch_size=8)[0]
    crops, theta = corpus(synthetic_model, augmentation_named(step), batch_size=8)[0]
    assert not torch.equal(crops, clean)
    # Only gains of the light change the parameters.
    assert torch.equal(theta, truth) == (step != "colour")


def test_steps_add_up():
    both = augmentation_named("blur,jpeg").pictures.degradations
    assert both.blur_probability > 0
    assert both.jpeg_probability > 0
    assert both.noise_probability == 0


def test_an_unknown_step_lists_the_known_ones():
    with pytest.raises(InputError, match=r"sparkle.*photographic.*jpeg"):
        augmentation_named("blur,sparkle")
