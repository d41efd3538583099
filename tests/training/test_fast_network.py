from pathlib import Path

import numpy as np
import pytest
import torch
from photo_support import RenderedPhotos

from inversefacenet.errors import InputError
from inversefacenet.mirroring import FaceMirror
from inversefacenet.sampling import NATURAL
from training import teacher_answers
from training.batches import corpus_of
from training.fast_network import FastNetwork, Shortcut, at_half, halved
from training.network import build, normalise
from training.options import Options
from training.taught_corpus import TaughtCorpus


class FakeTeacher:
    """Answers with what a crop's halves look like, so that mirror images have other answers."""

    name, digest = "fake", ""

    def infer(self, crops, *, timeout=None):
        theta = np.zeros((len(crops), 350), np.float32)
        theta[:, 0] = crops[:, :, :120].mean(axis=(1, 2, 3)) - crops[:, :, 120:].mean(axis=(1, 2, 3))
        theta[:, 1] = crops.mean(axis=(1, 2, 3))
        return theta


@pytest.fixture
def photos(synthetic_model, rng):
    return RenderedPhotos(synthetic_model, NATURAL.sample(rng, 5, synthetic_model))


@pytest.fixture
def answered(photos, default_model, tmp_path):
    mirror = FaceMirror.of(default_model)
    for number in range(2):
        teacher_answers.write_pass(number, photos, FakeTeacher(), mirror, tmp_path, seed=3)
    return tmp_path


def crops_of(count):
    return np.random.default_rng(count).integers(0, 256, (count, 240, 240, 3)).astype(np.uint8)


def test_whole_and_halved_crops_have_nearly_the_same_answer():
    torch.manual_seed(1)
    network = build({"architecture": "fast"}).eval()
    crops = crops_of(3)
    small = torch.from_numpy(teacher_answers.halved(crops))
    whole, half = (network(normalise(one)) for one in (torch.from_numpy(crops), small))
    assert whole.shape == (3, 350)
    torch.testing.assert_close(whole, half, atol=2e-3, rtol=0)  # halved crops are rounded to levels


def test_halving_is_the_mean_of_four_pixels():
    crops = crops_of(2)
    expected = crops.reshape(2, 120, 2, 120, 2, 3).mean(axis=(2, 4))
    assert np.abs(teacher_answers.halved(crops) - expected).max() <= 0.5
    images = normalise(torch.from_numpy(crops))
    assert at_half(images).shape == (2, 3, 120, 120)
    assert halved([images, at_half(images)]).shape == (4, 3, 120, 120)
    assert halved([images]).shape == images.shape


def test_layers_come_in_the_order_of_computation():
    network = FastNetwork().eval()
    value = images = torch.rand(1, 3, 120, 120)
    for layer in network.layers():
        value = layer(value) if isinstance(layer, Shortcut) else layer[1](layer[0](value)).relu()
    assert value.shape == (1, 32, 8, 8)
    torch.testing.assert_close(network.last(network.fc(value.flatten(1)).relu()), network(images))


def test_there_are_no_imagenet_weights():
    with pytest.raises(InputError, match="no ImageNet weights"):
        FastNetwork().load_imagenet({})


def test_answers_are_averaged_over_the_mirror_image(photos, default_model):
    mirror = FaceMirror.of(default_model)
    crops = photos.crops(np.arange(3))
    small, theta = teacher_answers.teach(FakeTeacher(), mirror, crops)
    assert small.shape == (6, 120, 120, 3)
    assert np.array_equal(small[3:], teacher_answers.halved(crops[:, :, ::-1]))
    # Yaw changes its sign in the mirror: the teacher is perfect in that, so nothing is averaged away.
    plain = FakeTeacher().infer(crops)
    np.testing.assert_allclose(theta[:3, :2], plain[:, :2], rtol=1e-4)
    np.testing.assert_allclose(theta[3:, 0], -theta[:3, 0], rtol=1e-4)


def test_the_first_pass_shows_crops_as_they_are_and_later_ones_vary(answered, photos):
    (plain, theta), (other, _) = teacher_answers.passes(answered)
    assert np.array_equal(plain[0], teacher_answers.halved(photos.crops(np.arange(1)))[0])
    assert len(theta) == len(plain) == 10
    assert np.abs(plain.astype(int) - other).mean() > 1
    assert not list(answered.glob("*.partial"))


def test_a_batch_is_always_the_same(answered):
    corpus, again = (TaughtCorpus(answered, 4, 3, seed=5) for _ in range(2))
    for mine, other in zip(corpus[1], again[1], strict=True):
        assert torch.equal(mine, other)
    assert not torch.equal(corpus[1][1], corpus[2][1])
    with pytest.raises(IndexError):
        corpus[3]


def test_answers_and_rendered_faces_make_one_batch(answered, synthetic_model):
    options = Options(
        architecture="fast",
        iterations=2,
        batch_size=2,
        taught=str(answered),
        taught_batch=3,
        augmentation="none",
    )
    corpus = corpus_of(synthetic_model, options, torch.device("cpu"))
    crops, theta = corpus[0].labelled
    assert crops.shape == (5, 120, 120, 3)
    assert theta.shape == (5, 350)
    alone = corpus_of(synthetic_model, Options(**{**options.to_dict(), "batch_size": 0}), torch.device("cpu"))
    assert alone[0].labelled[0].shape == (3, 120, 120, 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"taught": ""}, "--taught"),
        ({"architecture": "alexnet"}, "--architecture fast"),
        ({"taught": "nowhere"}, "holds no answers"),
    ],
)
def test_what_can_not_be_taught_is_refused(answered, synthetic_model, changed, message):
    options = {"architecture": "fast", "taught": str(answered), "taught_batch": 2, "iterations": 1} | changed
    with pytest.raises(InputError, match=message):
        corpus_of(synthetic_model, Options(**options), torch.device("cpu"))


def test_the_command_says_what_is_missing(tmp_path, capsys):
    missing = Path(tmp_path, "store")
    arguments = ["--photos", str(missing), "--output", str(tmp_path / "out")]
    assert teacher_answers.main(arguments) == 1
    assert "training.prepare" in capsys.readouterr().err
