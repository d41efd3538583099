import json

import numpy as np
import pytest

from inversefacenet.errors import InputError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import EXPRESSION, REFLECTANCE, SHAPE, Parameters
from training import tables
from training.evaluation import entrants
from training.evaluation.curve import Point, curve_table, draw_curve, find_rounds
from training.evaluation.intervals import Interval
from training.evaluation.trained_rows import duration, read_rows
from training.evaluation.true_faces import true_faces


class Network:
    """Answers the mean face, in light that the file's folder tells."""

    name, digest = "fixed", "0" * 64

    def __init__(self, path=None, threads=0):
        self.level = 0.9 if path is None else float(path.read_text())

    def infer(self, crops, *, timeout=None):
        theta = np.stack([Parameters.neutral().vector()] * len(crops))
        theta[:, 323:326] = self.level
        return theta


def write_row(folder, name, level, iterations=10, planned=1000):
    (folder / name).mkdir(parents=True)
    (folder / name / "model.onnx").write_text(str(level))
    told = {"row": name, "title": name.title(), "iterations": iterations, "planned_iterations": planned}
    told |= {"seconds": 7200, "photos": 5, "parameters": 1}
    (folder / name / "row.json").write_text(json.dumps(told))


@pytest.fixture
def rows(tmp_path, monkeypatch, synthetic_model):
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: synthetic_model))
    monkeypatch.setattr(entrants, "OnnxBackend", Network)
    monkeypatch.setattr(tables, "OnnxBackend", Network)
    for name, level in (("zebra", 0.9), ("bootstrapped", 0.9), ("plain", 5.0)):
        write_row(tmp_path / "rows", name, level)
    return tmp_path / "rows"


def columns(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_rows_are_read_in_the_papers_order(rows):
    (rows / "unfinished").mkdir()
    (rows / "unfinished" / "row.json").write_text("{}")
    read = read_rows(rows)
    assert [row.name for row in read] == ["plain", "bootstrapped", "zebra"]
    assert read[0].effort() == "10 (1% of 1,000)"
    assert [row.name for row in read_rows(rows, ["zebra"])] == ["zebra"]


def test_missing_and_damaged_rows_are_named(rows, tmp_path):
    with pytest.raises(InputError, match="no trained row"):
        read_rows(tmp_path / "nowhere")
    (rows / "plain" / "row.json").write_text('{"row": "plain"}')
    with pytest.raises(InputError, match=r"row\.json"):
        read_rows(rows)


def test_durations_have_fitting_units():
    texts = [duration(value) for value in (0.0039, 2.0, 90, 7200, float("nan"))]
    assert texts == ["3.9 ms", "2 s", "1.5 min", "2 h", ""]


def test_table1_has_a_row_for_each_network(rows, capsys):
    assert tables.main(["table1", "--rows", str(rows), "--rendered-count", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "rows=3 photos_n=0 rendered_n=4"
    start = next(i for i, line in enumerate(lines) if line.startswith("| approach"))
    table = [columns(line) for line in lines[start + 2 : start + 7]]
    assert [row[0] for row in table] == [
        "Plain", "Bootstrapped", "Zebra",
        "mean face, best constant light", "same, pose fitted to landmarks",
    ]  # fmt: skip
    assert table[0][1:3] == ["10 (1% of 1,000)", "2 h"]
    photometric = [float(row[4].split(" ±")[0]) for row in table]
    assert photometric[0] > photometric[1]  # far too bright
    assert any(line.startswith("| Bootstrapped | -") and "better" in line for line in lines)


def test_table2_measures_known_people(rows, capsys):
    arguments = ["table2", "--rows", str(rows), "--only", "zebra", "--identities", "2", "--expressions", "2"]
    assert tables.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    figures = dict(pair.split("=") for pair in lines[-1].split())
    assert figures["meshes"] == "4"
    # This network answers the mean face's geometry too.
    assert figures["geometric"] == figures["mean_face"]
    (row,) = [columns(line) for line in lines if line.startswith("| Zebra")]
    assert float(row[1].split(" ±")[0]) >= float(row[2].split(" ±")[0]) > 0.1


def test_true_faces_share_shapes_and_expressions(synthetic_model):
    faces = true_faces(synthetic_model, identities=3, expressions=4, views=2)
    theta = faces.theta.reshape(3, 4, 2, 350)
    assert faces.names[:3] == ["1/1-1", "1/1-2", "1/2-1"]
    for group in (SHAPE, REFLECTANCE):
        assert (theta[..., group] == theta[:, :1, :1, group]).all()
        assert np.abs(theta[0, 0, 0, group] - theta[1, 0, 0, group]).mean() > 0.5
    assert (theta[..., EXPRESSION] == theta[:1, :, :1, EXPRESSION]).all()
    assert not theta[:, 0, :, EXPRESSION].any()
    assert len({tuple(one) for one in theta[..., :3].reshape(-1, 3)}) == 24


def test_the_curve_follows_the_rounds(rows, tmp_path, capsys):
    for number, level in ((10, 0.9), (2, 1.5), (0, 5.0)):
        write_row(tmp_path / "run", f"round-{number}", level)
    write_row(tmp_path / "run", "finetuning", 1.0)
    assert list(find_rounds(tmp_path / "run")) == ["0", "2", "10"]
    beside = f"baseline={tmp_path / 'rows' / 'plain' / 'model.onnx'}"
    output = tmp_path / "figure.png"
    arguments = ["curve", "--run", str(tmp_path / "run"), "--rendered-count", "4", "--network", beside]
    assert tables.main([*arguments, "--output", str(output)]) == 0
    lines = capsys.readouterr().out.splitlines()
    figures = dict(pair.split("=") for pair in lines[-1].split())
    assert figures["rounds"] == "2"
    assert float(figures["loss_first"]) > float(figures["loss_last"])
    assert [columns(line)[0] for line in lines[2:6]] == ["0", "2", "10", "baseline"]
    assert output.read_bytes().startswith(b"\x89PNG")


def test_a_run_without_rounds_is_an_error(tmp_path, rows, capsys):
    assert tables.main(["curve", "--run", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("tables: There is no round-")


def test_curves_show_intervals(tmp_path):
    points = [Point(str(i), {"loss": Interval(5.0 - i, 4.0 - i, 6.5 - i, 9)}) for i in range(3)]
    assert "| 1 | 4.00 [3.00, 5.50] |" in curve_table(points)
    assert draw_curve(points, points[:1], tmp_path / "deep" / "curve.png").is_file()
