import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import model_config_pb2

from inversefacenet.errors import BackendError, InputError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.networks import versions
from training import model_card, publish, repository
from training.publish import main
from training.repository import CONFIG_FILES, add_version, with_digests


@pytest.fixture(autouse=True)
def installed(monkeypatch, synthetic_model):
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: synthetic_model))
    # Waiting for the disk takes most of the time here, and no plug is really pulled.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return synthetic_model


def network_bytes(seed, face_model, bias=None):
    """A network of the right interface in a few kilobytes, whose answer depends on the seed."""
    rng = np.random.default_rng(seed)
    bias = rng.normal(size=350).astype(np.float32) if bias is None else bias
    constants = [numpy_helper.from_array(np.ones((1, 350), np.float32), "ones")]
    constants.append(numpy_helper.from_array(bias, "bias"))
    constants.append(numpy_helper.from_array(np.array([-1, 1], np.int64), "column"))
    nodes = [
        helper.make_node("Cast", ["crops"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["wide"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["single"]),
        helper.make_node("MatMul", ["single", "ones"], ["spread"]),
        helper.make_node("Add", ["spread", "bias"], ["parameters"]),
    ]
    given = [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["faces", 240, 240, 3])]
    answer = [helper.make_tensor_value_info("parameters", TensorProto.FLOAT, ["faces", 350])]
    graph = helper.make_graph(nodes, "small", given, answer, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(
        model,
        {
            "face_model": face_model,
            "architecture": "alexnet",
            "iterations": "7",
            "adapted": "",
            "history": json.dumps(["a first run", "a second run with 8 photographs a batch"]),
            "options": json.dumps({"batch_size": 32}),
        },
    )
    return model.SerializeToString()


@pytest.fixture
def network(tmp_path, installed):
    """Write networks by number, each with its evaluation beside it."""

    def make(seed):
        folder = tmp_path / "trained" / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        content = network_bytes(seed, installed.digest)
        (folder / "model.onnx").write_bytes(content)
        figures = {"network": {"photometric": 20.0 + seed, "iou": 0.5}}
        kept = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "evaluations": {"faces": {"faces": 3, "failed": 1, **figures}},
        }
        (folder / "evaluation.json").write_text(json.dumps(kept))
        return folder / "model.onnx"

    return make


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models" / "inversefacenet"


def check(folder):
    """Return the versions of a repository; it must be one that can be served."""
    found = versions(folder)
    assert found
    for name in CONFIG_FILES:
        config = text_format.Parse((folder / name).read_text(), model_config_pb2.ModelConfig())
        told = {key: value.string_value for key, value in config.parameters.items()}
        for version in found:
            own = hashlib.sha256((folder / str(version) / "model.onnx").read_bytes()).hexdigest()
            assert told.get(f"onnx_sha256_{version}", told["onnx_sha256"]) == own
            assert (folder / str(version) / "model.py").read_text().startswith('"""The network')
            evaluation = json.loads((folder / str(version) / "evaluation.json").read_text())
            assert evaluation["sha256"] == own
            onnx.load(folder / str(version) / "model.onnx")
    return found


def names(folder):
    return {path.name for path in folder.rglob("*")}


def test_the_first_version_comes_with_its_configurations(network, folder, root):
    assert publish.publish(network(1), folder) == 1
    assert check(folder) == [1]
    shipped = root / "model_repository" / "inversefacenet" / "configs" / "python.pbtxt"
    told, own = (
        [line for line in path.read_text().splitlines() if "onnx_sha256" not in line]
        for path in (shipped, folder / "configs" / "python.pbtxt")
    )
    assert own == told


def test_a_new_version_comes_beside_the_old_one_which_goes_in_the_end(network, folder):
    for number, expected in [(1, [1]), (2, [1, 2]), (3, [2, 3])]:
        assert publish.publish(network(number), folder, keep=1) == number
        assert check(folder) == expected
    assert publish.publish(network(4), folder, keep=0) == 4
    assert check(folder) == [4]
    told = [
        line for line in (folder / "config.pbtxt").read_text().splitlines() if line.startswith("parameters")
    ]
    assert len(told) == 1
    assert not [name for name in names(folder) if name.startswith(".partial-")]


def test_the_same_network_is_no_new_version_but_gets_new_figures(network, folder):
    publish.publish(network(1), folder)
    again = network(1)
    kept = json.loads(again.with_name("evaluation.json").read_text())
    kept["evaluations"]["more"] = kept["evaluations"]["faces"]
    again.with_name("evaluation.json").write_text(json.dumps(kept))
    assert publish.publish(again, folder) == 1
    assert check(folder) == [1]
    assert "more" in (folder / "1" / "evaluation.json").read_text()
    assert "**more**" in (folder / "MODEL_CARD.md").read_text()


class Plug:
    """Pulls the plug at the given step of all that changes the disk; a write is then half done."""

    def __init__(self, monkeypatch, steps):
        self.left = steps
        for owner, name in [
            (Path, "write_bytes"),
            (Path, "replace"),
            (Path, "rename"),
            (Path, "mkdir"),
            (Path, "unlink"),
            (shutil, "rmtree"),
        ]:
            monkeypatch.setattr(owner, name, self._around(name, getattr(owner, name)))

    def _around(self, name, real):
        def call(*arguments, **options):
            self.left -= 1
            if self.left < 0:
                if name == "write_bytes" and self.left == -1:
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                raise KeyboardInterrupt(name)
            return real(*arguments, **options)

        return call


@pytest.mark.parametrize("keep", [0, 1])
def test_whenever_the_plug_is_pulled_the_repository_can_be_served(network, folder, keep):
    publish.publish(network(1), folder)
    publish.publish(network(2), folder)
    before = folder.parent / "before"
    shutil.copytree(folder, before)
    third, finished, outcomes = network(3), False, set()
    steps = 0
    while not finished:
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        with pytest.MonkeyPatch.context() as patch:
            Plug(patch, steps)
            try:
                publish.publish(third, folder, keep=keep)
                finished = True
            except KeyboardInterrupt:
                pass
        outcomes.add(tuple(check(folder)))
        assert publish.publish(third, folder, keep=keep) == 3
        assert check(folder) == ([3] if keep == 0 else [2, 3])
        assert not [name for name in names(folder.parent) if name.startswith(".partial-")]
        assert (folder / "MODEL_CARD.md").read_text() == model_card.card(folder)
        steps += 1
    assert steps > 15
    assert {(1, 2), (1, 2, 3)} <= outcomes


def test_whenever_the_plug_is_pulled_there_is_no_first_version_or_a_whole_one(network, folder):
    first, finished, steps = network(1), False, 0
    while not finished:
        shutil.rmtree(folder.parent, ignore_errors=True)
        with pytest.MonkeyPatch.context() as patch:
            Plug(patch, steps)
            try:
                publish.publish(first, folder)
                finished = True
            except KeyboardInterrupt:
                assert not folder.exists() or check(folder) == [1]
        assert publish.publish(first, folder) == 1
        assert check(folder) == [1]
        assert names(folder.parent) >= {"inversefacenet", "1"}
        assert not [name for name in names(folder.parent) if name.startswith(".partial-")]
        steps += 1
    assert steps > 8


def test_two_jobs_do_not_publish_at_once(network, folder):
    publish.publish(network(1), folder)
    holder = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process"):
            publish.publish(network(2), folder)
    finally:
        os.close(holder)
    assert publish.publish(network(2), folder) == 2


def test_what_cannot_be_served_is_refused_and_changes_nothing(network, folder, tmp_path, installed):
    publish.publish(network(1), folder)
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    strange = tmp_path / "strange.onnx"
    strange.write_bytes(network_bytes(2, "another face model"))
    with pytest.raises(InputError, match="face model"):
        publish.publish(strange, folder)
    strange.write_bytes(network_bytes(2, installed.digest, np.full(350, np.nan, np.float32)))
    with pytest.raises(BackendError, match="finite"):
        publish.publish(strange, folder)
    strange.write_bytes(b"no network")
    with pytest.raises(BackendError, match="loaded"):
        publish.publish(strange, folder)
    with pytest.raises(InputError, match="limit-bytes"):
        publish.publish(network(2), folder, limit_bytes=1000)
    with pytest.raises(InputError, match="not of this network"):
        publish.publish(network(2), folder, network(1).with_name("evaluation.json"))
    with pytest.raises(InputError, match="no evaluation"):
        publish.publish(network(2), folder, tmp_path / "none.json")
    with pytest.raises(InputError, match="keep"):
        publish.publish(network(2), folder, keep=-1)
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before


def test_a_folder_of_other_things_is_left_alone(network, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="other things"):
        publish.publish(network(1), tmp_path / "photos")


def test_a_version_may_come_without_figures(tmp_path, folder, installed):
    path = tmp_path / "bare.onnx"
    path.write_bytes(network_bytes(1, installed.digest))
    assert publish.publish(path, folder) == 1
    assert not (folder / "1" / "evaluation.json").exists()
    assert "Not measured yet" in (folder / "MODEL_CARD.md").read_text()


def test_digests_are_told_where_they_were_told_before():
    config = 'name: "n"\nparameters { key: "onnx_sha256" value { string_value: "old" } }\n'
    config += 'parameters { key: "onnx_sha256_4" value { string_value: "older" } }\nbackend: "python"\n'
    changed = with_digests(config, "new", {7: "old"})
    assert changed.splitlines() == [
        'name: "n"',
        'parameters { key: "onnx_sha256" value { string_value: "new" } }',
        'parameters { key: "onnx_sha256_7" value { string_value: "old" } }',
        'backend: "python"',
    ]
    assert with_digests("a\n", "new", {}).splitlines()[0] == "a"
    assert with_digests(changed, "new", {7: "old"}) == changed


def test_plans_that_have_no_network_beside_them_are_left_alone(network, folder):
    publish.publish(network(1), folder)
    (folder / "9").mkdir()
    (folder / "9" / "model.plan").write_bytes(b"plan")
    version, kept = add_version(
        folder, network(2).read_bytes(), network(2).with_name("evaluation.json").read_bytes(), 1, folder
    )
    assert (version, kept) == (2, [1])
    assert (folder / "9" / "model.plan").read_bytes() == b"plan"
    assert repository.CODE_FILE in names(folder / "2")


def test_command_line_sums_up_or_says_what_is_wrong(network, folder, capsys):
    assert main(["--network", str(network(1)), "--repository", str(folder)]) == 0
    assert main(["--network", str(network(2)), "--repository", str(folder), "--keep", "0"]) == 0
    assert "version=2 sha256=" in capsys.readouterr().out
    assert check(folder) == [2]
    assert main(["--network", str(folder / "none.onnx"), "--repository", str(folder)]) == 1
    assert capsys.readouterr().err.startswith("publish: ")
