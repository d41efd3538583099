"""Networks in 8-bit integers: what is taken out, how numbers are rounded, and the graph that comes of it."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from test_onnx_export import answers_of, reference, trained
from torch.nn import functional

from inversefacenet.errors import InputError
from training import calibration_crops, network, pruning
from training.calibration_crops import CalibrationCrops
from training.encoder import Encoder
from training.encoder_chain import encoder_chain
from training.export import to_onnx
from training.fast_network import FastNetwork
from training.layer_chain import Convolution, Dense, answers, run
from training.network import AlexNet
from training.onnx_graph import Graph
from training.onnx_integer import add_integer_chain
from training.pruning import pruned
from training.quantisation import quantised, quantised_weight


@pytest.fixture
def crops(rng):
    smooth = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    return np.kron(smooth, np.ones((1, 30, 30, 1), np.uint8))


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(network, "HIDDEN_COUNT", 64)


def last_answer(chain, crops):
    return np.concatenate([found[-1].value.numpy() for found in run(chain, crops)])


def integer_file(chain, crops):
    graph = Graph()
    add_integer_chain(graph, quantised(chain, crops))
    return graph.serialise({})


def random_chain(rng, stride=4, padding=2, kernel=6, outputs=350):
    """One convolution with a pooling, one dense layer."""
    weight = rng.normal(size=(8, 3, kernel, kernel)).astype(np.float32) * 0.1
    side = (240 + 2 * padding - kernel) // stride + 1
    pooled = (side - 8) // 8 + 1
    dense = rng.normal(size=(outputs, 8 * pooled**2)).astype(np.float32) * 0.05
    return [
        Convolution(weight, rng.normal(size=8).astype(np.float32), (stride,) * 2, (padding,) * 2, (8, 8)),
        Dense(dense, rng.normal(size=outputs).astype(np.float32)),
    ]


@pytest.mark.parametrize("made", [AlexNet, FastNetwork])
def test_a_chain_answers_as_its_network(made, narrow, crops):
    net = trained(made)
    np.testing.assert_allclose(
        last_answer(encoder_chain(net, 0), crops), reference(net, crops), rtol=1e-3, atol=1e-3
    )


def test_other_architectures_are_refused():
    with pytest.raises(InputError, match="can't be put into 8 bits"):
        encoder_chain(Encoder(), 0)


def test_a_shortcut_adds_what_the_layers_before_took(rng):
    inner = Convolution(
        rng.normal(size=(3, 3, 3, 3)).astype(np.float32), np.ones(3, np.float32), padding=(1, 1)
    )
    images = torch.from_numpy(rng.normal(size=(2, 3, 9, 9)).astype(np.float32))
    first, second = answers([inner, replace(inner, shortcut=1)], images)
    plain = functional.conv2d(first.value, torch.from_numpy(inner.weight), torch.ones(3), padding=1)
    assert first.sum is None
    torch.testing.assert_close(second.sum, plain)
    torch.testing.assert_close(second.value, (plain + images).relu())


def test_rounded_weights_are_off_by_half_a_step_at_most_unless_clipped(rng):
    weight = rng.uniform(-1, 1, (5, 7, 3)).astype(np.float32) * np.array([1, 10, 0.1, 3, 0])[:, None, None]
    integers, scale = quantised_weight(weight.astype(np.float32))
    assert np.abs(integers.astype(int)).max() <= 127
    error = np.abs(integers * scale[:, None, None] - weight)
    assert (error.max(axis=(1, 2)) <= np.maximum(0.1 * np.abs(weight).max(axis=(1, 2)), 1e-9)).all()
    # One scale for all would lose the small rows.
    assert error[2].max() < 1e-2 * 0.1


@pytest.mark.parametrize(
    ("stride", "padding", "kernel"), [(4, 2, 6), (4, 2, 11), (4, 0, 8), (3, 1, 5), (7, 2, 9)]
)
def test_integers_answer_as_floats_to_within_their_rounding(rng, crops, tmp_path, stride, padding, kernel):
    chain = random_chain(rng, stride, padding, kernel)
    expected = last_answer(chain, crops)
    found = answers_of(integer_file(chain, crops), crops, tmp_path)
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()
    assert np.abs(found - expected).mean() < 0.01 * np.abs(expected).mean()


@pytest.mark.parametrize("made", [AlexNet, FastNetwork])
def test_every_layer_becomes_an_integer_layer(made, narrow, crops, tmp_path):
    net = trained(made)
    content = integer_file(encoder_chain(net, 0), crops)
    expected = reference(net, crops)
    found = answers_of(content, crops, tmp_path)
    assert np.abs(found - expected).mean() < 0.05 * np.abs(expected).mean()
    # Batches change nothing: all sums are of integers.
    single = np.concatenate([answers_of(content, crop[None], tmp_path) for crop in crops])
    np.testing.assert_array_equal(single, found)
    assert answers_of(content, crops[:0], tmp_path).shape == (0, 350)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == (5 if made is AlexNet else 11)
    assert kinds.count("QGemm") == (3 if made is AlexNet else 2)
    assert not {"Conv", "Gemm", "MatMul", "QuantizeLinear", "DequantizeLinear"}.intersection(kinds)


def test_units_that_never_answer_are_left_out(rng, crops):
    first, last = random_chain(rng, outputs=64)
    never = np.arange(64) % 2 == 0
    hidden = replace(last, bias=np.where(never, -1e3, 10).astype(np.float32), rectified=True)
    out = Dense(rng.normal(size=(350, 64)).astype(np.float32), np.zeros(350, np.float32))
    chain = [first, hidden, out]
    smaller = pruned(chain, crops)
    assert [len(layer.bias) for layer in smaller] == [8, 32, 350]
    np.testing.assert_allclose(last_answer(smaller, crops), last_answer(chain, crops), rtol=1e-4, atol=1e-2)


def test_directions_that_no_answer_takes_are_left_out(rng, crops):
    first, last = random_chain(rng, outputs=64)
    few = rng.normal(size=(64, 3)) @ rng.normal(size=(3, last.weight.shape[1]))
    middle = Dense(few.astype(np.float32) * 0.05, rng.normal(size=64).astype(np.float32))
    out = Dense(rng.normal(size=(350, 64)).astype(np.float32), np.zeros(350, np.float32))
    chain = [first, middle, out]
    smaller = pruned(chain, crops)
    assert [len(layer.bias) for layer in smaller] == [8, pruning.MULTIPLE, 350]
    expected = last_answer(chain, crops)
    assert np.abs(last_answer(smaller, crops) - expected).max() < 1e-3 * np.abs(expected).max()


class Store:
    """Stands in for a store of photographs."""

    digest = "5" * 64

    def __init__(self, crops):
        self._crops = crops

    def __len__(self):
        return len(self._crops)

    def crops(self, index):
        return self._crops[index]


def test_calibration_sees_photographs_rendered_faces_and_spoiled_ones(
    crops, tmp_path, monkeypatch, synthetic_model
):
    monkeypatch.setattr(calibration_crops.PhotoStore, "open", classmethod(lambda cls, path: Store(crops)))
    found = CalibrationCrops.gather(tmp_path, synthetic_model, faces=4)
    again = CalibrationCrops.gather(tmp_path, synthetic_model, faces=4)
    np.testing.assert_array_equal(found.all, again.all)
    assert found.source == Store.digest
    assert len(found.typical) == 4 + 1
    assert len(found.all) == 4 + 4 + 2
    assert all(any(np.array_equal(one, crop) for crop in crops) for one in found.all[:4])


def test_export_in_integers_says_what_it_was_calibrated_on(narrow, crops, tmp_path):
    net = trained(AlexNet, rank=8)
    calibration = CalibrationCrops(crops, crops, "5" * 64)
    content = to_onnx(net, {"iterations": "7"}, 8, calibration)
    told = {p.key: p.value for p in onnx.load_from_string(content).metadata_props}
    assert told == {"iterations": "7", "calibration": "5" * 64}
    expected = reference(net, crops)
    assert np.abs(answers_of(content, crops, tmp_path) - expected).mean() < 0.05 * np.abs(expected).mean()
