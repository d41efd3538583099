from dataclasses import replace

import pytest
import torch

from inversefacenet.errors import InputError
from training import checkpoint as checkpoints
from training import network
from training.checkpoint import Checkpoint, load, load_network, summary
from training.options import PAPER, Options


@pytest.fixture
def saved(monkeypatch, tmp_path):
    """A small network's checkpoint and its file."""
    monkeypatch.setattr(network, "HIDDEN_COUNT", 16)
    options = replace(Options(), rank=4)
    net = network.build(options.to_dict())
    optimizer = torch.optim.AdamW(net.parameters())
    value = Checkpoint(
        options, 7, net.state_dict(), optimizer.state_dict(), {"last_epoch": 7}, 12.5, "ab" * 32
    )
    path = tmp_path / checkpoints.FILE_NAME
    value.save(path)
    return value, path


def test_checkpoints_are_read_back(saved):
    value, path = saved
    loaded = load(path)
    assert loaded.options == value.options
    assert (loaded.iteration, loaded.seconds, loaded.face_model) == (7, 12.5, "ab" * 32)
    assert loaded.schedule == {"last_epoch": 7}
    assert loaded.network.keys() == value.network.keys()
    assert all(torch.equal(loaded.network[name], value.network[name]) for name in value.network)


def test_networks_are_built_as_the_checkpoint_says(saved):
    net, loaded = load_network(saved[1])
    assert not net.training
    assert (net.rank, net.batch_norm) == (4, True)
    assert torch.equal(net.state_dict()["features.0.weight"], loaded.network["features.0.weight"])


def test_a_save_that_fails_leaves_the_last_checkpoint_whole(saved, monkeypatch):
    value, path = saved
    before = path.read_bytes()

    def die(content, target):
        target.write_bytes(b"half a check")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", die)
    with pytest.raises(KeyboardInterrupt):
        replace(value, iteration=8).save(path)
    assert path.read_bytes() == before
    assert load(path).iteration == 7


def test_a_save_replaces_the_file_in_one_step(saved):
    value, path = saved
    with path.open("rb") as reader:
        replace(value, iteration=8).save(path)
        # Whoever opened the old file still reads the old file, whole.
        assert torch.load(reader, weights_only=True)["iteration"] == 7
    assert load(path).iteration == 8
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x80\x02K\x01."])
def test_files_that_are_no_checkpoints_are_a_clear_error(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no checkpoint"):
        load(path)


def test_a_cut_file_is_a_clear_error(saved):
    path = saved[1]
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(InputError, match="no checkpoint"):
        load(path)


@pytest.mark.parametrize("content", [[1, 2], {"options": {}}, {"options": {"colour": "red"}}])
def test_other_torch_files_are_a_clear_error(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(InputError, match="no checkpoint"):
        load(tmp_path / "other.pt")


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match=r"training\.train"):
        load(tmp_path / "checkpoint.pt")


def test_options_survive_by_name():
    assert Options(**PAPER.to_dict()) == PAPER


def rewrite(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def test_checkpoints_from_before_there_were_options_get_their_defaults(saved):
    value, path = saved

    def age(content):
        content["options"] = {
            name: kept for name, kept in content["options"].items() if name not in {"architecture", "photos"}
        }
        del content["history"], content["adapted"]

    rewrite(path, age)
    net, loaded = load_network(path)
    assert loaded.options == value.options
    assert (loaded.history, loaded.adapted) == ((), "")
    assert net.rank == 4


def test_options_that_are_gone_since_are_left_out(saved):
    value, path = saved
    rewrite(path, lambda content: content["options"].update(colour="red"))
    assert load(path).options == value.options


def test_weights_of_another_architecture_are_a_clear_error(saved):
    rewrite(saved[1], lambda content: content["options"].update(architecture="resnet101"))
    with pytest.raises(InputError, match="don't fit"):
        load_network(saved[1])


def test_a_run_inherits_the_history_of_the_one_that_it_starts_from(saved):
    value, path = saved
    assert value.history == ()
    (own,) = value.lineage()
    assert "alexnet, 7 iterations of 32 rendered faces" in own
    replace(value, iteration=9, history=value.lineage(), adapted="5 photographs").save(path)
    first, second, third = load(path).lineage()
    assert first == own
    assert "9 iterations" in second
    assert third == "last layer adapted to 5 photographs"


def test_a_history_that_was_not_kept_is_told_by_the_runs_themselves(saved, tmp_path, capsys):
    value, path = saved
    for name, iteration in (("first", 40), ("second", 41)):
        replace(value, iteration=iteration, history=("something else",)).save(tmp_path / f"{name}.pt")
    first, second, third = (str(tmp_path / f"{name}.pt") for name in ("first", "second", "third"))
    assert checkpoints.main([second, "--output", second, "--whole", "--adapted", "9 photographs"]) == 0
    command = [str(path), "--output", third, "--before", first, second]
    assert checkpoints.main(command) == 0
    stages = load(tmp_path / "third.pt").lineage()
    assert [stage.split(" of ")[0] for stage in stages] == [
        "alexnet, 40 iterations",
        "alexnet, 41 iterations",
        "last layer adapted to 9 photographs",
        "alexnet, 7 iterations",
    ]
    assert load(tmp_path / "second.pt").resumable
    assert not load(tmp_path / "third.pt").resumable
    shown = capsys.readouterr().out.splitlines()
    assert shown[-2] == f"4. {stages[-1]}"
    assert shown[-1].startswith("iteration=7 bytes=")
    replace(value, face_model="cd" * 32).save(tmp_path / "first.pt")
    assert checkpoints.main(command) == 1
    assert "another kind of network" in capsys.readouterr().err


def test_the_summary_says_which_photographs_were_seen_and_names_no_file(saved):
    bootstrapped = replace(saved[0].options, parameters="/a/parameters.npy", parameters_share=0.5)
    told = summary(replace(saved[0], options=bootstrapped))
    assert "50% of them drawn around answers to photographs" in told
    assert "/a/" not in told
    fine_tuned = replace(saved[0].options, photos="/a/store", photo_batch=8, loss="none")
    assert "8 photographs a batch" in summary(replace(saved[0], options=fine_tuned))
    fitted = replace(saved[0].options, photos="/a/store", fits="/a/fits.npz")
    assert "photographs with their fits" in summary(replace(saved[0], options=fitted))


def test_weights_alone_are_a_sixth_and_make_the_same_network(saved, tmp_path, capsys):
    value, path = saved
    assert checkpoints.main([str(path), "--output", str(tmp_path / "small" / "weights.pt")]) == 0
    assert "iteration=7 bytes=" in capsys.readouterr().out
    net, loaded = load_network(tmp_path / "small" / "weights.pt")
    assert value.resumable
    assert not loaded.resumable
    assert (loaded.options, loaded.iteration, loaded.face_model) == (value.options, 7, value.face_model)
    assert next(net.parameters()).dtype == torch.float32
    for name, kept in net.state_dict().items():
        torch.testing.assert_close(kept, value.network[name], rtol=1e-3, atol=1e-6)
    assert checkpoints.main([str(tmp_path / "none.pt"), "--output", str(tmp_path / "out.pt")]) == 1
    assert capsys.readouterr().err.startswith("checkpoint: ")
