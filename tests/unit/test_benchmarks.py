"""The timing harness with a clock that only the candidates move; nothing here takes a real time."""

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from benchmarks import engines, kernels, report
from benchmarks.__main__ import main
from benchmarks.batch import Rates
from benchmarks.convolutions import INPUT, OnnxRuntimeConvolutions, convolution_graph, load_engines, normalise
from benchmarks.machine import describe, peak_memory_mb
from benchmarks.peers import HOG, OURS, OURS_DECODING
from benchmarks.plot import draw
from benchmarks.rendering import nearest_level, png_stream
from benchmarks.service import GRPC, IN_PROCESS, REST, Service
from benchmarks.startup import StartUp
from benchmarks.timing import Comparison, Harness, Stage, Timing, compare
from benchmarks.whole import Whole
from inversefacenet.colour import to_uint8
from inversefacenet.errors import BackendError
from inversefacenet.image import encode_png
from inversefacenet.metrics import photometric_error


class FakeClock:
    """Time passes only while a candidate runs or the harness rests."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[str] = []

    def candidate(self, name: str, *seconds: float) -> Callable[[], None]:
        """A call that takes these times one after another, then the last one for ever."""
        left = list(seconds)

        def call() -> None:
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call

    def rest(self, seconds: float) -> None:
        self.calls.append(".")
        self.now += seconds

    def harness(self, rounds: int = 3, warm_up: int = 1, shortest: float = 0.0) -> Harness:
        return Harness(rounds, warm_up, shortest, pause=7.0, clock=lambda: self.now, sleep=self.rest)


def test_candidates_run_in_turn_with_a_rest_before_each() -> None:
    clock = FakeClock()
    clock.harness(rounds=2, warm_up=1).alternate(
        {"A": clock.candidate("A", 1.0), "B": clock.candidate("B", 2.0)}
    )
    assert "".join(clock.calls) == ".A.B" * 3


def test_warm_up_and_rests_are_not_counted() -> None:
    clock = FakeClock()
    timings = clock.harness(rounds=3, warm_up=2).alternate(
        {"A": clock.candidate("A", 50.0, 40.0, 1.0, 5.0, 3.0), "B": clock.candidate("B", 2.0)}
    )
    assert timings["A"].seconds == pytest.approx((1.0, 5.0, 3.0))
    assert timings["B"].seconds == pytest.approx((2.0, 2.0, 2.0))
    assert list(timings) == ["A", "B"]


def test_short_calls_are_repeated_until_the_clock_can_tell() -> None:
    clock = FakeClock()
    timings = clock.harness(rounds=2, warm_up=2, shortest=1.0).alternate(
        {"short": clock.candidate("s", 0.3), "long": clock.candidate("L", 2.0)}
    )
    # Once in the first warm-up, ceil(1 / 0.3) times a turn from then on.
    assert "".join(clock.calls) == ".s.L" + ".ssss.L" * 3
    assert timings["short"].seconds == pytest.approx((0.3, 0.3))


def test_a_call_that_takes_no_measurable_time_is_repeated_but_not_for_ever() -> None:
    clock = FakeClock()
    harness = clock.harness(rounds=2, warm_up=1, shortest=1.0)
    timing = harness.alternate({"nothing": clock.candidate("n", 0.0)})["nothing"]
    assert clock.calls.count("n") == 1 + 2 * 1000
    assert timing.seconds == (0.0, 0.0)
    assert timing.spread == 0.0


def test_compare_takes_medians_and_the_fastest_floor() -> None:
    clock = FakeClock()
    stage = Stage(
        "forward",
        clock.candidate("A", 9.0, 6.0, 90.0, 5.0),
        {"slow engine": clock.candidate("B", 4.0), "fast engine": clock.candidate("C", 9.0, 3.0, 2.0, 1.0)},
    )
    row = compare(stage, clock.harness(rounds=3, warm_up=1))
    assert row.timing.median == pytest.approx(6.0)
    assert row.floor == "fast engine"
    assert row.floor_timing.median == pytest.approx(2.0)
    assert row.ratio == pytest.approx(3.0)
    assert row.floors["slow engine"].median == pytest.approx(4.0)
    assert "forward" not in row.floors


def test_spread_is_the_interquartile_range_over_the_median() -> None:
    assert Timing((1.0, 2.0, 3.0, 4.0, 5.0)).spread == pytest.approx(2 / 3)


@pytest.mark.parametrize("arguments", [{"rounds": 1}, {"warm_up": 0}])
def test_a_harness_without_warm_up_or_rounds_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="two rounds"):
        Harness(**arguments)


def test_a_stage_without_a_floor_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a floor"):
        compare(Stage("crop", lambda: None, {}), Harness())


def test_the_default_is_fifteen_rounds() -> None:
    assert Harness().rounds == 15


def timing(milliseconds: float) -> Timing:
    return Timing((milliseconds / 1e3,) * 3)


def results() -> report.Results:
    def row(name: str, own: float, floor: float) -> Comparison:
        return Comparison(name, timing(own), "floor", timing(floor), {"floor": timing(floor)}, "a note")

    names = ("decode", "detect", "predict", "crop", "forward", "render", "measure")
    steps = {name: timing(value) for name, value in zip(names, (1, 2, 3, 4, 5, 6, 7), strict=True)}
    whole = Whole((512, 512), timing(42.0), steps, {"decode": timing(0.5), "detect": timing(1.5)})
    return report.Results(
        machine=describe(threads=2),
        settings={
            "photo": "astronaut.png",
            "width": 512,
            "height": 512,
            "network": "0" * 64,
            "face_model": "open",
            "rounds": 15,
        },
        stages=[row("detect", 12.0, 10.0), row("forward", 9.0, 8.0), row("render", 1.25, 0.5)],
        photo=whole,
        sizes={512: whole, 40: None},
        peers={HOG: timing(20.0), OURS: timing(3.0), OURS_DECODING: timing(4.0)},
        service=Service(3.5, 420.4, {IN_PROCESS: timing(40.0), REST: timing(42.0), GRPC: timing(41.0)}),
        start_up=StartUp((2.0, 1.5, 1.75), (0.25, 0.25, 0.5), (0.5, 0.5, 0.5)),
        worker={"peak_memory_mb": 480.25},
        batch=Rates((10.0, 12.0), (19.0, 24.0), 2),
        recall=0.99,
        corpus_per_core=312.4,
    )


def test_the_last_line_holds_what_it_promises() -> None:
    assert report.summary(results()) == (
        "forward_ratio=1.125 forward_ms=9.00 detect_ms=12.00 detect_recall=0.9900 render_ms=1.25 "
        "photo_ms=42.00 parts_ratio=1.500 corpus_per_core=312 cold_s=1.75 worker_mb=420"
    )


def test_what_was_not_measured_is_said_to_be_none() -> None:
    without = replace(results(), recall=None, corpus_per_core=None, start_up=None, service=None, batch=None)
    assert report.summary(without).endswith(
        "parts_ratio=1.500 corpus_per_core=none cold_s=none worker_mb=none"
    )
    assert "## Many photos" not in report.markdown(without)
    assert report.to_dict(without)["batch"] is None


def test_photo_to_parameters_is_said_over_the_detector_of_the_same_run() -> None:
    assert report.peers_line(results().peers) == "photo_to_hog=0.150 photo_to_hog_decoding=0.200"


def test_a_photo_stands_beside_the_sum_of_its_stages() -> None:
    whole = results().photo
    assert whole is not None
    assert whole.sum_of_steps == pytest.approx(0.028)
    assert whole.ratio == pytest.approx(1.5)


def test_markdown_rows_have_as_many_cells_as_their_header() -> None:
    text = report.markdown(results())
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [len(table) for table in tables] == [2 + 3, 2 + 3, 2 + 3 + 1]
    for table in tables:
        assert {line.count("|") for line in table} == {table[0].count("|")}
    assert "| forward | 9.00 | floor | 8.00 | 1.12 | 0% | a note |" in text
    assert "| 40x40 JPEG | no face found |" in text


def test_json_holds_every_time_in_milliseconds() -> None:
    found = json.loads(json.dumps(report.to_dict(results())))
    assert found["stages"]["forward"]["ms"] == 9.0
    assert found["stages"]["forward"]["floors"]["floor"]["ms"] == 8.0
    assert found["photo"]["steps"]["measure"]["ms"] == 7.0
    assert found["photo"]["parts_ratio"] == 1.5
    assert found["sizes"]["40"] is None
    assert found["summary"]["photo_ms"] == "42.00"
    assert found["peers"][OURS]["over_hog"] == 0.15
    assert found["start_up"]["cold_s"] == 1.75
    assert found["service"]["rest_ms"] == 42.0
    assert found["batch"]["efficiency"] == 0.975


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    draw(results(), tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width > 1000
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_peak_memory_is_of_this_process() -> None:
    before = peak_memory_mb()
    kept = np.ones(25_000_000, np.uint8)
    assert kept.sum() == 25_000_000
    assert before > 20
    assert peak_memory_mb() >= before


def test_png_stream_is_what_the_file_compresses() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    filtered = zlib.decompress(png_stream(encode_png(picture)))
    assert len(filtered) == 40 * (1 + 30 * 3)  # a filter's number before each row


def test_nearest_level_finds_the_level() -> None:
    content = bytes(np.random.default_rng(0).integers(0, 9, 20_000, np.uint8).cumsum() % 256)
    sizes = {level: len(zlib.compress(content, level)) for level in (1, 9)}
    assert sizes[1] > sizes[9]
    assert nearest_level(content, sizes[1]) == 1


@pytest.fixture
def constants() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "scale": np.array(1 / 255, np.float32),
        "half": np.array(0.5, np.float32),
        "kernel": rng.normal(size=(4, 3, 3, 3)).astype(np.float16),
        "bias": rng.normal(size=4).astype(np.float32),
        "flat": np.array([-1, 4 * 4], np.int64),
        "matrix": rng.normal(size=(16, 5)).astype(np.float32),
    }


@pytest.fixture
def network(constants: dict[str, np.ndarray]) -> bytes:
    """A small network of the exported graph's kinds of node, its convolution kept in 16 bits."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["crops"], ["a"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["a", "scale"], ["b"]),
        helper.make_node("Sub", ["b", "half"], ["c"]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["kernel"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["d", "wide", "bias"], ["e"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["e"], ["f"]),
        helper.make_node("MaxPool", ["f"], ["g"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["g", "flat"], ["h"]),
        helper.make_node("MatMul", ["h", "matrix"], ["parameters"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["faces", 6, 6, 3])],
        [helper.make_tensor_value_info("parameters", TensorProto.FLOAT, ["faces", 5])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def test_the_cut_computes_what_the_network_computes_up_to_there(
    network: bytes, constants: dict[str, np.ndarray]
) -> None:
    crops = np.random.default_rng(1).integers(0, 256, (2, 6, 6, 3), np.uint8)
    (expected,) = onnxruntime.InferenceSession(network).run(None, {"crops": crops})
    features = OnnxRuntimeConvolutions(convolution_graph(network), threads=1).run(normalise(crops))
    assert features.shape == (2, 4, 2, 2)
    np.testing.assert_allclose(features.reshape(2, -1) @ constants["matrix"], expected, rtol=1e-5, atol=1e-5)


def test_the_cut_leaves_out_what_is_not_convolution(network: bytes) -> None:
    import onnx

    part = onnx.load_model_from_string(convolution_graph(network))
    kinds = [node.op_type for node in part.graph.node]
    assert kinds == ["Identity", "Cast", "Conv", "Relu", "MaxPool", "Identity"]
    assert {tensor.name for tensor in part.graph.initializer} == {"kernel", "bias"}
    assert part.graph.input[0].name == INPUT


def test_every_engine_agrees(network: bytes) -> None:
    engines = load_engines(convolution_graph(network), threads=1)
    assert "onnxruntime" in engines
    images = normalise(np.random.default_rng(2).integers(0, 256, (1, 6, 6, 3), np.uint8))
    first, *others = (engine.run(images) for engine in engines.values())
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-3, atol=1e-3)


def test_a_file_that_is_no_network_is_refused() -> None:
    with pytest.raises(BackendError, match=r"damaged|convolutions"):
        convolution_graph(b"no network")


def test_the_floor_reads_every_value() -> None:
    assert kernels.read_all(np.arange(100, dtype=np.float32)) == 4950


def test_the_floor_fills_the_covered_pixels_alone(rng: np.random.Generator) -> None:
    covered = rng.random((7, 9)) < 0.5
    triangle, inverse_depth = np.zeros(covered.shape, np.int32), np.zeros(covered.shape, np.float32)
    barycentric, picture = (np.zeros((*covered.shape, 3), np.float32) for _ in range(2))
    kernels.fill_pixels(covered, triangle, barycentric, inverse_depth, picture)
    for written in (triangle, inverse_depth, barycentric.min(axis=2), picture.min(axis=2)):
        np.testing.assert_array_equal(written != 0, covered)


def test_the_floor_of_measuring_is_the_photometric_error(rng: np.random.Generator) -> None:
    photo, picture = (rng.integers(0, 256, (6, 5, 3), np.uint8) for _ in range(2))
    mask = rng.random((6, 5)) < 0.5
    total, count = kernels.squared_error(photo, picture, mask)
    assert np.sqrt(total / (3 * count)) == pytest.approx(photometric_error(photo, picture, mask))


def test_the_floor_of_gamma_gives_the_same_levels(rng: np.random.Generator) -> None:
    linear = rng.uniform(-0.5, 1.5, (20, 20, 3)).astype(np.float32)
    levels = np.zeros(linear.size, np.uint8)
    table = to_uint8(np.linspace(0, 1, 4096, dtype=np.float32))
    kernels.encode_levels(linear.reshape(-1), table, levels)
    # The curve is steep near black: one step of the table is up to one level.
    assert np.abs(levels.astype(int) - to_uint8(linear).ravel()).max() <= 1


def test_threads_must_not_be_negative(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--threads", "-1"])
    assert "--threads" in capsys.readouterr().err


def test_a_missing_network_is_an_error_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--network", str(tmp_path / "none.onnx")]) == 1
    assert "none.onnx can't be read" in capsys.readouterr().err


def integer_network() -> bytes:
    """A small network in 8-bit integers: its convolution takes crops, four pixels as one."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    constants = {
        "blocks": np.array([0, 240, 60, 12], np.int64),
        "level": np.float32(1 / 255),
        "middle": np.uint8(128),
        "kernel": rng.integers(-127, 128, (16, 12, 4, 1), np.int8),
        "scale": np.full(16, 1e-3, np.float32),
        "none": np.zeros(16, np.int8),
        "step": np.float32(0.02),
        "zero": np.uint8(0),
        "matrix": (rng.normal(size=(16 * 4, 350)) * 0.1).astype(np.float32),
    }
    nodes = [
        helper.make_node("Reshape", ["crops", "blocks"], ["packed"]),
        helper.make_node("Transpose", ["packed"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("DequantizeLinear", ["first", "level", "middle"], ["images"]),
        helper.make_node("DequantizeLinear", ["kernel", "scale", "none"], ["weights"], axis=0),
        helper.make_node("Conv", ["images", "weights"], ["sums"], strides=[4, 1]),
        helper.make_node("Relu", ["sums"], ["active"]),
        helper.make_node("QuantizeLinear", ["active", "step", "zero"], ["rounded"]),
        helper.make_node("MaxPool", ["rounded"], ["pooled"], kernel_shape=[30, 30], strides=[30, 30]),
        helper.make_node("DequantizeLinear", ["pooled", "step", "zero"], ["features"]),
        helper.make_node("Flatten", ["features"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "matrix"], ["parameters"]),
    ]
    graph = helper.make_graph(
        nodes,
        "integers",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["faces", 240, 240, 3])],
        [helper.make_tensor_value_info("parameters", TensorProto.FLOAT, ["faces", 350])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def test_convolutions_of_integers_take_the_crops_themselves() -> None:
    import onnx

    crops = np.random.default_rng(1).integers(0, 256, (2, 240, 240, 3), np.uint8)
    part = convolution_graph(integer_network())
    engine = OnnxRuntimeConvolutions(part, threads=1)
    assert engine.prepare(crops) is crops
    features = engine.run(crops)
    assert (features.dtype, features.shape) == (np.uint8, (2, 16, 2, 2))
    kinds = [node.op_type for node in onnx.load_model_from_string(part).graph.node]
    assert "MatMul" not in kinds
    assert "Conv" in kinds
    matrix = next(
        onnx.numpy_helper.to_array(value)
        for value in onnx.load_model_from_string(integer_network()).graph.initializer
        if value.name == "matrix"
    )
    expected = (features.reshape(2, -1) * np.float32(0.02)) @ matrix
    session = onnxruntime.InferenceSession(integer_network(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"crops": crops})[0], expected, rtol=1e-4, atol=1e-4)


def test_engines_are_compared_by_time_size_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_FLUSHED_BYTES", 1000)
    crops = np.random.default_rng(1).integers(0, 256, (9, 240, 240, 3), np.uint8)
    content = integer_network()
    candidates = engines.load_candidates({"a": content, "b": content}, threads=1)
    assert {c.engine for c in candidates} <= set(engines.ENGINES)
    assert [c.network for c in candidates if c.engine == "onnxruntime"] == ["a", "b"]
    candidates = [c for c in candidates if c.engine == "onnxruntime"]
    engines.measure(candidates, crops, Harness(rounds=2, warm_up=1, shortest=0, pause=0))
    row = candidates[1].row(candidates[0])
    assert len(row) == len(engines.COLUMNS) == len(engines.WIDTHS)
    assert row[:2] == ["b", "onnxruntime"]
    assert row[-2:] == ["0.00000", "0.0000"]
    assert all(candidates[0].milliseconds[name] > 0 for name in ("hot", "cold", "eight"))
    line = engines.floors(content, crops, 1, Harness(rounds=2, warm_up=1, shortest=0, pause=0))
    assert "onnxruntime batch 1: " in line
    assert "onnxruntime batch 8: " in line
