"""A run over many photos: its table, and what is left of it when it is killed."""

import builtins
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from batch_support import ASTRONAUT, GivingUp, Inline, portrait
from PIL import Image

from inversefacenet.batch import run as batch_run
from inversefacenet.batch import work as batch_work
from inversefacenet.batch.files import alone_in
from inversefacenet.batch.photos import photos_named
from inversefacenet.batch.rows import read_rows
from inversefacenet.batch.run import BatchRun
from inversefacenet.batch.tables import table_format
from inversefacenet.cli import main
from inversefacenet.errors import BackendError, FaceModelError, InputError, MissingDependencyError
from inversefacenet.image import load_photo
from inversefacenet.reconstruction import Reconstructor

GOOD = ("a.png", "c.png", "e/f.png", "g.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four portraits, one of them with two faces, and three files that no face comes of."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "e").mkdir()
    for name, brightness in zip(GOOD, (1.0, 0.8, 0.9, 1.1), strict=True):
        portrait(brightness).save(folder / name)
    pair = Image.new("RGB", (480, 240))
    pair.paste(portrait(), (0, 0))
    pair.paste(portrait(0.7).resize((200, 200)), (270, 20))
    pair.save(folder / "g.png")
    Image.new("RGB", (90, 90)).save(folder / "black.png")
    (folder / "broken.jpg").write_bytes(b"no photo")
    whole = (folder / "a.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    return folder


def complete_run(folder, output, engine=None, **options):
    run = BatchRun(photos_named([str(folder)]), output, **({"chunk": 3} | options))
    with run.open() as chunks:
        done = [chunk.number for chunk in run.work(engine or Inline(), chunks)]
        return done, run.finish()


@pytest.fixture(scope="module")
def table(folder, tmp_path_factory):
    """The unbroken run's table."""
    output = tmp_path_factory.mktemp("out") / "faces.jsonl"
    complete_run(folder, output)
    return output


def rows_of(table):
    return [json.loads(line) for line in table.read_text().splitlines()]


def test_each_face_has_a_row_and_each_bad_photo_names_its_problem(table, folder):
    rows = rows_of(table)
    assert [(str(Path(row["photo"]).relative_to(folder)), row["face"], row["problem"]) for row in rows] == [
        ("a.png", 1, None),
        ("black.png", None, "no-face"),
        ("broken.jpg", None, "unsupported-image"),
        ("c.png", 1, None),
        ("cut.png", None, "truncated-image"),
        ("e/f.png", 1, None),
        ("g.png", 1, None),
        ("g.png", 2, None),
    ]
    assert "not an image" in rows[2]["message"].lower() or "JPEG" in rows[2]["message"]
    assert [row["faces"] for row in rows] == [1, 0, 0, 1, 0, 1, 2, 2]
    record = json.loads(table.with_name("faces.jsonl.run.json").read_bytes())
    assert (record["photos"], record["rows"], record["faces"], record["failed"]) == (7, 8, 5, 3)
    assert record["problems"] == {"no-face": 1, "truncated-image": 1, "unsupported-image": 1}


def test_rows_say_what_a_reconstruction_says(table, folder):
    row = rows_of(table)[0]
    (expected,) = Reconstructor().reconstruct(load_photo(folder / "a.png"), "all")
    assert (row["width"], row["height"]) == (240, 240)
    np.testing.assert_allclose(row["parameters"], expected.parameters.vector(), atol=1e-3)
    np.testing.assert_allclose(row["box"], expected.face.box)
    assert row["quality"] == pytest.approx(expected.assessment(), abs=0.05)
    scale, x, y = row["placement"]
    placed = expected.rendering.placement.inverse().apply(expected.rendering.points()) * scale + [x, y]
    np.testing.assert_allclose(placed, expected.photo_points(), atol=0.1)


def test_parquet_holds_the_same(table, folder, tmp_path):
    from pyarrow import parquet

    output = tmp_path / "faces.parquet"
    complete_run(folder, output)
    for row, line in zip(parquet.read_table(output).to_pylist(), rows_of(table), strict=True):
        assert list(row) == list(line)
        for name in ("parameters", "box", "score"):  # single precision in Parquet
            held, exact = row.pop(name), line.pop(name)
            assert (held is None) == (exact is None)
            if exact is not None:
                np.testing.assert_array_equal(np.float32(held), np.float32(exact))
        assert row == line
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["faces.parquet", "faces.parquet.run.json"]


def test_a_killed_run_goes_on_where_it_was_and_ends_in_the_same_bytes(table, folder, tmp_path):
    output = tmp_path / "faces.jsonl"
    script = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "from pathlib import Path\nfrom batch_support import Dying\nfrom test_batch_run import complete_run\n"
        f"complete_run(Path({str(folder)!r}), Path({str(output)!r}), Dying(after=2))"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=240)
    assert killed.returncode == -9, killed.stderr.decode()
    parts = tmp_path / "faces.jsonl.parts"
    assert sorted(path.name for path in parts.glob("*.jsonl")) == ["00000001.jsonl", "00000002.jsonl"]
    assert not output.exists()
    (parts / "00000000.jsonl.99.part").write_text('{"half')
    done, _ = complete_run(folder, output)
    assert done == [0]
    assert output.read_bytes() == table.read_bytes()
    assert not parts.exists()


