"""Training on imported face models: rendering, rig, loss and checkpoint as with the one that ships."""

import json
from dataclasses import replace

import numpy as np
import published_models as published
import pytest
import torch

from inversefacenet.errors import InputError
from inversefacenet.importers import ImportOptions, assemble, read
from inversefacenet.importers.ict import read_ict
from inversefacenet.morphable_model import MorphableModel
from training import network, train, validation
from training.checkpoint import load
from training.loss import WEIGHTS, model_space_scale
from training.options import Options, Run

SMALL = ImportOptions(vertices=0, region="all", views=4)
TINY = Options(iterations=3, batch_size=2, rank=4, learning_rate=1e-3)


@pytest.fixture(scope="module")
def files(tmp_path_factory, synthetic_model, default_model):
    """A face model file of each kind."""
    folder = tmp_path_factory.mktemp("models")
    mat = published.write_bfm2009(folder, synthetic_model)
    h5 = published.write_bfm_hdf5(folder / "model.h5", published.bfm_hdf5_arrays(synthetic_model))
    layout = published.write_ict(folder / "FaceXModel", synthetic_model, identities=20)
    raws = {
        "bfm2009": replace(
            read("bfm2009", mat, published.write_exp_pca(folder, synthetic_model)),
            landmarks=synthetic_model.landmarks.astype(np.int64),
        ),
        "bfm2017": read("bfm2017", h5),
        "bfm2019": read("bfm2019", h5),
        "ict": read_ict(folder / "FaceXModel", layout),
    }
    for kind, raw in raws.items():
        assemble(raw, SMALL, default_model).save(folder / f"{kind}.npz")
    return {kind: folder / f"{kind}.npz" for kind in raws}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A narrow network and few faces to validate on."""
    monkeypatch.setattr(network, "HIDDEN_COUNT", 16)
    monkeypatch.setattr(validation, "FACES", 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", ["bfm2009", "bfm2017", "bfm2019", "ict"])
def test_training_runs(files, tmp_path, kind):
    options = replace(TINY, face_model=str(files[kind]))
    run = Run(tmp_path / "run", device="cpu", workers=0, checkpoint_every=3, validate_every=3)
    saved = load(train.train(options, run))
    assert saved.iteration == 3
    assert saved.face_model == MorphableModel.load(files[kind]).digest
    assert all(torch.isfinite(value).all() for value in saved.network.values())
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("distribution", ["paper", "paper-box"])
def test_both_samplers_of_expressions_train(files, tmp_path, distribution):
    options = replace(TINY, face_model=str(files["bfm2017"]), distribution=distribution, iterations=1)
    run = Run(tmp_path / "run", device="cpu", workers=0)
    assert load(train.train(options, run)).iteration == 1


def test_a_run_belongs_to_its_face_model(files, tmp_path):
    run = Run(tmp_path / "run", device="cpu", workers=0)
    options = replace(TINY, face_model=str(files["ict"]), iterations=1)
    train.train(options, run)
    files["ict"].rename(tmp_path / "old.npz")
    MorphableModel.load(files["bfm2009"]).save(files["ict"])
    with pytest.raises(InputError, match="face model"):
        train.train(options, run)
    (tmp_path / "old.npz").rename(files["ict"])


def test_directions_without_variance_cost_nothing(files):
    """The loss weighs parameters by their deviations, so what was padded teaches nothing."""
    model = MorphableModel.load(files["ict"])
    padded = model.shape_sigma == 0
    assert padded.sum() == 108
    scale = model_space_scale(model, WEIGHTS["balanced"])
    assert (scale[3:131][padded] == 0).all()
    assert (scale[3:131][~padded] > 0).all()
