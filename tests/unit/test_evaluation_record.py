import hashlib
import json

import pytest

from inversefacenet.networks import reference_path
from training.evaluation.record import EVALUATION_FILE, record
from training.evaluation.result import Evaluation

ROWS = {"network": [{"photometric": 10.0, "iou": 0.5}, {"photometric": 30.0, "iou": 0.7}]}


def evaluation() -> Evaluation:
    return Evaluation(rows=ROWS, failed=["c.jpg (no-face)"], names=["a.jpg", "b.jpg"])


def test_figures_of_one_network_are_kept_side_by_side(tmp_path):
    network = tmp_path / "model.onnx"
    record(evaluation(), "first", network, "digest")
    path = record(evaluation(), "second", network, "digest")
    kept = json.loads(path.read_text())
    assert path == tmp_path / EVALUATION_FILE
    assert kept["sha256"] == "digest"
    assert set(kept["evaluations"]) == {"first", "second"}
    first = kept["evaluations"]["first"]
    assert (first["faces"], first["failed"]) == (2, 1)
    assert first["network"] == {"photometric": 20.0, "iou": pytest.approx(0.6)}


def test_figures_of_another_network_are_dropped(tmp_path):
    network = tmp_path / "model.onnx"
    record(evaluation(), "old", network, "one")
    kept = json.loads(record(evaluation(), "new", network, "another").read_text())
    assert kept["sha256"] == "another"
    assert set(kept["evaluations"]) == {"new"}


def test_the_shipped_evaluation_is_of_the_shipped_network():
    path = reference_path()
    kept = json.loads(path.with_name(EVALUATION_FILE).read_text())
    assert kept["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    for figures in kept["evaluations"].values():
        mean_face = figures["mean face, best constant light"]
        assert figures["network"]["photometric"] < mean_face["photometric"]
        assert figures["network"]["iou"] > mean_face["iou"]
        assert figures["network"]["landmark"] < mean_face["landmark"]
