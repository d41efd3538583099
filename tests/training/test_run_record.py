import json
import subprocess
import sys

import numpy as np
import pytest

from inversefacenet.errors import InputError, MissingDependencyError
from training import run_record
from training.run_record import Board, Progress, Stage, commit_of, duration, write


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A history with one commit, which is taken for the project's."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "code.py").write_text("a = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    monkeypatch.setattr(run_record, "_ROOT", folder)
    return folder


def starts(folder):
    return json.loads((folder / "run.json").read_text())["starts"]


def test_the_record_holds_all_that_repeats_a_run(checkout, tmp_path):
    path = write(tmp_path / "run", {"seed": 5, "rank": 4}, ["train.py", "--output", "a b"], "ab" * 32)
    assert path == tmp_path / "run" / "run.json"
    (start,) = starts(path.parent)
    assert start["seed"] == 5
    assert start["config"] == {"seed": 5, "rank": 4}
    assert start["command"] == "train.py --output 'a b'"
    assert start["face_model"] == "ab" * 32
    assert len(start["commit"]["id"]) == 40
    assert start["commit"]["dirty"] is False
    assert start["packages"]["numpy"] == np.__version__
    assert start["python"] == sys.version.split()[0]
    assert start["machine"]["cores"] >= 1


def test_what_is_not_committed_is_kept_as_a_patch_that_applies(checkout, tmp_path):
    (checkout / "code.py").write_text("a = 2\n")
    write(tmp_path / "run", {}, ["x"])
    (start,) = starts(tmp_path / "run")
    assert start["commit"]["dirty"] is True
    (checkout / "code.py").write_text("a = 1\n")
    git(checkout, "apply", str(tmp_path / "run" / start["commit"]["patch"]))
    assert (checkout / "code.py").read_text() == "a = 2\n"


def test_files_that_git_does_not_know_are_named(checkout):
    (checkout / "more.py").write_text("")
    assert commit_of(checkout)["untracked"] == ["more.py"]
    assert commit_of(checkout)["dirty"] is True


def test_a_resumed_run_adds_an_entry(checkout, tmp_path):
    write(tmp_path / "run", {"iterations": 1}, ["x"], seed=3)
    write(tmp_path / "run", {"iterations": 2}, ["y"], seed=3)
    assert [start["config"]["iterations"] for start in starts(tmp_path / "run")] == [1, 2]
    assert [start["seed"] for start in starts(tmp_path / "run")] == [3, 3]


def test_a_file_that_is_no_record_is_a_clear_error(checkout, tmp_path):
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(InputError, match="no record"):
        write(tmp_path, {}, ["x"])


def test_without_a_history_the_file_that_was_carried_names_the_commit(tmp_path):
    assert commit_of(tmp_path) == {"id": "unknown", "dirty": False}
    (tmp_path / "COMMIT").write_text("0123abcd-dirty\n")
    assert commit_of(tmp_path) == {"id": "0123abcd", "dirty": True}


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def schedule(clock):
    return Progress(
        [
            Stage("first", "train", 100, seconds=1.0),
            Stage("infer-1", "infer", 10, seconds=0.5),
            Stage("round-1", "train", 50, seconds=1.0),
        ],
        clock,
    )


def test_before_anything_is_timed_the_guesses_count():
    assert schedule(Clock()).left() == pytest.approx(100 + 5 + 50)


def test_measured_pace_takes_the_place_of_the_guess_and_corrects_the_others():
    clock = Clock()
    progress = schedule(clock)
    progress.start("first")
    clock.now += 50
    progress.update(25)  # twice as slow as thought
    assert progress.left() == pytest.approx(75 * 2 + 10 * 0.5 * 2 + 50 * 2)
    clock.now += 150
    progress.finish()
    progress.start("infer-1")
    clock.now += 3
    progress.update(1)
    assert progress.left() == pytest.approx(9 * 3 + 50 * 2)
    assert progress.line() == "infer-1 (2 of 3) 10%, 2 min left"


def test_a_resumed_schedule_counts_only_its_own_time():
    clock = Clock()
    progress = schedule(clock)
    clock.now += 1000  # loading
    progress.start("round-1", done=10)
    clock.now += 30
    progress.update(20)
    assert progress.left() == pytest.approx(30 * 3)
    progress.finish()
    assert progress.left() == 0


@pytest.mark.parametrize(
    ("seconds", "told"), [(5.4, "5 s"), (89, "89 s"), (600, "10 min"), (11_100, "3 h 05 min")]
)
def test_durations_are_told_as_people_do(seconds, told):
    assert duration(seconds) == told


def test_tensorboard_gets_the_curves(tmp_path):
    from tensorboard.backend.event_processing import event_accumulator

    board = Board(tmp_path / "logs")
    board.scalars("train", 5, {"loss": 2.5})
    board.close()
    read = event_accumulator.EventAccumulator(str(tmp_path / "logs"))
    read.Reload()
    (point,) = read.Scalars("train/loss")
    assert (point.step, point.value) == (5, 2.5)


def test_no_board_needs_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    board = Board(None)
    board.scalars("train", 1, {"loss": 1.0})
    board.close()


def test_a_missing_tensorboard_is_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match="pip install tensorboard"):
        Board(tmp_path)
