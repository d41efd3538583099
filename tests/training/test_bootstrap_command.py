"""One round's parameters by a command."""

import json

import numpy as np
import pytest
import torch
from photo_support import RenderedPhotos

from inversefacenet.morphable_model import MorphableModel
from inversefacenet.sampling import NATURAL
from training import bootstrap, network
from training.bootstrap import main
from training.checkpoint import Checkpoint
from training.network import build, normalise
from training.options import Options
from training.perturbation import Perturbation

PHOTOS = 5


@pytest.fixture
def photos(synthetic_model, monkeypatch):
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: synthetic_model))
    monkeypatch.setattr(network, "HIDDEN_COUNT", 16)
    source = RenderedPhotos(
        synthetic_model, NATURAL.sample(np.random.default_rng(5), PHOTOS, synthetic_model)
    )
    monkeypatch.setattr(bootstrap.PhotoStore, "open", lambda _path: source)
    return source


@pytest.fixture
def answers(photos, synthetic_model, tmp_path):
    """What the network in the file `checkpoint.pt` answers to the photographs."""
    torch.manual_seed(0)
    options = Options(rank=4)
    net = build(options.to_dict()).eval()
    with torch.no_grad():
        net.last.bias[323:326] = 0.7
        found = net(normalise(torch.from_numpy(photos.crops(np.arange(PHOTOS))))).numpy()
    Checkpoint(options, 1, net.state_dict(), {}, None, 0.0, synthetic_model.digest).save(
        tmp_path / "checkpoint.pt"
    )
    return found


@pytest.fixture
def command(answers, tmp_path):
    fixed = ["--network", tmp_path / "checkpoint.pt", "--store", "store", "--device", "cpu"]
    return lambda folder, *more: main([*map(str, fixed), "--output", str(tmp_path / folder), *more])


def drawn(tmp_path, folder):
    return np.load(tmp_path / folder / "parameters.npy")


def test_parameters_lie_around_the_answers_as_the_options_say(command, answers, tmp_path, capsys):
    assert command("round", "--meaning", "standard-deviation", "--copies", "3", "--seed", "4") == 0
    found = drawn(tmp_path, "round")
    told = Perturbation(meaning="standard-deviation", copies=3)
    np.testing.assert_allclose(found, told.around(answers, np.random.default_rng(4)), atol=1e-5)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"photos=5 parameters=15 output={tmp_path / 'round' / 'parameters.npy'}"


def test_the_paper_is_read_with_variances_and_two_copies_by_default(command, answers, tmp_path):
    assert command("round") == 0
    expected = Perturbation().around(answers, np.random.default_rng(0))
    np.testing.assert_allclose(drawn(tmp_path, "round"), expected, atol=1e-5)


def test_spreads_may_follow_the_error(command, answers, tmp_path):
    assert command("round", "--by-error", "--copies", "1") == 0
    plain = Perturbation(copies=1).around(answers, np.random.default_rng(0))
    factor = (drawn(tmp_path, "round") - answers)[:, 3:131] / (plain - answers)[:, 3:131]
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1], factor.shape), rtol=0.02)
    assert factor[:, 0].min() < 0.99 < 1.01 < factor[:, 0].max()


def test_the_record_says_how_to_repeat_it(command, tmp_path):
    assert command("round", "--seed", "7") == 0
    (start,) = json.loads((tmp_path / "round" / "run.json").read_text())["starts"]
    assert start["command"].endswith("--seed 7")
    assert "-m training.bootstrap --network" in start["command"]
    assert start["seed"] == 7
    assert start["config"]["perturbation"]["meaning"] == "variance"


def test_what_cannot_be_drawn_is_refused(command, answers, tmp_path, capsys, monkeypatch, default_model):
    assert command("round") == 0
    before = drawn(tmp_path, "round")
    assert command("round", "--seed", "1") == 1
    assert "holds parameters.npy already" in capsys.readouterr().err
    np.testing.assert_array_equal(drawn(tmp_path, "round"), before)
    assert command("other", "--copies", "0") == 1
    assert "--copies must be at least 1" in capsys.readouterr().err
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: default_model))
    assert command("other") == 1
    assert "another face model" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
