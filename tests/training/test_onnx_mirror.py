"""Networks in one file with their mirror."""

import numpy as np
import onnx
import pytest
from test_onnx_export import answers_of, checkpoint, narrow, reference, trained  # noqa: F401  # fixtures

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.mirroring import FaceMirror, MirrorAveraging
from inversefacenet.morphable_model import MorphableModel
from training import export
from training.calibration_crops import CalibrationCrops
from training.export import to_onnx
from training.fast_network import FastNetwork


@pytest.fixture
def crops(rng):
    smooth = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    return np.kron(smooth, np.ones((1, 30, 30, 1), np.uint8))


@pytest.fixture
def mirror():
    return FaceMirror.of(MorphableModel.load_default())


@pytest.mark.parametrize("integers", [False, True])
def test_the_file_answers_as_the_average_around_the_plain_file_does(crops, mirror, tmp_path, integers):
    net = trained(FastNetwork)
    calibration = CalibrationCrops(crops, crops, "5" * 64) if integers else None
    (tmp_path / "plain.onnx").write_bytes(to_onnx(net, {}, 0, calibration))
    plain = OnnxBackend(tmp_path / "plain.onnx", threads=1)
    expected = MirrorAveraging(plain, mirror).infer(crops)
    content = to_onnx(net, {"iterations": "7"}, 0, calibration, mirror)
    answers = answers_of(content, crops, tmp_path)
    np.testing.assert_allclose(answers, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(answers - plain.infer(crops)).max() > 0.1 * np.abs(expected).max()
    told = {p.key: p.value for p in onnx.load_from_string(content).metadata_props}
    assert told["mirrored"] == "true"


def test_a_mirrored_picture_has_the_mirrored_answer(crops, mirror, tmp_path):
    content = to_onnx(trained(FastNetwork), {}, 0, None, mirror)
    theta = answers_of(content, crops, tmp_path)
    flipped = answers_of(content, crops[:, :, ::-1].copy(), tmp_path)
    # Yaw and roll change their sign whatever the face model is.
    np.testing.assert_allclose(flipped[:, :3], theta[:, :3] * [-1, 1, -1], atol=1e-3 * np.abs(theta).max())


def test_it_takes_any_number_of_faces(crops, mirror, tmp_path):
    content = to_onnx(trained(FastNetwork), {}, 0, None, mirror)
    whole = answers_of(content, crops, tmp_path)
    single = np.concatenate([answers_of(content, crop[None], tmp_path) for crop in crops])
    np.testing.assert_allclose(single, whole, atol=1e-4 * np.abs(whole).max())
    assert answers_of(content, crops[:0], tmp_path).shape == (0, 350)


def test_the_command_mirrors_when_asked(checkpoint, tmp_path, capsys, monkeypatch):  # noqa: F811
    arguments = ["--checkpoint", str(checkpoint), "--rank", "8", "--mirror"]
    assert export.main(arguments) == 1
    assert "can't be mirrored" in capsys.readouterr().err
    monkeypatch.setattr("inversefacenet.mirroring.LARGEST_GAP", 100.0)  # the tests' own face is askew
    for name, more in (("plain", []), ("mirrored", ["--mirror"])):
        output = ["--output", str(tmp_path / f"{name}.onnx")]
        assert export.main(["--checkpoint", str(checkpoint), "--rank", "8", *output, *more]) == 0
        assert "loss_growth=" in capsys.readouterr().out
    told = [
        {p.key: p.value for p in onnx.load(tmp_path / f"{name}.onnx").metadata_props}
        for name in ("plain", "mirrored")
    ]
    assert told[1] == told[0] | {"mirrored": "true"}