def test_a_run_that_died_before_its_record_was_written_gathers_again(table, folder, tmp_path, monkeypatch):
    output = tmp_path / "faces.jsonl"

    def dead(path, data):
        if path.name.endswith(".run.json"):
            raise OSError("the machine is off")
        real(path, data)

    real = batch_run.write_atomically
    monkeypatch.setattr(batch_run, "write_atomically", dead)
    with pytest.raises(OSError, match="off"):
        complete_run(folder, output)
    monkeypatch.undo()
    assert output.exists()
    done, _ = complete_run(folder, output)
    assert done == []
    assert output.read_bytes() == table.read_bytes()


def test_a_finished_run_is_known_and_another_ones_output_refused(table, folder, tmp_path):
    photos = photos_named([str(folder)])
    assert BatchRun(photos, table, chunk=3).record()["faces"] == 5
    with pytest.raises(InputError, match=r"made with other settings .*faces is 'all', not 'largest'"):
        BatchRun(photos, table, chunk=3, faces="largest").record()
    with pytest.raises(InputError, match="photos is"):
        BatchRun(photos[1:], table, chunk=3).record()
    foreign = tmp_path / "faces.jsonl"
    foreign.write_text("somebody's work")
    with pytest.raises(InputError, match="not of this run"):
        BatchRun(photos, foreign).record()
    assert foreign.read_text() == "somebody's work"


def test_a_started_run_refuses_other_settings_and_foreign_folders(folder, tmp_path):
    photos = photos_named([str(folder)])
    with BatchRun(photos, tmp_path / "faces.jsonl", chunk=3).open():
        pass
    with (
        pytest.raises(InputError, match=r"faces.jsonl.parts .*chunk is 3, not 2"),
        BatchRun(photos, tmp_path / "faces.jsonl", chunk=2).open(),
    ):
        pass
    (tmp_path / "other.jsonl.parts").mkdir()
    (tmp_path / "other.jsonl.parts" / "diary.txt").touch()
    with (
        pytest.raises(InputError, match="isn't of such a run"),
        BatchRun(photos, tmp_path / "other.jsonl").open(),
    ):
        pass


def test_two_runs_never_write_to_one_place(folder, tmp_path):
    run = BatchRun(photos_named([str(folder)]), tmp_path / "faces.jsonl")
    (tmp_path / "faces.jsonl.parts").mkdir()
    with (
        alone_in(tmp_path / "faces.jsonl.parts"),
        pytest.raises(InputError, match="Another run is writing"),
        run.open(),
    ):
        pass


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_photo_that_kills_workers_has_a_row_like_others(ending, table, folder, tmp_path):
    output = tmp_path / f"faces.{ending}"
    engine = GivingUp(lambda task: "c.png" in str(task))
    complete_run(folder, output, engine, chunk=3)
    rows = list(read_rows(output))
    crashed = [row for row in rows if row["problem"] == "crashed"]
    assert [Path(row["photo"]).name for row in crashed] == ["c.png"]
    assert len(rows) == 8
    # Its chunk was done in pieces, and its neighbours' rows are what they always are.
    known = {(row["photo"], row["face"]): row["problem"] for row in rows_of(table)}
    assert all(known[row["photo"], row["face"]] == row["problem"] for row in rows if row not in crashed)


def test_the_projects_own_landmarks_do_for_batches(folder, tmp_path):
    usual, own = tmp_path / "usual.jsonl", tmp_path / "own.jsonl"
    photo = str(folder / "a.png")
    assert main(["batch", photo, "--output", str(usual), "--workers", "1"]) == 0
    assert main(["batch", photo, "--output", str(own), "--workers", "1", "--landmarks", "open"]) == 0
    (one,), (other,) = rows_of(usual), rows_of(own)
    assert other["problem"] is None
    assert one["parameters"] != other["parameters"]
    assert min(one["quality"]["iou"], other["quality"]["iou"]) > 0.85


def test_a_fault_of_ours_is_a_row_and_a_broken_installation_an_error(folder, tmp_path, monkeypatch):
    def fault(self, image, faces):
        if image.shape[1] == 480:
            raise ZeroDivisionError("ours")
        raise failing("no network")

    failing = FaceModelError
    monkeypatch.setattr("inversefacenet.reconstruction.Reconstructor.find", fault)
    setup = BatchRun([str(folder / "g.png")], tmp_path / "faces.jsonl")._setup
    (row,) = batch_work.work(setup, (str(folder / "g.png"),))
    assert (row["problem"], row["message"]) == ("internal", "ZeroDivisionError: ours")
    for failing in (FaceModelError, BackendError, MissingDependencyError):
        with pytest.raises(failing):
            batch_work.work(setup, (str(folder / "a.png"),))


