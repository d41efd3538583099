import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inversefacenet.errors import InputError, NoFaceError
from inversefacenet.landmarks import Face
from inversefacenet.metrics import measure
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import DISTRIBUTIONS, Distribution
from training import evaluate
from training.evaluation.measuring import evaluate_photos, evaluate_rendered
from training.evaluation.methods import choose_methods, network_files
from training.evaluation.photos import find_photos
from training.evaluation.result import Evaluation
from training.rendered import rendered_crop, rendered_images

TURNED = Parameters.from_dict({"rotation": [0.1, 0.0, 0.0]})


class Network:
    """Always answers a face turned by a tenth of a radian."""

    name, digest = "fixed", "0" * 64

    def __init__(self, path=None):
        self.path = path

    def infer(self, crops, *, timeout=None):
        return np.stack([TURNED.vector()] * len(crops))


class Detector:
    """Finds two faces in photos wider than high, one in others, and none in black ones."""

    def __init__(self, landmarks):
        self.landmarks = landmarks

    def detect(self, image, *, faces="all", minimum_size=None, limit=None):
        if not image.any():
            raise NoFaceError("none")
        found = [Face((0.0, 0.0, 240.0, 240.0), 1.0, self.landmarks)]
        return found * 2 if image.shape[1] > image.shape[0] and faces == "all" else found


@pytest.fixture
def photos(tmp_path, synthetic_model, monkeypatch):
    rendering = render(synthetic_model, TURNED)
    detector = Detector(rendering.landmarks)
    monkeypatch.setattr(evaluate, "FaceDetector", lambda: detector)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    wide = np.zeros((240, 400, 3), np.uint8)
    wide[:, :240] = rendering.image
    Image.fromarray(rendering.image).save(tmp_path / "b.PNG")
    Image.fromarray(wide).save(tmp_path / "deep" / "er" / "a.png")
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(tmp_path / "black.png")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    (tmp_path / "notes.txt").write_text("not looked at")
    return tmp_path


def test_photos_are_found_at_any_depth_by_name(photos):
    found = [str(path.relative_to(photos)) for path in find_photos(photos)]
    assert found == ["b.PNG", "black.png", "broken.jpg", "deep/er/a.png"]


def test_folders_without_photos_are_a_clear_error(tmp_path):
    with pytest.raises(InputError, match="no photographs"):
        find_photos(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        find_photos(tmp_path / "nowhere")


def test_every_detected_face_counts_and_failures_are_named(photos, synthetic_model):
    methods = choose_methods(synthetic_model, {"network": Network()}, baselines=True)
    result = evaluate_photos(photos, synthetic_model, methods, evaluate.FaceDetector())
    assert result.names == ["b.PNG", "deep/er/a.png", "deep/er/a.png"]
    assert result.failed == ["black.png (no-face)", "broken.jpg (unsupported-image)"]
    assert all(len(rows) == 3 for rows in result.rows.values())
    assert result.mean("network", "photometric") < 0.5
    assert result.mean("network", "landmark") < 0.01
    assert result.mean("mean face, best constant light", "landmark") > 1
    assert result.numbers == [0, 0, 1]
    largest = evaluate_photos(photos, synthetic_model, methods, evaluate.FaceDetector(), faces="largest")
    assert largest.names == ["b.PNG", "deep/er/a.png"]


def test_photos_without_any_face_are_an_error(tmp_path, photos, synthetic_model):
    only = tmp_path / "only"
    only.mkdir()
    (photos / "black.png").rename(only / "black.png")
    methods = choose_methods(synthetic_model, {"network": Network()}, baselines=False)
    with pytest.raises(InputError, match="shows a face"):
        evaluate_photos(only, synthetic_model, methods, evaluate.FaceDetector())


@pytest.fixture
def frontal(monkeypatch):
    """A test set in which every face is the mean face in the same light."""
    names = ("yaw", "pitch", "roll", "shape_sd", "reflectance_sd", "expression_amplitude", "light")
    fixed = Distribution(**dict.fromkeys(names, 0), expression="box", constant_light=(0.9, 0.9))
    monkeypatch.setitem(DISTRIBUTIONS, "frontal", fixed)


def test_rendered_faces_are_measured_against_their_truth(frontal, synthetic_model):
    def brighter(crop):
        light = np.zeros((9, 3))
        light[0] = 1.0
        return Parameters.from_dict({"illumination": light.tolist()})

    def wider(crop):
        return Parameters.from_dict({"shape": [0.5] + [0.0] * 127})

    methods = {"truth": lambda crop: Parameters.neutral(), "turned": lambda crop: TURNED}
    methods |= {"brighter": brighter, "wider": wider}
    result = evaluate_rendered("frontal", 2, synthetic_model, methods)
    for figure in ("geometric", "rotation", "reflectance", "light", "photometric", "landmark"):
        assert result.mean("truth", figure) == pytest.approx(0, abs=0.03), figure
    assert result.mean("turned", "rotation") == pytest.approx(np.degrees(0.1), abs=0.03)
    assert result.mean("turned", "geometric") == 0
    # One of nine coefficients is off by 0.1 in all channels.
    assert result.mean("brighter", "light") == pytest.approx(0.1 / 3, rel=1e-4)
    moved = 0.5 * synthetic_model.shape_basis[:, 0].reshape(-1, 3) * synthetic_model.shape_sigma[0]
    rms = np.sqrt((moved[synthetic_model.painted_vertices] ** 2).sum(axis=1).mean())
    assert result.mean("wider", "geometric") == pytest.approx(rms, rel=1e-4)


def test_test_sets_are_always_the_same(synthetic_model):
    methods = {"mean": lambda crop: Parameters.neutral()}
    first, again = (evaluate_rendered("higher-variation", 3, synthetic_model, methods).rows for _ in range(2))
    assert first == again


def test_table_has_mean_and_deviation_by_method():
    rows = {"network": [{"iou": 0.5}, {"iou": 1.0}], "other": [{"iou": 0.25}, {"iou": 0.25}]}
    assert Evaluation(rows, [], ["a", "b"]).table().splitlines() == [
        "| method | iou |",
        "|---|---|",
        "| network | 0.75 ± 0.25 |",
        "| other | 0.25 ± 0 |",
    ]


@pytest.fixture
def command(monkeypatch, synthetic_model):
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: synthetic_model))
    monkeypatch.setattr(evaluate, "OnnxBackend", Network)
    return evaluate.main


