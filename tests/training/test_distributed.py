import json
import multiprocessing
import socket

import distributed_support as support
import pytest
import torch

from inversefacenet.errors import InputError
from inversefacenet.morphable_model import MorphableModel
from training import network, validation
from training.checkpoint import load
from training.distributed import Processes, joined


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Where two processes ran, and what each came to."""
    folder = tmp_path_factory.mktemp("processes")
    probes = [socket.socket() for _ in range(5)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=support.one_process, args=(rank, ports, folder)) for rank in range(2)]
    for process in started:
        process.start()
    try:
        for process in started:
            process.join(270)
            assert process.exitcode == 0
    finally:
        for process in started:
            process.kill()
    return folder, [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def two(both):
    """What two processes came to, each on its own."""
    return both[1]


@pytest.fixture(scope="module")
def alone():
    return support.train(Processes())


def test_two_processes_train_the_network_that_one_trains(two, alone):
    for result in two:
        trained = result["trained"]
        assert trained.keys() == alone.keys()
        for name, expected in alone.items():
            torch.testing.assert_close(trained[name], expected, rtol=2e-4, atol=2e-5, msg=name)


def test_they_keep_the_same_weights_and_statistics_bit_by_bit(two):
    first, second = (result["trained"] for result in two)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_did_something(alone):
    before = support.small_network().state_dict()
    assert not torch.equal(alone["0.weight"], before["0.weight"])
    assert float(alone["1.running_mean"].abs().max()) > 0.01
    assert float(alone["gradients"].abs().max()) > 0.1


def test_all_stop_as_soon_as_one_wants_to(two):
    for result in two:
        assert result["told"]["nobody"] is False
        assert result["told"]["somebody"] is True


def test_parts_are_shared_without_gaps_and_doubles(two):
    assert [result["told"]["parts"] for result in two] == [[0, 1], [2, 3]]
    assert list(Processes().own_parts(3)) == [0, 1, 2]
    with pytest.raises(InputError, match="--batch-parts 3"):
        Processes(rank=1, count=3).own_parts(4)


def test_processes_that_resume_elsewhere_are_refused(two):
    for result in two:
        assert result["told"]["refused"].startswith("InputError: The processes don't agree")


def test_only_the_first_logs(two):
    assert [result["first"] for result in two] == [True, False]


def test_the_command_trains_by_two_processes_what_it_trains_by_one(
    both, tmp_path, monkeypatch, synthetic_model
):
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: synthetic_model))
    monkeypatch.setattr(network, "HIDDEN_COUNT", 16)
    monkeypatch.setattr(validation, "FACES", 4)
    alone = load(support.train_by_command(support.OPTIONS, support.run_in(tmp_path)))
    shared, stopped = (load(both[0] / name / "checkpoint.pt") for name in ("whole", "stopped"))
    assert alone.iteration == shared.iteration == stopped.iteration == 3
    assert all(torch.equal(stopped.network[name], shared.network[name]) for name in shared.network)
    # AdamW's first steps have one size whatever the gradient's, so rounding shows in single weights.
    logs = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path, both[0] / "whole")
    ]
    assert [entry["kind"] for entry in logs[1]] == ["options", "validation", "train", "validation"]
    for mine, theirs in zip(*(log[1:] for log in logs), strict=True):
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-4)
    (start,) = json.loads((both[0] / "whole" / "run.json").read_text())["starts"]
    assert start["config"]["processes"] == 2


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(torch.device("cpu")) as processes:
        assert processes == Processes()
        network = support.small_network()
        assert processes.wrap(network, torch.device("cpu")) is network
        assert processes.any(True) is True
        processes.check_same("anything", 3)
        assert processes.device(torch.device("cuda")) == torch.device("cuda")


def test_half_of_torchruns_environment_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(InputError, match=r"MASTER_ADDR.*torchrun"), joined(torch.device("cpu")):
        pass


def test_a_process_without_a_gpu_of_its_own_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="nproc-per-node"):
        Processes(rank=1, count=2, local_rank=1).device(torch.device("cuda"))
