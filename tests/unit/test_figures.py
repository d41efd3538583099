import numpy as np
import pytest
from PIL import Image

from inversefacenet.landmarks import Face
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from training import figures

TURNED = Parameters.from_dict({"rotation": [0.1, 0.0, 0.0]})


class Network:
    name, digest = "fixed", "0" * 64

    def __init__(self, path=None):
        self.path = path

    def infer(self, crops, *, timeout=None):
        return np.stack([TURNED.vector()] * len(crops))


class Detector:
    def __init__(self, landmarks):
        self.landmarks = landmarks

    def detect(self, image, *, faces="all", minimum_size=None, limit=None):
        return [Face((0.0, 0.0, 240.0, 240.0), 1.0, self.landmarks)]


@pytest.fixture
def photos(tmp_path, synthetic_model, monkeypatch):
    rendering = render(synthetic_model, TURNED)
    detector = Detector(rendering.landmarks)
    monkeypatch.setattr(figures, "FaceDetector", lambda: detector)
    monkeypatch.setattr(figures, "OnnxBackend", Network)
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: synthetic_model))
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abc":
        Image.fromarray(rendering.image).save(folder / f"{name}.png")
    return folder


def test_figure9_has_a_column_per_photo(photos, tmp_path, capsys):
    sizes = []
    for count in (1, 3):
        output = tmp_path / f"{count}.png"
        arguments = ["figure9", "--photos", str(photos), "--count", str(count), "--output", str(output)]
        assert figures.main(arguments) == 0
        sizes.append(np.asarray(Image.open(output)).shape[1::-1])
        assert capsys.readouterr().out.splitlines()[-1] == f"faces={count} file={output}"
    assert sizes[1][0] - sizes[0][0] == 2 * (240 + 4)
    assert sizes[0][1] == sizes[1][1] == 5 * 240 + 4 * 4


def test_figure5_has_a_row_per_network_and_the_fit(photos, tmp_path):
    fits = tmp_path / "fits.npz"
    np.savez(
        fits, name=np.array(["a.png"]), face=np.zeros(1, int), theta=TURNED.vector()[None], photometric=[0.0]
    )
    heights = []
    for more in ([], ["--fits", str(fits)]):
        output = tmp_path / "figure5.png"
        networks = ["--network", "one=1.onnx", "--network", "two=2.onnx"]
        arguments = ["figure5", "--photos", str(photos), "--count", "1", *networks, *more]
        assert figures.main([*arguments, "--output", str(output)]) == 0
        heights.append(np.asarray(Image.open(output)).shape[1::-1])
    assert heights[1][1] - heights[0][1] == 244
    assert heights[1][0] > heights[0][0] + 240  # the geometric error besides


def test_figure3_shows_corpora_side_by_side(photos, tmp_path, capsys):
    parameters = tmp_path / "parameters.npy"
    np.save(parameters, np.stack([TURNED.vector()] * 7))
    output = tmp_path / "figure3.png"
    arguments = ["figure3", "--parameters", str(parameters), "--photos", str(photos)]
    assert figures.main([*arguments, "--columns", "2", "--rows", "2", "--output", str(output)]) == 0
    picture = np.asarray(Image.open(output))
    assert picture.shape[1] == 3 * 240 + 2 * 4
    after = picture[-240:, 244:484]
    np.testing.assert_array_equal(after[:120, :120], after[120:, 120:])  # all faces of that corpus are alike
    np.save(parameters, np.zeros((3, 10)))
    assert figures.main(arguments) == 1
    assert "must hold parameters of shape [n, 350]" in capsys.readouterr().err