def read_figures(text):
    return {name: float(value) for name, value in (pair.split("=") for pair in text.splitlines()[-1].split())}


def test_last_line_sums_photos_up(command, photos, capsys):
    assert command(["photos", "--photos", str(photos), "--no-baselines"]) == 0
    output = capsys.readouterr().out
    figures = read_figures(output)
    assert list(figures) == ["n", "failed", "photometric", "iou", "landmark"]
    assert (figures["n"], figures["failed"]) == (3, 2)
    assert "failed: broken.jpg (unsupported-image)" in output


def test_last_line_sums_rendered_faces_up(command, frontal, capsys):
    assert command(["rendered", "--distribution", "paper", "--count", "2", "--no-baselines"]) == 0
    figures = read_figures(capsys.readouterr().out)
    assert {"n", "failed", "geometric", "rotation", "reflectance", "light", "iou"} <= set(figures)
    assert figures["n"] == 2


def test_errors_are_told_on_one_line(command, tmp_path, capsys):
    assert command(["photos", "--photos", str(tmp_path / "nowhere")]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("evaluate: There is no folder")
    assert captured.out == ""


def test_rendered_crops_are_masked_by_their_own_landmarks(synthetic_model):
    crop = rendered_crop(synthetic_model, TURNED)
    assert not crop.image[~crop.mask].any()
    np.testing.assert_array_equal(crop.image[crop.mask], crop.unmasked[crop.mask])
    stacked = rendered_images(synthetic_model, np.stack([TURNED.vector()] * 2))
    np.testing.assert_array_equal(stacked[1], crop.image)


def write_fits(path, names, theta, photometric):
    face = np.zeros(len(names), np.int64)
    np.savez(path, name=np.array(names), face=face, theta=theta, photometric=np.float32(photometric))
    return str(path)


def test_geometry_is_measured_against_fits(command, photos, tmp_path, capsys, synthetic_model):
    fitted = TURNED.vector()
    fitted[3] = 1.0
    face = render(synthetic_model, Parameters.from_vector(fitted))
    error = measure(rendered_crop(synthetic_model, TURNED), face).photometric
    names = ["b.PNG", "deep/er/a.png"]  # the second face of a.png has no fit
    fits = write_fits(tmp_path / "fits.npz", names, np.stack([fitted] * 2), [error] * 2)
    csv = tmp_path / "faces.csv"
    arguments = ["photos", "--photos", str(photos), "--no-baselines", "--fits", fits, "--csv", str(csv)]
    assert command(arguments) == 0
    output = capsys.readouterr().out
    moved = synthetic_model.shape_basis[:, 0].reshape(-1, 3) * synthetic_model.shape_sigma[0]
    rms = np.sqrt((moved[synthetic_model.painted_vertices] ** 2).sum(axis=1).mean())
    assert read_figures(output)["geometric"] == pytest.approx(rms, rel=1e-3)
    assert "| our fit |" in output
    lines = csv.read_text().splitlines()
    assert lines[0].startswith("photo,face,person,method,")
    assert [line.split(",")[:4] for line in lines[1:4]] == [
        ["b.PNG", "0", "b.PNG", "network"],
        ["deep/er/a.png", "0", "deep/er/a.png", "network"],
        ["deep/er/a.png", "1", "deep/er/a.png", "network"],
    ]
    assert lines[3].count(",,") >= 1  # nothing to hold its geometry against
    assert command([*arguments[:4], "--fits", fits, "--fitted"]) == 0
    assert read_figures(capsys.readouterr().out)["n"] == 2


def test_fits_of_other_crops_are_refused(command, photos, tmp_path, capsys):
    theta = np.stack([TURNED.vector()])
    elsewhere = write_fits(tmp_path / "elsewhere.npz", ["c.png"], theta, [0])
    assert command(["photos", "--photos", str(photos), "--fits", elsewhere]) == 1
    assert "None of these faces" in capsys.readouterr().err
    other = write_fits(tmp_path / "other.npz", ["b.PNG"], theta, [30])
    assert command(["photos", "--photos", str(photos), "--fits", other]) == 1
    assert "other crops" in capsys.readouterr().err
    (tmp_path / "text.npz").write_text("no archive")
    assert command(["photos", "--photos", str(photos), "--fits", str(tmp_path / "text.npz")]) == 1
    assert "fit_photos" in capsys.readouterr().err


def test_networks_are_compared_face_by_face(command, photos, monkeypatch, capsys):
    class Chosen(Network):
        def infer(self, crops, *, timeout=None):
            theta = super().infer(crops)
            theta[:, 323:] *= 0.8 if self.path and self.path.name == "dark.onnx" else 1
            return theta

    monkeypatch.setattr(evaluate, "OnnxBackend", Chosen)
    named = ["--network", "light=x.onnx", "--network", "dark=dark.onnx"]
    assert command(["photos", "--photos", str(photos), "--no-baselines", *named]) == 0
    output = capsys.readouterr().out
    figures = read_figures(output)
    assert list(figures) == [
        "n", "failed", "photometric", "iou", "landmark",
        "dark_photometric", "dark_iou", "dark_landmark",
    ]  # fmt: skip
    assert figures["photometric"] < 1 < 5 < figures["dark_photometric"]
    (line,) = [one for one in output.splitlines() if one.startswith("| dark | +")]
    assert line.split("|")[2].strip().endswith("worse")
    assert "better" not in line


def test_networks_have_names(tmp_path):
    assert network_files([]) == {"network": Path("reference")}
    assert list(network_files(["a/model.onnx"])) == ["network"]
    assert list(network_files(["a/one.onnx", "two=b.onnx"])) == ["one", "two"]
    with pytest.raises(InputError, match="Two networks"):
        network_files(["a=1.onnx", "a=2.onnx"])
    with pytest.raises(InputError, match="no name"):
        network_files(["a b=1.onnx"])


def test_worst_faces_are_named_and_drawn(command, photos, tmp_path, capsys):
    dark = np.asarray(Image.open(photos / "b.PNG")) // 3
    Image.fromarray(dark).save(photos / "dark.png")
    pictures = tmp_path / "pictures"
    arguments = ["photos", "--photos", str(photos), "--no-baselines", "--worst", "2"]
    assert command([*arguments, "--pictures", str(pictures)]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| worst faces of network"))
    assert lines[start + 2].startswith("| dark.png | 1 |")
    assert not lines[start + 4].startswith("|")
    drawn = np.asarray(Image.open(pictures / "worst-network.png"))
    assert drawn.shape[0] == 2 * (240 + 24)


def test_a_share_of_the_folder_can_be_measured(photos):
    found = [path.name for path in find_photos(photos, limit=2)]
    assert found == ["b.PNG", "a.png"]
    assert len(find_photos(photos, limit=9)) == 4


def test_records_keep_each_network_beside_its_own_file(command, photos, tmp_path):
    files = [tmp_path / name / "model.onnx" for name in ("a", "b")]
    named = []
    for name, file in zip("ab", files, strict=True):
        file.parent.mkdir()
        named += ["--network", f"{name}={file}"]
    assert command(["photos", "--photos", str(photos), *named, "--record", "faces"]) == 0
    for file in files:
        kept = json.loads((file.parent / "evaluation.json").read_text())["evaluations"]["faces"]
        assert set(kept) == {
            "faces", "failed", "network",
            "mean face, best constant light", "same, pose fitted to landmarks",
        }  # fmt: skip
        assert kept["faces"] == 3
