"""The ONNX file as TensorRT gets it, and the gate that its plans must pass."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from tensorrt_support import MODEL, brighter, channels_swapped, noisy, small_network

from deploy.triton import render_faces as rendering
from deploy.triton.convert.errors import ConversionError
from deploy.triton.convert.gate import TOLERANCES, check_reference, compare
from deploy.triton.convert.network import OnnxEngine, digest, rewrite
from deploy.triton.convert.plans import CROP_SIZE, Precision, Shapes
from inversefacenet import camera
from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.parameters import GROUPS


@pytest.fixture(scope="module")
def faces():
    return rendering.render_faces()


@pytest.fixture(scope="module")
def shipped():
    return MODEL.read_bytes()


@pytest.fixture(scope="module")
def reference(shipped, faces):
    return OnnxEngine(rewrite(shipped, Precision.FP32)).infer(faces)


def test_the_faces_are_rendered_the_same_each_time_and_show_different_people(faces):
    assert faces.shape == (32, CROP_SIZE, CROP_SIZE, 3)
    assert CROP_SIZE == camera.CROP_SIZE
    np.testing.assert_array_equal(faces, rendering.render_faces())
    assert len({face.tobytes() for face in faces}) == len(faces)
    # Masked as crops of photos are: black around a face that fills a good part.
    lit = (faces > 0).any(axis=3).mean(axis=(1, 2))
    assert lit.min() > 0.2
    assert lit.max() < 0.95


def test_the_faces_are_written_for_the_job(faces, tmp_path):
    assert rendering.main([str(tmp_path / "faces.npz")]) == 0
    with np.load(tmp_path / "faces.npz") as archive:
        np.testing.assert_array_equal(archive["crops"], faces)


@pytest.mark.parametrize("precision", Precision)
def test_tensorrt_gets_no_stored_8_bit_numbers_and_the_types_say_the_precision(shipped, precision):
    model = onnx.load_model_from_string(rewrite(shipped, precision))
    kinds = {
        value.data_type
        for value in model.graph.initializer
        if len(value.dims) > 0 and value.data_type != TensorProto.INT64
    }
    assert kinds == {TensorProto.FLOAT16 if precision is Precision.FP16 else TensorProto.FLOAT}
    shapes = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    kind_of = {value.name: value.type.tensor_type.elem_type for value in shapes.graph.value_info}
    heavy = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    assert len(heavy) >= 8
    assert {kind_of[node.output[0]] for node in heavy} == kinds
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_rewriting_is_the_same_each_time(shipped):
    assert digest(rewrite(shipped, Precision.FP16)) == digest(rewrite(shipped, Precision.FP16))


def test_the_network_in_32_bits_answers_as_the_shipped_one(shipped, reference, faces):
    answers = OnnxEngine(shipped).infer(faces)
    np.testing.assert_allclose(OnnxBackend(MODEL).infer(faces), answers, atol=1e-6)
    # Integers between layers blur each answer a little; no face is another one for it.
    assert np.abs(answers - reference).mean() < 0.02
    assert np.abs(answers - reference).max() < 0.1 * np.ptp(reference, axis=0).max()
    assert compare(Precision.FP32, {32: (reference, reference)}).accepted


def test_the_network_in_16_bits_passes_its_gate(shipped, reference, faces):
    answers = OnnxEngine(rewrite(shipped, Precision.FP16)).infer(faces)
    comparison = compare(Precision.FP16, {32: (answers, reference)})
    assert comparison.accepted, comparison.offences
    # 16 bits are seen, so the two precisions are really two networks.
    assert max(comparison.largest.values()) > 1e-4
    assert not compare(Precision.FP32, {32: (answers, reference)}).accepted


def test_rounding_every_value_to_16_bits_passes_too(shipped, reference, faces):
    # ONNX Runtime computes between its layers in 32 bits; this evaluator rounds after each, as a GPU does.
    evaluator = ReferenceEvaluator(onnx.load_model_from_string(rewrite(shipped, Precision.FP16)))
    (answers,) = evaluator.run(None, {"crops": faces[:1]})
    comparison = compare(Precision.FP16, {1: (answers, reference[:1])})
    assert comparison.accepted, comparison.offences


@pytest.mark.parametrize("spoil", [noisy, channels_swapped, brighter])
@pytest.mark.parametrize("precision", Precision)
def test_a_network_that_is_a_little_off_is_refused(shipped, reference, faces, spoil, precision):
    answers = OnnxEngine(spoil(rewrite(shipped, precision))).infer(faces[:8])
    comparison = compare(precision, {8: (answers, reference[:8])})
    assert not comparison.accepted
    assert "is off by" in comparison.offences[0]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda a: np.roll(a, 1, axis=0), id="faces mixed up"),
        pytest.param(lambda a: np.zeros_like(a), id="nothing"),
        pytest.param(lambda a: np.where(np.arange(350) == 7, np.nan, a).astype(np.float32), id="nan"),
        pytest.param(lambda a: np.where(np.arange(350) == 349, np.inf, a).astype(np.float32), id="infinite"),
        pytest.param(lambda a: a[:, :349], id="a number too few"),
        pytest.param(lambda a: a[:-1], id="a face too few"),
        pytest.param(lambda a: np.roll(a, 1, axis=1), id="groups shifted"),
    ],
)
def test_answers_that_are_off_are_refused(reference, change):
    good = (reference[:8], reference[:8])
    assert compare(Precision.FP16, {8: good}).accepted
    # One batch size that is wrong is enough.
    comparison = compare(Precision.FP16, {1: good, 8: (change(reference[:8]), reference[:8]), 32: good})
    assert not comparison.accepted
    assert all(offence.startswith("batch of 8:") for offence in comparison.offences)
    assert comparison.to_dict()["accepted"] is False


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("precision", Precision)
def test_each_group_has_its_own_limit(reference, name, precision):
    limit = TOLERANCES[precision][name]
    for factor, accepted in ((0.9, True), (1.1, False)):
        answers = reference.copy()
        answers[3, GROUPS[name].start] += limit * factor
        assert compare(precision, {8: (answers, reference)}).accepted is accepted


def test_the_limits_in_16_bits_are_far_below_the_networks_own_error():
    limits = TOLERANCES[Precision.FP16]
    assert limits["rotation"] < np.radians(0.1)
    assert max(limits.values()) < 0.01


def test_faces_that_let_everything_pass_are_refused(reference):
    check_reference(reference)
    with pytest.raises(ConversionError, match="hardly differ"):
        check_reference(np.repeat(reference[:1], 32, axis=0))
    with pytest.raises(ConversionError, match="aren't finite"):
        check_reference(np.full_like(reference, np.nan))


@pytest.mark.parametrize("precision", Precision)
def test_another_network_is_refused(precision):
    model = onnx.load_model_from_string(small_network())
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 349
    with pytest.raises(ConversionError, match="no network of this project"):
        rewrite(model.SerializeToString(), precision)
    with pytest.raises(ConversionError, match="can't be read"):
        rewrite(b"\xff not an onnx file", precision)


def test_a_weight_that_16_bits_cannot_hold_is_refused():
    model = onnx.load_model_from_string(small_network())
    for value in model.graph.initializer:
        if value.name == "shift":
            value.CopyFrom(numpy_helper.from_array(np.full(350, 1e6, np.float32), "shift"))
    with pytest.raises(ConversionError, match="too large for 16 bits"):
        rewrite(model.SerializeToString(), Precision.FP16)
    rewrite(model.SerializeToString(), Precision.FP32)


def test_plans_are_tried_at_both_ends_of_their_batches_and_between():
    assert Shapes().tested() == (1, 5, 8, 32)
    assert Shapes(4, 4, 4).tested() == (4,)
    for shapes in ((0, 1, 2), (2, 1, 3), (1, 4, 3)):
        with pytest.raises(ValueError, match="must be 1 <="):
            Shapes(*shapes)


def integer_network(seed=0):
    """Return a network of the shipped one's kinds of node, in 8-bit integers, and the same in floats."""
    rng = np.random.default_rng(seed)
    helper = onnx.helper
    kernel, kernel_scale = rng.integers(-127, 128, (4, 12, 48, 12), np.int8), rng.uniform(1e-4, 2e-4, 4)
    matrix, matrix_scale = rng.integers(-127, 128, (350, 100), np.int8), rng.uniform(0.5e-3, 1e-3, 350)
    constants = {
        "blocks": np.array([0, 240, 60, 12], np.int64),
        "level": np.float32(1 / 255),
        "middle": np.uint8(128),
        "kernel": kernel,
        "kernel_scale": kernel_scale.astype(np.float32),
        "kernel_zero": np.zeros(4, np.int8),
        "bias": rng.normal(size=4).astype(np.float32),
        "step": np.float32(0.02),
        "zero": np.uint8(0),
        "matrix": matrix,
        "matrix_scale": matrix_scale.astype(np.float32),
    }
    nodes = [
        helper.make_node("Reshape", ["crops", "blocks"], ["packed"]),
        helper.make_node("Transpose", ["packed"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("DequantizeLinear", ["first", "level", "middle"], ["images"]),
        helper.make_node("DequantizeLinear", ["kernel", "kernel_scale", "kernel_zero"], ["weights"], axis=0),
        helper.make_node("Conv", ["images", "weights", "bias"], ["sums"], strides=[48, 12]),
        helper.make_node("Relu", ["sums"], ["active"]),
        helper.make_node("QuantizeLinear", ["active", "step", "zero"], ["rounded"]),
        helper.make_node("Flatten", ["rounded"], ["flat"], axis=1),
        helper.make_node("DequantizeLinear", ["flat", "step", "zero"], ["features"]),
        helper.make_node("DequantizeLinear", ["matrix", "matrix_scale"], ["dense"], axis=0),
        helper.make_node("Gemm", ["features", "dense"], ["parameters"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "integers",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["faces", 240, 240, 3])],
        [helper.make_tensor_value_info("parameters", TensorProto.FLOAT, ["faces", 350])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    wide = kernel * kernel_scale[:, None, None, None]

    def floats(crops):
        images = (crops.reshape(-1, 5, 48, 5, 12, 12).astype(np.float64) - 128) / 255
        sums = np.einsum("nirjqc,ocrq->noij", images, wide) + constants["bias"][:, None, None]
        return np.maximum(sums, 0).reshape(len(crops), -1) @ (matrix * matrix_scale[:, None]).T

    return model.SerializeToString(), floats


def test_integers_become_the_plain_network_that_they_stand_for(rng):
    content, floats = integer_network()
    crops = rng.integers(0, 256, (3, CROP_SIZE, CROP_SIZE, 3), dtype=np.uint8)
    expected = floats(crops)
    rewritten = rewrite(content, Precision.FP32)
    kinds = {node.op_type for node in onnx.load_model_from_string(rewritten).graph.node}
    assert not kinds & {"QuantizeLinear", "DequantizeLinear"}
    exact = OnnxEngine(rewritten).infer(crops)
    np.testing.assert_allclose(exact, expected, atol=1e-4 * np.abs(expected).max())
    # The network as it is stored rounds between its layers; the plan's network doesn't.
    assert np.abs(OnnxEngine(content).infer(crops) - expected).max() > np.abs(exact - expected).max()
    half = OnnxEngine(rewrite(content, Precision.FP16)).infer(crops)
    np.testing.assert_allclose(half, expected, atol=5e-3 * np.abs(expected).max())
