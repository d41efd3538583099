import hashlib
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.errors import InputError
from inversefacenet.morphable_model import MorphableModel
from training import checkpoint as checkpoints
from training import export, network, onnx_graph, publish
from training.encoder import Encoder
from training.export import to_onnx
from training.network import AlexNet, normalise
from training.onnx_layers import fold_batch_norm
from training.options import Options
from training.resnet import ResNet


def trained(made=AlexNet, **options):
    """A network whose batch normalisation has seen something."""
    torch.manual_seed(3)
    net = made(**options)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.2)
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.2, 2.0)
    # An untrained last layer answers almost nothing, and rounding would be all there is.
    nn.init.normal_(net.last.weight, 0, 0.1)
    return net.eval()


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(network, "HIDDEN_COUNT", 64)


@pytest.fixture
def crops(rng):
    smooth = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    return np.kron(smooth, np.ones((1, 30, 30, 1), np.uint8))


def answers_of(content, crops, tmp_path):
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    return OnnxBackend(path, threads=1).infer(crops)


@torch.no_grad()
def reference(net, crops):
    return net(normalise(torch.from_numpy(crops))).numpy()


@pytest.mark.parametrize("bias", [False, True])
def test_folded_convolutions_do_what_both_layers_do(bias):
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 8, 5, bias=bias), nn.BatchNorm2d(8).eval()
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 3.0)
    weight, shift = fold_batch_norm(convolution, norm)
    images = torch.randn(2, 3, 16, 16)
    folded = nn.functional.conv2d(images, torch.from_numpy(weight), torch.from_numpy(shift))
    torch.testing.assert_close(folded, norm(convolution(images)), rtol=1e-5, atol=1e-5)


def test_a_convolution_without_normalisation_is_kept():
    convolution = nn.Conv2d(3, 4, 3)
    weight, bias = fold_batch_norm(convolution, None)
    np.testing.assert_array_equal(weight, convolution.weight.detach().numpy())
    np.testing.assert_array_equal(bias, convolution.bias.detach().numpy())


@pytest.mark.parametrize(
    "options",
    [{"batch_norm": True, "rank": 8}, {"batch_norm": False, "rank": 0}, {"batch_norm": True, "rank": 0}],
)
def test_the_graph_without_compression_is_the_network(narrow, crops, tmp_path, monkeypatch, options):
    monkeypatch.setattr(onnx_graph.Graph, "half", onnx_graph.Graph.constant)
    monkeypatch.setattr(onnx_graph.Graph, "eighth", onnx_graph.Graph.constant)
    net = trained(**options)
    expected = reference(net, crops)
    assert expected.std() > 0.01
    answers = answers_of(to_onnx(net, {}, rank=0), crops, tmp_path)
    np.testing.assert_allclose(answers, expected, atol=1e-4 * np.abs(expected).max())


@pytest.fixture
def shallow():
    """ResNet with a block in each stage: every kind of layer, in little time."""
    return trained(ResNet, blocks=(1, 2, 1, 1))


def test_resnets_graph_without_compression_is_the_network(shallow, crops, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph.Graph, "half", onnx_graph.Graph.constant)
    expected = reference(shallow, crops)
    assert expected.std() > 0.01
    answers = answers_of(to_onnx(shallow, {}, rank=0), crops, tmp_path)
    np.testing.assert_allclose(answers, expected, atol=1e-4 * np.abs(expected).max())


def test_resnets_compression_changes_little_and_halves_the_file(shallow, crops, tmp_path):
    content = to_onnx(shallow, {}, rank=0)
    expected = reference(shallow, crops)
    answers = answers_of(content, crops, tmp_path)
    assert 0 < np.abs(answers - expected).max() < 5e-3 * np.abs(expected).max()
    convolved = sum(c.weight.numel() for c in shallow.modules() if isinstance(c, nn.Conv2d))
    assert 2 * convolved < len(content) < 2.2 * convolved
    model = onnx.load_from_string(content)
    assert not any("Normalization" in node.op_type for node in model.graph.node)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") == 1 + 3 * 5 + 4
    assert kinds.count("GlobalAveragePool") == 1
    single = np.concatenate([answers_of(content, crop[None], tmp_path) for crop in crops])
    np.testing.assert_allclose(single, answers, atol=1e-3 * np.abs(answers).max())


def test_architectures_without_a_graph_are_refused():
    with pytest.raises(InputError, match="can't be exported"):
        to_onnx(Encoder(), {}, rank=0)


def test_compression_changes_little(narrow, crops, tmp_path):
    net = trained(batch_norm=True, rank=16)
    expected = reference(net, crops)
    answers = answers_of(to_onnx(net, {}, rank=16), crops, tmp_path)
    assert np.abs(answers - expected).max() < 0.03 * np.abs(expected).max()
    assert np.abs(answers - expected).max() > 0


