import json
import sys
from dataclasses import replace

import pytest
import torch

from inversefacenet.errors import InputError, MissingDependencyError
from inversefacenet.morphable_model import MorphableModel
from training import batches, network, train, validation
from training.checkpoint import load
from training.distributed import Processes
from training.options import Options, Run

TINY = Options(iterations=6, batch_size=2, rank=4, learning_rate=1e-3)


@pytest.fixture(autouse=True)
def small(monkeypatch, synthetic_model):
    """A small face model, a narrow network and few faces to validate on."""
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: synthetic_model))
    monkeypatch.setattr(network, "HIDDEN_COUNT", 16)
    monkeypatch.setattr(validation, "FACES", 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run_in(folder, **changes):
    return replace(Run(folder, device="cpu", workers=0, checkpoint_every=2, validate_every=3), **changes)


def same_checkpoints(first, second):
    assert first.iteration == second.iteration
    assert first.options == second.options
    assert first.schedule == second.schedule
    assert all(torch.equal(first.network[name], second.network[name]) for name in first.network)
    for index, state in first.optimizer["state"].items():
        for name, value in state.items():
            assert torch.equal(
                torch.as_tensor(value), torch.as_tensor(second.optimizer["state"][index][name])
            )


@pytest.fixture
def uninterrupted(tmp_path):
    return load(train.train(TINY, run_in(tmp_path / "whole")))


def test_a_run_that_is_stopped_everywhere_ends_as_one_that_is_not(uninterrupted, tmp_path, capsys):
    stopping = run_in(tmp_path / "parts", stop_after=1e-9)
    for iteration in range(1, 7):
        assert load(train.train(TINY, stopping)).iteration == iteration
    output = capsys.readouterr().out
    assert output.count("stopped at iteration") == 5
    assert output.count("resuming at iteration") == 5
    same_checkpoints(load(tmp_path / "parts" / "checkpoint.pt"), uninterrupted)


def test_a_run_that_is_killed_resumes_from_its_last_checkpoint(uninterrupted, tmp_path, monkeypatch):
    step = train.Step.__call__
    calls = []

    def dying(self, batch):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(train.Step, "__call__", dying)
    with pytest.raises(KeyboardInterrupt):
        train.train(TINY, run_in(tmp_path / "killed"))
    assert load(tmp_path / "killed" / "checkpoint.pt").iteration == 2
    same_checkpoints(load(train.train(TINY, run_in(tmp_path / "killed"))), uninterrupted)


def test_workers_train_the_same_network(uninterrupted, tmp_path):
    same_checkpoints(load(train.train(TINY, run_in(tmp_path / "workers", workers=1))), uninterrupted)


def test_the_papers_optimizer_resumes_too(tmp_path):
    options = replace(TINY, optimizer="adadelta", batch_norm=False, image_space=False, augmentation="none")
    whole = load(train.train(options, run_in(tmp_path / "whole")))
    assert whole.schedule is None
    for _ in range(6):
        train.train(options, run_in(tmp_path / "parts", stop_after=1e-9))
    same_checkpoints(load(tmp_path / "parts" / "checkpoint.pt"), whole)


def test_a_finished_run_is_left_as_it_is(uninterrupted, tmp_path):
    again = load(train.train(TINY, run_in(tmp_path / "whole")))
    same_checkpoints(again, uninterrupted)
    assert again.seconds == uninterrupted.seconds


def test_a_run_may_start_from_another_runs_network(uninterrupted, tmp_path):
    first = tmp_path / "whole" / "checkpoint.pt"
    options = replace(TINY, iterations=1, learning_rate=0.0, initial=str(first))
    second = load(train.train(options, run_in(tmp_path / "second")))
    trained = [name for name in second.network if "running" not in name and "batches" not in name]
    assert len(trained) > 20
    assert all(torch.equal(second.network[name], uninterrupted.network[name]) for name in trained)
    with pytest.raises(InputError, match="no checkpoint"):
        train.train(replace(options, initial=str(tmp_path / "none.pt")), run_in(tmp_path / "third"))


def test_seeds_make_different_networks(uninterrupted, tmp_path):
    other = load(train.train(replace(TINY, seed=1), run_in(tmp_path / "other")))
    assert not torch.equal(other.network["features.0.weight"], uninterrupted.network["features.0.weight"])


def test_training_lowers_the_loss_of_what_it_sees(tmp_path, monkeypatch):
    options = replace(TINY, iterations=12, augmentation="none", image_space=False)
    batches = train.batches

    def one_batch_again(*arguments):
        first = next(iter(batches(*arguments)))
        return (first for _ in range(options.iterations))

    monkeypatch.setattr(train, "batches", one_batch_again)
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    train.train(options, run_in(tmp_path))
    losses = [e["loss"] for e in entries(tmp_path) if e["kind"] == "train"]
    assert losses[-1] < 0.9 * losses[0]


def test_a_network_remembers_the_runs_before(uninterrupted, tmp_path):
    first = tmp_path / "whole" / "checkpoint.pt"
    assert uninterrupted.history == ()
    options = replace(TINY, iterations=1, initial=str(first))
    second = load(train.train(options, run_in(tmp_path / "second")))
    assert second.history == uninterrupted.lineage()
    third = replace(options, initial=str(tmp_path / "second" / "checkpoint.pt"))
    assert load(train.train(third, run_in(tmp_path / "third"))).history == second.lineage()


def test_weights_alone_are_started_from_and_not_resumed(uninterrupted, tmp_path):
    (tmp_path / "small").mkdir()
    uninterrupted.weights_alone().save(tmp_path / "small" / "checkpoint.pt")
    with pytest.raises(InputError, match="--initial"):
        train.train(TINY, run_in(tmp_path / "small"))
    options = replace(TINY, iterations=1, initial=str(tmp_path / "small" / "checkpoint.pt"))
    assert load(train.train(options, run_in(tmp_path / "next"))).iteration == 1


def test_the_command_writes_down_how_to_repeat_it(tmp_path, monkeypatch):
    arguments = ["--iterations", "1", "--batch-size", "2", "--rank", "4", "--workers", "0", "--device", "cpu"]
    assert train.main([*arguments, "--seed", "9", "--output", str(tmp_path / "run")]) == 0
    (start,) = json.loads((tmp_path / "run" / "run.json").read_text())["starts"]
    assert start["seed"] == 9
    assert start["config"]["options"]["rank"] == 4
    assert start["config"]["run"]["device"] == "cpu"
    assert "training.train --iterations 1" in start["command"]
    assert start["face_model"] == load(tmp_path / "run" / "checkpoint.pt").face_model


def test_parts_of_a_batch_are_drawn_each_on_its_own(tmp_path, synthetic_model):
    device = torch.device("cpu")
    halves = replace(TINY, batch_parts=2)
    shares = [
        batches.corpus_of(synthetic_model, halves, device, Processes(rank=rank, count=2)) for rank in range(2)
    ]
    whole = batches.corpus_of(synthetic_model, halves, device)
    assert len(whole) == len(shares[0]) == TINY.iterations
    for index in (0, 5):
        crops, theta = whole[index].labelled
        assert theta.shape == (2, 350)
        assert torch.equal(crops, torch.cat([share[index].labelled[0] for share in shares]))
        assert torch.equal(theta, torch.cat([share[index].labelled[1] for share in shares]))
    assert not torch.equal(whole[0].labelled[1], whole[1].labelled[1])
    for parts in (0, 3):
        with pytest.raises(InputError, match="batch-parts"):
            batches.corpus_of(synthetic_model, replace(TINY, batch_parts=parts), device)


def entries(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_log_has_options_progress_and_validation(uninterrupted, tmp_path, capsys):
    written = entries(tmp_path / "whole")
    assert [entry["kind"] for entry in written] == ["options", "validation", "train", "validation"]
    assert written[0]["options"] == TINY.to_dict()
    assert {"iteration", "parameters", "positions", "colours", "loss", "seconds"} <= set(written[2])
    groups = {"rotation", "shape", "expression", "reflectance", "illumination"}
    assert {"degrees", "position_px", "colour_levels", "loss"} | groups <= set(written[3])
    assert written[2]["loss"] == pytest.approx(
        sum(written[2][n] for n in ("parameters", "positions", "colours"))
    )


@pytest.mark.parametrize("change", [{"learning_rate": 5e-3}, {"weights": "paper"}, {"iterations": 9}])
def test_other_options_are_refused_and_named(uninterrupted, tmp_path, change):
    with pytest.raises(InputError, match=next(iter(change))):
        train.train(replace(TINY, **change), run_in(tmp_path / "whole"))


def test_another_face_model_is_refused(uninterrupted, tmp_path, monkeypatch, synthetic_model):
    other = replace(synthetic_model, digest="f" * 64)
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: other))
    with pytest.raises(InputError, match="face model"):
        train.train(TINY, run_in(tmp_path / "whole"))


