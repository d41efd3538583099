"""Algorithm 1 on a toy: photographs in a light that the first corpus doesn't have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_support import RenderedPhotos
from torch import nn

from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import ILLUMINATION
from inversefacenet.sampling import DISTRIBUTIONS, NATURAL
from training import bootstrap, checkpoint, photo_corpus, pipeline
from training.batches import corpus_of
from training.checkpoint import load_network
from training.encoder import Encoder, last_layer
from training.held_out import HeldOut
from training.network import normalise
from training.options import Options, Run
from training.perturbation import Perturbation
from training.pipeline import run_pipeline
from training.pipeline_config import PipelineConfig

CPU = torch.device("cpu")
# Light is all that varies, so that a small network learns the first corpus almost perfectly and what is left
# is the shift itself.
FIRST = replace(
    NATURAL,
    yaw=0.01,
    pitch=0.01,
    roll=0.01,
    shape_sd=1e-6,
    reflectance_sd=1e-6,
    expression_amplitude=1e-6,
    lamp_share=0.0,
    light=0.1,
    constant_light=(0.5, 0.7),
    channel_gain_sd=0.05,
    channel_gain_mean=(0.0, 0.0, 0.0),
)
WARM = replace(FIRST, channel_gain_mean=(0.35, -0.4, -1.4))
NOISE = Perturbation(angle=0, shape=0, expression=0, reflectance=0, light=0.05, meaning="standard-deviation")


class Linear(Encoder):
    """The mean colour of patches, and a linear answer: good near what it was fitted to, and nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Sequential(nn.AvgPool2d(24), nn.Flatten())
        self.head = last_layer(300)

    @property
    def last(self):
        return self.head

    def hidden(self, images):
        return self.patches(images)


def fit_exactly(options, run, **_):
    """Train as `training.train` does, but to the very minimum of the loss, by least squares."""
    model = MorphableModel.load_default()
    corpus = corpus_of(model, options, CPU)
    batches = [corpus[i].labelled for i in range(options.iterations)]
    crops, theta = (torch.cat(parts) for parts in zip(*batches, strict=True))
    network = Linear()
    with torch.no_grad():
        features = network.hidden(normalise(crops)).double()
        features = torch.cat([features, torch.ones(len(features), 1)], dim=1)
        gram = features.T @ features + 1e-3 * torch.eye(features.shape[1])
        solution = torch.linalg.solve(gram, features.T @ theta.double())
        network.head.weight.copy_(solution[:-1].T)
        network.head.bias.copy_(solution[-1])
    run.output.mkdir(parents=True, exist_ok=True)
    path = run.output / checkpoint.FILE_NAME
    checkpoint.Checkpoint(
        options, options.iterations, network.state_dict(), {}, None, 0.0, model.digest
    ).save(path)
    return path


@pytest.fixture
def photos(synthetic_model, monkeypatch):
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: synthetic_model))
    monkeypatch.setattr(pipeline, "HeldOut", lambda model, device: HeldOut(model, device, faces=4))
    monkeypatch.setitem(DISTRIBUTIONS, "toy", FIRST)
    monkeypatch.setattr(checkpoint, "build", lambda _options: Linear())
    monkeypatch.setattr(pipeline, "train", fit_exactly)
    source = RenderedPhotos(synthetic_model, WARM.sample(np.random.default_rng(5), 64, synthetic_model))
    for module in (photo_corpus, pipeline):
        monkeypatch.setattr(module.PhotoStore, "open", lambda _path: source)
    return source


def light_error(folder, photos):
    """RMS error of the light's coefficients in the photographs."""
    network, _ = load_network(folder / "checkpoint.pt")
    answers = bootstrap.infer_photos(network, photos, CPU)
    return float(np.sqrt(((answers - photos.theta)[:, ILLUMINATION] ** 2).mean()))


def test_bootstrapping_lowers_the_error_where_photographs_differ_from_the_corpus(photos, tmp_path):
    """Each round is fitted to its minimum, so that further training on the first corpus could not help."""
    options = Options(iterations=50, batch_size=8, distribution="toy", augmentation="none")
    schedule = PipelineConfig(0, options, 3, {"iterations": 50}, NOISE, None)
    run_pipeline(schedule, Run(tmp_path, device="cpu"), Path("store"), export_each=False)
    errors = [light_error(tmp_path / f"round-{number}", photos) for number in range(4)]
    again = replace(options, iterations=100, seed=9)
    fit_exactly(again, Run(tmp_path / "more-of-the-first"))
    control = light_error(tmp_path / "more-of-the-first", photos)
    assert errors[0] > errors[1] > errors[2]
    assert errors[3] < 0.75 * errors[0], errors
    assert errors[3] < 0.9 * control, (errors, control)
