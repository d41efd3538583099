import numpy as np
import pytest
import torch
from photo_support import RenderedPhotos

from inversefacenet.metrics import measure
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import NATURAL
from training.photo_corpus import PhotoBatch
from training.photometric import PhotometricLoss, PhotometricWeights
from training.rendered import rendered_crop
from training.torch_model import TorchFaceModel


def batch_of(photos, dtype=torch.float32):
    index = np.arange(len(photos))
    return PhotoBatch(
        torch.from_numpy(photos.crops(index)),
        torch.from_numpy(photos.masks(index)),
        torch.from_numpy(photos.landmarks).to(dtype),
    )


@pytest.fixture
def faces(default_model, rng):
    """Photographs whose truth is known, and answers that are somewhat off."""
    theta = NATURAL.sample(rng, 3, default_model)
    theta[:, 323:] *= 0.6  # nothing burnt
    answers = theta + 0.1 * rng.normal(size=theta.shape).astype(np.float32)
    answers[:, :3] = theta[:, :3] + 0.03
    answers[:, 323:] = theta[:, 323:] * 1.2
    return RenderedPhotos(default_model, theta), answers


def test_errors_are_the_librarys_measures(default_model, faces):
    photos, answers = faces
    colour, landmark = PhotometricLoss(TorchFaceModel(default_model), stride=1).errors(
        torch.from_numpy(answers), batch_of(photos)
    )
    for i, theta in enumerate(answers):
        crop = rendered_crop(default_model, Parameters.from_vector(photos.theta[i]))
        quality = measure(crop, render(default_model, Parameters.from_vector(theta)))
        assert float(colour[i]) == pytest.approx(quality.photometric, rel=0.02)
        # Distances are smoothed near zero: each is at most a pixel longer.
        assert quality.landmark <= float(landmark[i]) <= quality.landmark + 1


def test_the_truth_has_next_to_no_error(default_model, faces):
    photos, _ = faces
    colour, landmark = PhotometricLoss(TorchFaceModel(default_model)).errors(
        torch.from_numpy(photos.theta), batch_of(photos)
    )
    assert float(colour.max()) < 4.0
    assert float(landmark.max()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("term", ["photo_colour", "photo_landmark", "photo_prior"])
def test_gradients_agree_with_finite_differences(default_model, faces, rng, term):
    photos, answers = faces
    loss = PhotometricLoss(TorchFaceModel(default_model).double(), stride=1)
    batch = batch_of(photos, torch.float64)
    theta = torch.from_numpy(answers.astype(np.float64)).requires_grad_()
    gradient = torch.autograd.grad(loss(theta, batch)[term], theta)[0]
    groups = (slice(0, 3), slice(3, 131), slice(131, 195), slice(195, 323), slice(323, 350))
    for group in groups:
        direction = torch.zeros_like(theta)
        direction[:, group] = torch.from_numpy(rng.normal(size=direction[:, group].shape))
        direction /= direction.norm()
        step = 1e-5 * direction
        with torch.no_grad():
            slope = (loss(theta + step, batch)[term] - loss(theta - step, batch)[term]) / 2e-5
        along = float((gradient * direction).sum())
        assert float(slope) == pytest.approx(along, rel=0.02, abs=2e-3 * float(gradient.norm()) + 1e-7)


def test_following_the_gradient_explains_the_photographs(default_model, faces):
    photos, answers = faces
    loss = PhotometricLoss(TorchFaceModel(default_model), stride=3)
    theta = torch.from_numpy(answers.copy()).requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=0.01)
    batch = batch_of(photos)
    with torch.no_grad():
        before = loss.errors(theta, batch)
    for _ in range(25):
        optimizer.zero_grad()
        torch.stack(list(loss(theta, batch).values())).sum().backward()
        optimizer.step()
    with torch.no_grad():
        after = loss.errors(theta, batch)
    assert float(after[0].mean()) < 0.8 * float(before[0].mean())
    assert float(after[1].mean()) < 0.9 * float(before[1].mean())


def test_weights_scale_their_terms(default_model, faces):
    photos, answers = faces
    model, theta = TorchFaceModel(default_model), torch.from_numpy(answers)
    torch.manual_seed(0)
    one = PhotometricLoss(model)(theta, batch_of(photos))
    torch.manual_seed(0)
    other = PhotometricLoss(model, PhotometricWeights(colour=3.0, landmark=0.0))(theta, batch_of(photos))
    assert float(other["photo_colour"]) == pytest.approx(3 * float(one["photo_colour"]), rel=1e-5)
    assert float(other["photo_landmark"]) == 0
    expected = (0.02 * answers[:, 3:131].astype(float) ** 2).sum() / 3 + (
        0.02 * answers[:, 131:195].astype(float) ** 2
    ).sum() / 3
    expected += (0.01 * answers[:, 195:323].astype(float) ** 2).sum() / 3
    assert float(one["photo_prior"]) == pytest.approx(expected, rel=1e-4)
