import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto, helper, load_from_string

from inversefacenet import networks
from inversefacenet.backends import InferenceBackend
from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.crop import crop_face
from inversefacenet.errors import BackendError, MissingDependencyError
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render


def mean_network(outputs=350, kind=TensorProto.UINT8, size=240, divide_by_itself=False):
    """Write a network that answers each crop's mean level many times over, or NaN for black crops."""
    nodes = [
        helper.make_node("Cast", ["crops"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["wide"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Div", ["mean", "mean" if divide_by_itself else "one"], ["level"]),
        helper.make_node("Reshape", ["level", "column"], ["single"]),
        helper.make_node("Tile", ["single", "repeats"], ["parameters"]),
    ]
    constants = [
        helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1]),
        helper.make_tensor("repeats", TensorProto.INT64, [2], [1, outputs]),
    ]
    inputs = [helper.make_tensor_value_info("crops", kind, ["faces", size, size, 3])]
    answers = [helper.make_tensor_value_info("parameters", TensorProto.FLOAT, ["faces", outputs])]
    graph = helper.make_graph(nodes, "mean", inputs, answers, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString()


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_network())
    return path


def test_crops_go_in_and_parameters_come_out(network, rng):
    crops = rng.integers(0, 256, (3, 240, 240, 3), dtype=np.uint8)
    answers = OnnxBackend(network, threads=1).infer(crops)
    assert answers.dtype == np.float32
    expected = np.repeat(crops.mean(axis=(1, 2, 3))[:, None], 350, axis=1)
    np.testing.assert_allclose(answers, expected, rtol=1e-4)


def test_it_is_a_backend_and_knows_its_file(network):
    backend = OnnxBackend(network, threads=1)
    assert isinstance(backend, InferenceBackend)
    assert backend.name == "onnxruntime"
    assert backend.digest == hashlib.sha256(network.read_bytes()).hexdigest()


def test_no_crops_give_no_answers(network):
    answers = OnnxBackend(network, threads=1).infer(np.zeros((0, 240, 240, 3), np.uint8))
    assert answers.shape == (0, 350)


def test_crops_need_not_be_contiguous(network, rng):
    crops = rng.integers(0, 256, (2, 240, 240, 6), dtype=np.uint8)[..., ::2]
    answers = OnnxBackend(network, threads=1).infer(crops)
    np.testing.assert_allclose(answers[:, 0], crops.mean(axis=(1, 2, 3)), rtol=1e-4)


def test_threads_may_share_a_backend(network):
    backend = OnnxBackend(network, threads=1)
    crops = [np.full((1, 240, 240, 3), level, np.uint8) for level in range(0, 200, 10)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(backend.infer, crops))
    np.testing.assert_allclose([a[0, 0] for a in answers], range(0, 200, 10), rtol=1e-4, atol=1e-4)


def test_numbers_that_are_not_finite_are_an_error(tmp_path):
    path = tmp_path / "nan.onnx"
    path.write_bytes(mean_network(divide_by_itself=True))
    backend = OnnxBackend(path, threads=1)
    assert (backend.infer(np.full((1, 240, 240, 3), 9, np.uint8)) == 1).all()
    with pytest.raises(BackendError, match="finite"):
        backend.infer(np.zeros((1, 240, 240, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (mean_network(outputs=349), "350"),
        (mean_network(kind=TensorProto.FLOAT), "uint8"),
        (mean_network(size=224), "240"),
        (b"", "loaded"),
        (b"not a network", "loaded"),
        (mean_network()[:80], "loaded"),
    ],
)
def test_files_that_are_no_such_network_are_refused(tmp_path, content, reason):
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    with pytest.raises(BackendError, match=reason):
        OnnxBackend(path, threads=1)


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(BackendError, match=r"nowhere\.onnx"):
        OnnxBackend(tmp_path / "nowhere.onnx")


def test_an_environment_variable_names_the_file(network, monkeypatch):
    monkeypatch.setenv(networks.MODEL_ENVIRONMENT_VARIABLE, str(network))
    assert OnnxBackend(threads=1).digest == hashlib.sha256(network.read_bytes()).hexdigest()


def test_without_a_network_the_error_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv(networks.MODEL_ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(networks, "_PACKAGE", tmp_path / "a" / "b")
    with pytest.raises(BackendError, match=r"model\.onnx"):
        networks.network_path("reference")
    file = tmp_path / networks.REPOSITORY / "1" / "model.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert networks.network_path("reference") == file


def test_the_newest_version_that_has_a_network_is_taken(tmp_path, monkeypatch):
    monkeypatch.delenv(networks.MODEL_ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(networks, "_PACKAGE", tmp_path / "a" / "b")
    folder = tmp_path / networks.REPOSITORY
    for name in ("2", "9", "10", "configs", "011", ".partial-12"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.onnx").write_bytes(b"")
    (folder / "13").mkdir()
    (folder / "13" / "model.plan").write_bytes(b"")
    assert networks.versions(folder) == [2, 9, 10]
    assert networks.network_path("reference") == folder / "10" / "model.onnx"
    assert networks.versions(tmp_path / "none") == []


def test_it_tells_what_the_file_says_of_itself(tmp_path):
    model = load_from_string(mean_network())
    helper.set_model_props(model, {"iterations": "7"})
    path = tmp_path / "told.onnx"
    path.write_bytes(model.SerializeToString())
    assert OnnxBackend(path, threads=1).metadata == {"iterations": "7"}


def test_a_missing_runtime_names_the_extra(network, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[onnx\]"):
        OnnxBackend(network)


def test_the_shipped_network_sees_pose_and_colour(default_model):
    backend = OnnxBackend(threads=1)
    truths = [
        Parameters.from_dict({"rotation": [yaw, 0.0, 0.0], "illumination": [[g, g, g]] + [[0.0] * 3] * 8})
        for yaw, g in [(-0.45, 0.6), (0.0, 0.6), (0.45, 1.1)]
    ]
    crops = []
    for truth in truths:
        rendering = render(default_model, truth)
        crops.append(crop_face(rendering.image, rendering.landmarks).image)
    answers = backend.infer(np.stack(crops))
    np.testing.assert_allclose(answers[:, 0], [-0.45, 0, 0.45], atol=0.15)
    assert np.abs(answers[:, 1:3]).max() < 0.2
    assert answers[2, 323] > answers[1, 323]
    single = np.concatenate([backend.infer(crop[None]) for crop in crops])
    np.testing.assert_allclose(single, answers, atol=1e-3)


def test_networks_are_chosen_by_name_or_file(monkeypatch, tmp_path):
    monkeypatch.delenv(networks.MODEL_ENVIRONMENT_VARIABLE, raising=False)
    assert networks.network_path() == networks.fast_path()
    assert networks.network_path("reference") == networks.reference_path() != networks.fast_path()
    assert networks.network_path(tmp_path / "own.onnx") == tmp_path / "own.onnx"
    monkeypatch.setenv(networks.MODEL_ENVIRONMENT_VARIABLE, "reference")
    assert networks.network_path() == networks.reference_path()
    assert networks.network_path("fast") == networks.fast_path()


def test_a_networks_place_tells_its_version(tmp_path):
    assert networks.version_of(networks.fast_path()) == "fast"
    assert networks.version_of(networks.reference_path()).isdecimal()
    assert networks.version_of(tmp_path / "own.onnx") == ""


def test_the_shipped_networks_agree_on_rendered_faces(default_model):
    rng = np.random.default_rng(4)
    theta = np.zeros((4, 350), np.float32)
    theta[:, 0] = rng.uniform(-0.4, 0.4, 4)
    theta[:, 323:326] = rng.uniform(0.4, 0.9, (4, 1))
    crops = np.stack([render(default_model, Parameters.from_vector(one)).image for one in theta])
    fast, reference = (OnnxBackend(name, threads=1) for name in networks.NETWORKS)
    assert fast.digest != reference.digest
    yaw, other = fast.infer(crops)[:, 0], reference.infer(crops)[:, 0]
    np.testing.assert_allclose(yaw, other, atol=0.12)
