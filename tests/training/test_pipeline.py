import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_support import RenderedPhotos

from inversefacenet.errors import InputError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.sampling import NATURAL
from training import bootstrap, network, photo_corpus, pipeline, validation
from training.checkpoint import load, load_network
from training.held_out import HeldOut
from training.loss import PAPER as PAPER_WEIGHTS
from training.loss import model_space_scale
from training.options import PAPER, Options, Run
from training.perturbation import Perturbation
from training.pipeline import main, run_pipeline, summary
from training.pipeline_config import PipelineConfig, load_config

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
CPU = torch.device("cpu")
TINY = Options(iterations=3, batch_size=2, rank=4, learning_rate=1e-3, augmentation="none")
SCHEDULE = PipelineConfig(
    seed=0,
    first=TINY,
    rounds=2,
    round_options={"iterations": 2},
    perturbation=Perturbation(),
    finetuning={"iterations": 2, "photo_batch": 2},
)


@pytest.fixture(autouse=True)
def small(monkeypatch, synthetic_model):
    """A small face model, a narrow network and few faces to measure on."""
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: synthetic_model))
    monkeypatch.setattr(network, "HIDDEN_COUNT", 16)
    monkeypatch.setattr(validation, "FACES", 4)
    monkeypatch.setattr(pipeline, "HeldOut", lambda model, device: HeldOut(model, device, faces=4))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def photos(synthetic_model, monkeypatch):
    warm = replace(NATURAL, channel_gain_mean=(0.4, 0.0, -0.4))
    source = RenderedPhotos(synthetic_model, warm.sample(np.random.default_rng(5), 6, synthetic_model))
    for module in (photo_corpus, pipeline):
        monkeypatch.setattr(module.PhotoStore, "open", lambda _path: source)
    return source


def run_in(folder, **changes):
    return replace(Run(folder, device="cpu", workers=0, checkpoint_every=1), **changes)


def go(folder, photos, **changes):
    return run_pipeline(SCHEDULE, run_in(folder, **changes), Path("store"), export_each=False)


def test_each_stage_starts_where_the_one_before_ended(photos, tmp_path):
    curve = go(tmp_path, photos)
    assert [stage["stage"] for stage in curve] == ["round-0", "round-1", "round-2", "finetuning"]
    assert all(np.isfinite(stage["loss"]) for stage in curve)
    for before, after in (("round-0", "round-1"), ("round-1", "round-2"), ("round-2", "finetuning")):
        assert load(tmp_path / after / "checkpoint.pt").options.initial.endswith(f"{before}/checkpoint.pt")
    assert summary(SCHEDULE, curve).startswith("rounds=2 loss_first=")
    assert summary(SCHEDULE, curve).endswith("finished=yes")


def test_a_rounds_corpus_lies_around_the_answers_of_the_network_before(photos, tmp_path):
    go(tmp_path, photos)
    drawn = np.load(tmp_path / "round-1" / "parameters.npy")
    answers = bootstrap.infer_photos(load_network(tmp_path / "round-0" / "checkpoint.pt")[0], photos, CPU)
    expected = Perturbation().around(answers, np.random.default_rng(1))
    assert drawn.shape == (12, 350)
    assert np.allclose(drawn, expected, atol=1e-5)


def test_a_schedule_that_is_stopped_everywhere_ends_as_one_that_is_not(photos, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    curve = go(whole, photos)
    for _ in range(12):
        stopped = go(parts, photos, stop_after=1e-9)
        if len(stopped) == 4:
            break
    assert [{**stage, "seconds": 0} for stage in stopped] == [{**stage, "seconds": 0} for stage in curve]
    first, second = (load(folder / "finetuning" / "checkpoint.pt").network for folder in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_finished_schedule_is_not_trained_again(photos, tmp_path, monkeypatch):
    curve = go(tmp_path, photos)
    monkeypatch.setattr(pipeline, "train", lambda *_: pytest.fail("trained again"))
    assert go(tmp_path, photos) == curve


def test_photographs_are_asked_for(tmp_path):
    with pytest.raises(InputError, match="--store"):
        run_pipeline(SCHEDULE, run_in(tmp_path), None)


def test_held_out_loss_is_equation_7(synthetic_model):
    measure = HeldOut(synthetic_model, CPU, faces=5)

    class Constant(torch.nn.Module):
        def forward(self, images):
            return torch.full((len(images), 350), 0.1)

    theta = measure._theta.numpy().astype(float)
    scale = model_space_scale(synthetic_model, PAPER_WEIGHTS).astype(float)
    expected = (((0.1 - theta) * scale) ** 2).sum(axis=1).mean()
    assert measure(Constant())["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_papers_schedule_is_the_papers():
    config = load_config(CONFIGS / "paper.yaml")
    assert config.first == replace(PAPER, iterations=15_000, corpus_faces=200_000)
    assert (config.rounds, config.round_options) == (8, {"iterations": 7_500})
    assert config.perturbation == Perturbation(5, 0.05, 0.1, 0.2, 0.02, "variance", 2)
    assert config.finetuning is None
    total = config.first.iterations + config.rounds * config.round_options["iterations"]
    assert total == 75_000


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_schedules_can_be_read_and_scaled(path, tmp_path):
    config = load_config(path)
    shorter = config.scaled(0.01)
    assert shorter.first.iterations == round(0.01 * config.first.iterations)
    assert shorter.round_options["iterations"] == round(0.01 * config.round_options["iterations"])
    assert main(["--config", str(path), "--as-json", str(tmp_path / "same.json")]) == 0
    assert load_config(tmp_path / "same.json") == config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("first: {iterations: many}", "iterations must be of type int"),
        ("first: {learning: 1}", "learning is no option"),
        ("first: {initial: x}", "initial is no option that a schedule sets"),
        ("first: {preset: best}", "known are default, paper"),
        ("first: {loss: l1}", "loss must be one of"),
        ("second: {}", "unknown section second"),
        ("bootstrapping: {rounds: 1, perturbation: {hair: 1}}", "unknown hair"),
        ("bootstrapping: {rounds: 1, turns: 2}", "unknown turns"),
        ("bootstrapping: {rounds: 1, perturbation: {meaning: sd}}", "variance or standard-deviation"),
        ("- 1", "must map names to values"),
        ("first: [", "is no YAML"),
    ],
)
def test_wrong_schedules_are_refused_with_their_place(tmp_path, content, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_config(path)


def test_the_command_names_what_is_missing(tmp_path, capsys):
    assert main(["--config", str(tmp_path / "none.yaml"), "--output", str(tmp_path)]) == 1
    assert "can't be read" in capsys.readouterr().err
    paper = str(CONFIGS / "paper.yaml")
    assert main(["--config", paper, "--output", str(tmp_path)]) == 1
    assert "--store" in capsys.readouterr().err


def test_the_curve_is_written_as_it_grows(photos, tmp_path):
    curve = go(tmp_path, photos)
    assert json.loads((tmp_path / "curve.json").read_text()) == curve
