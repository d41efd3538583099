import json
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_support import RenderedPhotos

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.errors import InputError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.sampling import NATURAL
from training import export, fitted_corpus, network, photo_corpus, pipeline, rows, validation
from training.held_out import HeldOut
from training.options import DEFAULT, PAPER, Run
from training.rows import ABLATIONS, ROWS, main, train_row

BASE = DEFAULT.__class__(batch_size=2, rank=4, augmentation="none")


@pytest.fixture(autouse=True)
def small(monkeypatch, synthetic_model):
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: synthetic_model))
    monkeypatch.setattr(network, "HIDDEN_COUNT", 16)
    monkeypatch.setattr(validation, "FACES", 4)
    monkeypatch.setattr(export, "CHECK_FACES", 8)
    monkeypatch.setattr(pipeline, "HeldOut", lambda model, device: HeldOut(model, device, faces=4))
    source = RenderedPhotos(synthetic_model, NATURAL.sample(np.random.default_rng(5), 6, synthetic_model))
    for module in (photo_corpus, pipeline, rows, fitted_corpus):
        monkeypatch.setattr(module.PhotoStore, "open", lambda _path: source)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield source
    torch.set_num_threads(threads)


@pytest.fixture
def fits(small, tmp_path):
    path = tmp_path / "fits.npz"
    np.savez(path, index=np.arange(6), theta=small.theta, photometric=np.zeros(6, np.float32))
    return path


@pytest.mark.parametrize("name", ["plain", "model-space", "mofa", "monofit"])
def test_a_row_is_trained_at_a_fraction_and_says_so(name, tmp_path, fits):
    run = Run(tmp_path / name, device="cpu", workers=0)
    row = train_row(name, BASE, run, 2 / 75_000, store=Path("store"), fits=fits)
    assert (row["iterations"], row["planned_iterations"]) == (2, 75_000)
    assert row["title"] == ROWS[name].title
    assert json.loads((tmp_path / name / "row.json").read_text()) == row
    assert row["photos"] == (6 if name in ("mofa", "monofit") else 0)
    answer = OnnxBackend(tmp_path / name / "model.onnx").infer(np.zeros((1, 240, 240, 3), np.uint8))
    assert answer.shape == (1, 350)


def test_bootstrapping_has_the_papers_proportions(tmp_path):
    run = Run(tmp_path, device="cpu", workers=0)
    row = train_row("bootstrapped", BASE, run, 10 / 75_000, rounds=4, store=Path("store"))
    assert (row["iterations"], row["planned_iterations"]) == (10, 75_000)
    stages = [stage["stage"] for stage in json.loads((tmp_path / "curve.json").read_text())]
    assert stages == ["round-0", "round-1", "round-2", "round-3", "round-4"]
    whole = json.loads((tmp_path / "round-0" / "log.jsonl").read_text().splitlines()[0])["options"]
    assert whole["iterations"] == 2


@pytest.mark.parametrize("name", ["plain", "bootstrapped"])
def test_a_row_says_how_to_repeat_it(name, tmp_path):
    options = ["--base", "default", "--batch-size", "2", "--rank", "4", "--rounds", "1", "--seed", "3"]
    options += ["--store", "store", "--output", str(tmp_path), "--device", "cpu", "--workers", "0"]
    assert main([name, *options, "--fraction", str(2 / 75_000)]) == 0
    folder = tmp_path / name
    (start,) = json.loads((folder / "run.json").read_text())["starts"]
    assert f"-m training.rows {name} --base default" in start["command"]
    assert start["seed"] == 3
    assert (folder / "row.json").is_file()


def test_rows_differ_in_what_they_name_alone():
    for first, second, option in (
        ("plain", "model-space", "loss"),
        ("model-space", "resnet101", "architecture"),
    ):
        changes = [dict(ROWS[name].changes) for name in (first, second)]
        assert {
            key for key in {**changes[0], **changes[1]} if changes[0].get(key) != changes[1].get(key)
        } == {option}
    assert ROWS["resnet101"].iterations == 150_000
    for pair in (("rig", "box"), ("batch-norm", "no-batch-norm"), ("augmentation", "no-augmentation")):
        keys = [set(ABLATIONS[name].changes) for name in pair]
        assert keys[0] == keys[1]
    options = {item for row in [*ROWS.values(), *ABLATIONS.values()] for item in row.changes}
    assert options <= set(PAPER.to_dict())


def test_photographs_and_fits_are_asked_for(tmp_path, capsys):
    with pytest.raises(InputError, match="--store"):
        train_row("mofa", BASE, Run(tmp_path), 1e-5)
    with pytest.raises(InputError, match="--fits"):
        train_row("monofit", BASE, Run(tmp_path), 1e-5, store=Path("store"))
    assert main(["bootstrapped", "--output", str(tmp_path)]) == 1
    assert "rows: The row bootstrapped needs photographs" in capsys.readouterr().err


def test_fits_of_another_store_are_refused(tmp_path):
    path = tmp_path / "fits.npz"
    np.savez(path, index=np.array([99]), theta=np.zeros((1, 350), np.float32))
    run = Run(tmp_path / "row", device="cpu", workers=0)
    with pytest.raises(InputError, match="another photo store"):
        train_row("monofit", BASE, run, 1e-5, store=Path("store"), fits=path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="holds no fits"):
        train_row("monofit", BASE, run, 1e-5, store=Path("store"), fits=path)