def test_asking_for_a_gpu_where_there_is_none_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert train.choose_device("auto").type == "cpu"
    with pytest.raises(InputError, match="GPU"):
        train.train(TINY, run_in(tmp_path, device="cuda"))


def test_missing_tensorboard_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match="tensorboard"):
        train.train(TINY, run_in(tmp_path, tensorboard=True))


@pytest.mark.parametrize("iterations", [1, 2, 9, 10, 11, 20, 200])
def test_one_cycle_suits_runs_of_any_length(iterations):
    layer = torch.nn.Linear(1, 1)
    optimizer, schedule = train.make_optimizer(layer, replace(TINY, iterations=iterations))
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) <= TINY.learning_rate * 1.0001
    if iterations == 200:
        assert rates.index(max(rates)) == pytest.approx(19, abs=1)
        assert rates[-1] < 1e-3 * TINY.learning_rate


def test_command_line_reports_errors_on_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert train.main(["--output", str(tmp_path), "--device", "cuda"]) == 1
    assert capsys.readouterr().err.startswith("training: No GPU")


def test_command_line_trains(tmp_path):
    arguments = ["--iterations", "1", "--batch-size", "2", "--rank", "4", "--workers", "0", "--device", "cpu"]
    assert train.main([*arguments, "--output", str(tmp_path / "run")]) == 0
    assert load(tmp_path / "run" / "checkpoint.pt").iteration == 1
