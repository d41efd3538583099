import numpy as np
import pytest
from PIL import Image

from inversefacenet.errors import InputError, NoFaceError
from inversefacenet.landmarks import Face
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import Distribution
from training import evaluate
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
    monkeypatch.setattr(evaluate, "FaceDetector", lambda: Detector(rendering.landmarks))
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
    found = [str(path.relative_to(photos)) for path in evaluate.find_photos(photos)]
    assert found == ["b.PNG", "black.png", "broken.jpg", "deep/er/a.png"]


def test_folders_without_photos_are_a_clear_error(tmp_path):
    with pytest.raises(InputError, match="no photographs"):
        evaluate.find_photos(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        evaluate.find_photos(tmp_path / "nowhere")


def test_every_detected_face_counts_and_failures_are_named(photos, synthetic_model):
    methods = evaluate.choose_methods(synthetic_model, Network(), baselines=True)
    result = evaluate.evaluate_photos(photos, synthetic_model, methods, all_faces=True)
    assert result.names == ["b.PNG", "deep/er/a.png", "deep/er/a.png"]
    assert result.failed == ["black.png (no-face)", "broken.jpg (unsupported-image)"]
    assert all(len(rows) == 3 for rows in result.rows.values())
    assert result.mean("network", "photometric") < 0.5
    assert result.mean("network", "landmark") < 0.01
    assert result.mean("mean face, best constant light", "landmark") > 1
    assert len(evaluate.evaluate_photos(photos, synthetic_model, methods, all_faces=False).names) == 2


def test_photos_without_any_face_are_an_error(tmp_path, photos, synthetic_model):
    only = tmp_path / "only"
    only.mkdir()
    (photos / "black.png").rename(only / "black.png")
    methods = evaluate.choose_methods(synthetic_model, Network(), baselines=False)
    with pytest.raises(InputError, match="shows a face"):
        evaluate.evaluate_photos(only, synthetic_model, methods, all_faces=True)


@pytest.fixture
def frontal(monkeypatch):
    """A test set in which every face is the mean face in the same light."""
    names = ("yaw", "pitch", "roll", "shape_sd", "reflectance_sd", "expression_amplitude", "light")
    fixed = Distribution(**dict.fromkeys(names, 0), expression="box", constant_light=(0.9, 0.9))
    monkeypatch.setitem(evaluate.DISTRIBUTIONS, "frontal", fixed)


def test_rendered_faces_are_measured_against_their_truth(frontal, synthetic_model):
    def brighter(crop):
        light = np.zeros((9, 3))
        light[0] = 1.0
        return Parameters.from_dict({"illumination": light.tolist()})

    def wider(crop):
        return Parameters.from_dict({"shape": [0.5] + [0.0] * 127})

    methods = {"truth": lambda crop: Parameters.neutral(), "turned": lambda crop: TURNED}
    methods |= {"brighter": brighter, "wider": wider}
    result = evaluate.evaluate_rendered("frontal", 2, synthetic_model, methods)
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
    first, again = (
        evaluate.evaluate_rendered("higher-variation", 3, synthetic_model, methods).rows for _ in range(2)
    )
    assert first == again


def test_table_has_mean_and_deviation_by_method():
    rows = {"network": [{"iou": 0.5}, {"iou": 1.0}], "other": [{"iou": 0.25}, {"iou": 0.25}]}
    assert evaluate.Evaluation(rows, [], ["a", "b"]).table().splitlines() == [
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
