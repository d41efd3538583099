from pathlib import Path

import numpy as np
import pytest
import torch
from photo_support import RenderedPhotos

from inversefacenet.colour import to_linear
from inversefacenet.sampling import NATURAL
from training import photo_corpus
from training.photo_corpus import MIRRORED_LANDMARKS, PhotoCorpus, apply_gains, mirror_some


@pytest.fixture
def photos(synthetic_model, rng, monkeypatch):
    source = RenderedPhotos(synthetic_model, NATURAL.sample(rng, 5, synthetic_model))
    monkeypatch.setattr(photo_corpus.PhotoStore, "open", lambda _path: source)
    return source


def test_each_pass_shows_every_photo_once(photos):
    corpus = PhotoCorpus(Path("store"), batch_size=2, batches=10, seed=0, varied=False)
    seen = torch.cat([corpus[i].crops for i in range(10)]).flatten(1)
    of_store = torch.from_numpy(photos.crops(np.arange(5))).flatten(1)
    which = [int((of_store == one).all(dim=1).nonzero()) for one in seen]
    passes = [which[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in passes)
    assert len({tuple(one) for one in passes}) > 1


def test_a_batch_is_always_the_same_and_others_differ(photos):
    corpus = PhotoCorpus(Path("store"), batch_size=3, batches=4, seed=1)
    again = PhotoCorpus(Path("store"), batch_size=3, batches=4, seed=1)
    for mine, other in zip(corpus[2], again[2], strict=True):
        assert torch.equal(mine, other)
    assert not torch.equal(corpus[2].crops, corpus[3].crops)


def test_chosen_photos_alone_are_used(photos):
    corpus = PhotoCorpus(Path("store"), 4, 3, seed=0, varied=False, chosen=np.array([3]))
    assert all(
        torch.equal(crop, torch.from_numpy(photos.crops(np.array([3])))[0]) for crop in corpus[0].crops
    )


def test_landmarks_have_the_partners_of_ibug():
    assert np.array_equal(MIRRORED_LANDMARKS[MIRRORED_LANDMARKS], np.arange(68))
    pairs = {0: 16, 17: 26, 21: 22, 31: 35, 36: 45, 39: 42, 40: 47, 41: 46, 48: 54, 60: 64, 61: 63, 67: 65}
    assert all(MIRRORED_LANDMARKS[a] == b for a, b in pairs.items())
    assert all(MIRRORED_LANDMARKS[i] == i for i in (8, 27, 28, 29, 30, 33, 51, 57, 62, 66))


def test_a_mirrored_crop_has_mirrored_mask_and_landmarks(photos):
    index = np.arange(5)
    chosen = np.array([True, False, True, False, False])
    before = photos.crops(index), photos.masks(index), photos.landmarks
    crops, masks, landmarks = mirror_some(*before, chosen)
    assert np.array_equal(crops[0], before[0][0, :, ::-1])
    assert np.array_equal(masks[2], before[1][2, :, ::-1])
    assert landmarks[0, 36] == pytest.approx([240 - before[2][0, 45, 0], before[2][0, 45, 1]])
    assert np.array_equal(crops[1], before[0][1])
    for mine, original in zip(mirror_some(crops, masks, landmarks, chosen), before, strict=True):
        assert np.allclose(mine, original, atol=1e-4)


def test_gains_multiply_linear_light_and_keep_black_black(photos):
    crops = photos.crops(np.arange(2))
    gains = np.array([[0.5, 1.0, 0.8], [1.0, 1.0, 1.0]])
    varied = apply_gains(crops, gains)
    assert np.array_equal(varied[1], crops[1])
    assert np.array_equal(varied[0][..., 1], crops[0][..., 1])
    expected = to_linear(crops[0][..., 0]) * 0.5
    assert np.abs(to_linear(varied[0][..., 0]) - expected).max() < 0.005
    assert (varied[~photos.masks(np.arange(2))] == 0).all()