def test_a_network_that_was_exchanged_in_mid_run_is_refused(folder, tmp_path):
    from dataclasses import replace

    setup = BatchRun([str(folder / "a.png")], tmp_path / "faces.jsonl")._setup
    with pytest.raises(BackendError, match="another network than when the run began"):
        batch_work.work(replace(setup, network_digest="0" * 64), (str(folder / "a.png"),))
    with pytest.raises(FaceModelError, match="another one"):
        batch_work.work(replace(setup, face_model_digest="0" * 64), (str(folder / "a.png"),))


def test_a_crowd_is_shown_to_the_network_a_few_at_a_time(folder, tmp_path, monkeypatch):
    setup = BatchRun([str(folder / "a.png")], tmp_path / "faces.jsonl")._setup
    pipeline = batch_work.reconstructor(setup)
    (face,) = pipeline.find(load_photo(folder / "a.png"))
    shown = []

    def infer(found):
        shown.append(len(found))
        return np.zeros((len(found), 350), np.float32)

    monkeypatch.setattr(pipeline, "find", lambda image, faces: [face] * 21)
    monkeypatch.setattr(pipeline, "infer", infer)
    monkeypatch.setattr(batch_work, "_answers", lambda reconstruction: {"quality": {}})
    monkeypatch.setattr(pipeline, "finish", lambda found, thetas: [None])
    rows = batch_work.work(setup, (str(folder / "a.png"), str(folder / "c.png")))
    assert shown == [16, 16, 10]
    assert [row["face"] for row in rows] == [*range(1, 22)] * 2


def test_outputs_that_cannot_be_written_are_clear_errors(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"faces.csv: results are written as .parquet or .jsonl"):
        table_format(tmp_path / "faces.csv")
    with pytest.raises(InputError, match="no photos"):
        BatchRun([], tmp_path / "faces.jsonl")
    with pytest.raises(InputError, match=r"gone.onnx can't be read"):
        BatchRun(["a.png"], tmp_path / "faces.jsonl", network=tmp_path / "gone.onnx")
    real = builtins.__import__

    def without_arrow(name, *rest, **named):
        if name.split(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_arrow)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[batch\]"):
        table_format(tmp_path / "faces.parquet")


def test_paths_that_are_no_unicode_are_written_all_the_same(tmp_path):
    row = batch_work.failure("bad\udcff.png", "no-face", "none")
    assert json.loads(table_format(tmp_path / "a.jsonl").encode([row]))["photo"] == "bad\\udcff.png"
    assert table_format(tmp_path / "a.parquet").encode([row])


def test_the_command_works_in_processes_and_says_what_it_did(table, folder, tmp_path, capsys):
    output = tmp_path / "faces.jsonl"
    arguments = ["batch", str(folder), "--output", str(output), "--workers", "1", "--chunk", "3"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["no-face: 1", "truncated-image: 1", "unsupported-image: 1"]
    said = dict(pair.split("=", 1) for pair in lines[-1].split())
    assert (said["photos"], said["done_before"], said["faces"], said["failed"]) == ("7", "0", "5", "3")
    assert (said["engine"], said["repeated"], said["output"]) == ("local", "0", str(output))
    # Not byte by byte: this process may do linear algebra in several threads, workers don't.
    for row, expected in zip(rows_of(output), rows_of(table), strict=True):
        assert list(row) == list(expected)
        assert (row["photo"], row["face"], row["problem"]) == tuple(
            expected[name] for name in ("photo", "face", "problem")
        )
        if row["problem"] is None:
            assert row["parameters"] == pytest.approx(expected["parameters"], abs=1e-4)
            assert row["quality"] == pytest.approx(expected["quality"], abs=0.01)
    assert main(arguments) == 0
    assert "done_before=7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["PHOTO", "--address", "here"], "add --engine ray"),
        (["nowhere"], "no photo, folder or pattern nowhere"),
        ([], "No photos were named"),
    ],
)
def test_the_command_refuses_in_one_line(arguments, message, tmp_path, capsys):
    arguments = [str(ASTRONAUT) if argument == "PHOTO" else argument for argument in arguments]
    assert main(["batch", *arguments, "--output", str(tmp_path / "faces.jsonl")]) == 1
    problem = capsys.readouterr().err
    assert message in problem
    assert len(problem.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_workers_end_with_the_process_that_started_them():
    script = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "import os, signal\nfrom batch_support import pid\n"
        "from inversefacenet.batch.local_engine import LocalEngine\n"
        "for _, worker in LocalEngine(1).run(pid, range(9)):\n"
        "    print(worker, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=240)
    worker = Path(f"/proc/{int(killed.stdout)}/stat")
    until = time.monotonic() + 60
    while worker.exists() and worker.read_text().split()[2] != "Z":
        assert time.monotonic() < until, "the worker lives on"
        time.sleep(0.05)