def test_whole_layers_are_given_the_rank_that_is_asked_for(narrow, crops, tmp_path):
    net = trained(batch_norm=False, rank=0)
    model = onnx.load_from_string(to_onnx(net, {}, rank=5))
    shapes = [tuple(t.dims) for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert shapes == [(9216, 5), (5, 64), (64, 5), (5, 64), (64, 350)]
    full = answers_of(to_onnx(net, {}, rank=64), crops, tmp_path)
    np.testing.assert_allclose(full, reference(net, crops), atol=0.03 * np.abs(full).max())


def test_weights_are_stored_small(narrow):
    model = onnx.load_from_string(to_onnx(trained(batch_norm=True, rank=8), {}, rank=8))
    kinds = {tuple(t.dims): t.data_type for t in model.graph.initializer if len(t.dims) > 1}
    assert kinds[(64, 3, 11, 11)] == onnx.TensorProto.FLOAT16
    assert kinds[(9216, 8)] == onnx.TensorProto.INT8
    assert not any("Normalization" in node.op_type for node in model.graph.node)


def test_graph_takes_bytes_and_any_number_of_faces(narrow, crops, tmp_path):
    content = to_onnx(trained(batch_norm=True, rank=8), {"iterations": "7"}, rank=8)
    model = onnx.load_from_string(content)
    (given,), (answered,) = model.graph.input, model.graph.output
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["faces", 240, 240, 3]
    assert [d.dim_param or d.dim_value for d in answered.type.tensor_type.shape.dim] == ["faces", 350]
    assert {p.key: p.value for p in model.metadata_props} == {"iterations": "7"}
    whole = answers_of(content, crops, tmp_path)
    single = np.concatenate([answers_of(content, crop[None], tmp_path) for crop in crops])
    np.testing.assert_allclose(single, whole, atol=1e-4)


@pytest.fixture
def checkpoint(narrow, tmp_path, monkeypatch, synthetic_model):
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: synthetic_model))
    monkeypatch.setattr(export, "CHECK_FACES", 4)
    options = replace(Options(), rank=8, initial="/somewhere/before/first.pt")
    net = trained(batch_norm=True, rank=8)
    nn.init.zeros_(net.classifier[6].weight)
    value = checkpoints.Checkpoint(
        options,
        42,
        net.state_dict(),
        {},
        None,
        1.0,
        synthetic_model.digest,
        adapted="3 photographs",
        history=("a run before",),
    )
    value.save(tmp_path / "checkpoint.pt")
    return tmp_path / "checkpoint.pt"


def test_export_writes_a_file_that_tells_where_it_comes_from(checkpoint, tmp_path):
    output = tmp_path / "rows" / "plain" / "model.onnx"
    figures = export.export(checkpoint, output, rank=8)
    content = output.read_bytes()
    assert figures["bytes"] == len(content)
    assert figures["sha256"] == hashlib.sha256(content).hexdigest()
    assert figures["loss_growth"] < 0.01
    metadata = {p.key: p.value for p in onnx.load_from_string(content).metadata_props}
    assert metadata["iterations"] == "42"
    assert metadata["architecture"] == "alexnet"
    assert json.loads(metadata["options"])["rank"] == 8
    assert "face_model" in metadata
    assert metadata["adapted"] == "3 photographs"
    (first, second, last) = json.loads(metadata["history"])
    assert first == "a run before"
    assert "42 iterations" in second
    assert last == "last layer adapted to 3 photographs"
    assert [p.name for p in output.parent.iterdir()] == ["model.onnx"]


def test_the_file_names_no_folders(checkpoint, tmp_path):
    export.export(checkpoint, tmp_path / "model.onnx", rank=8)
    content = (tmp_path / "model.onnx").read_bytes()
    assert b"first.pt" in content
    assert b"somewhere" not in content


def test_files_that_are_too_large_are_refused(checkpoint, tmp_path):
    with pytest.raises(InputError, match="rank"):
        export.export(checkpoint, tmp_path / "out" / "model.onnx", rank=8, limit_bytes=1000)
    assert not (tmp_path / "out" / "model.onnx").exists()


def test_compression_that_costs_too_much_is_refused_and_keeps_the_old_file(checkpoint, tmp_path, monkeypatch):
    output = tmp_path / "model.onnx"
    output.write_bytes(b"the last one")
    monkeypatch.setattr(export, "LIMIT_LOSS_GROWTH", -1.0)
    with pytest.raises(InputError, match="Compression"):
        export.export(checkpoint, output, rank=8)
    assert output.read_bytes() == b"the last one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.pt", "model.onnx"]


def test_networks_of_another_face_model_are_refused(checkpoint, tmp_path, monkeypatch, synthetic_model):
    other = replace(synthetic_model, digest="f" * 64)
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: other))
    with pytest.raises(InputError, match="face model"):
        export.export(checkpoint, tmp_path / "model.onnx", rank=8)


def test_command_line_sums_up_or_says_what_is_wrong(checkpoint, tmp_path, capsys):
    assert export.main(["--checkpoint", str(checkpoint), "--rank", "8"]) == 0
    assert "bytes=" in capsys.readouterr().out
    assert checkpoint.with_name("model.onnx").is_file()
    assert export.main(["--checkpoint", str(tmp_path / "none.pt")]) == 1
    assert capsys.readouterr().err.startswith("export: ")


def test_a_network_of_full_size_fits_the_limit():
    net = AlexNet(batch_norm=True, rank=512).eval()
    assert len(to_onnx(net, {}, rank=512)) < publish.LIMIT_BYTES
