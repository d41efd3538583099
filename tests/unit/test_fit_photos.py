"""The command that fits many faces: what it writes, and how it goes on after a stop."""

import json

import numpy as np
import pytest

from inversefacenet.camera import Placement
from inversefacenet.crop import FaceCrop, face_mask
from inversefacenet.errors import NoFaceError
from inversefacenet.fitting import FitOptions
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import NATURAL
from training import fit_photos
from training.fit_work import Worker

NAMES = [f"{i:02d}.jpg" for i in range(6)]


class Scene:
    """Six photos of rendered faces: the fourth shows none, the sixth two. It also is the network."""

    name, digest = "scene", "0" * 64

    def __init__(self, model):
        self.model, self.asked = model, []
        self.thetas = NATURAL.sample(np.random.default_rng(2), 7, model)

    def crops(self, item):
        self.asked.append(item)
        if item == 3:
            raise NoFaceError("No face was found.")
        return [self._crop(theta) for theta in self.thetas[[item] if item < 5 else [5, 6]]]

    def _crop(self, theta):
        rendering = render(self.model, Parameters.from_vector(theta))
        mask = face_mask(rendering.landmarks)
        placement = Placement(1.0, (0.0, 0.0))
        image = rendering.image * mask[..., None]
        return FaceCrop(image, rendering.image, mask, placement, rendering.landmarks)

    def infer(self, crops, *, timeout=None):
        return np.repeat(Parameters.neutral().vector()[None], len(crops), axis=0)


@pytest.fixture
def scene(synthetic_model, monkeypatch):
    made = Scene(synthetic_model)

    def make(store, photos, names, network, options):
        return Worker(made, made, synthetic_model, options)

    monkeypatch.setattr(Worker, "make", make)
    monkeypatch.setattr(fit_photos, "PART", 2)
    return made


@pytest.fixture
def command(tmp_path, scene):
    photos, network = tmp_path / "photos", tmp_path / "net.onnx"
    photos.mkdir()
    for name in (*NAMES, "notes.txt"):
        (photos / name).write_bytes(b"")
    network.write_bytes(b"network")
    fixed = ["--photos", str(photos), "--network", str(network), "--output", str(tmp_path / "fits.npz")]
    return lambda *more: fit_photos.main([*fixed, "--workers", "1", "--iterations", "1", *more])


def result(tmp_path):
    with np.load(tmp_path / "fits.npz") as file:
        return dict(file)


def test_every_face_is_fitted_and_named(command, tmp_path, capsys):
    assert command() == 0
    out = capsys.readouterr().out
    assert "failed: 03.jpg (no-face)" in out
    assert out.splitlines()[-1].startswith("n=6 failed=1 start_photometric=")
    found = result(tmp_path)
    assert found["index"].tolist() == [0, 1, 2, 4, 5, 5]
    assert found["face"].tolist() == [0, 0, 0, 0, 0, 1]
    assert found["name"].tolist() == [NAMES[i] for i in found["index"]]
    assert found["theta"].shape == found["start"].shape == (6, 350)
    assert found["theta"].dtype == np.float32
    assert found["photometric"].mean() < found["start_photometric"].mean()
    assert (found["start"] == Parameters.neutral().vector()).all()


def test_what_is_done_is_not_done_again(command, tmp_path, scene):
    assert command() == 0
    first = result(tmp_path)
    asked = len(scene.asked)
    parts = sorted((tmp_path / "fits.npz.parts").glob("part-*"))
    assert len(parts) == 3
    parts[1].unlink()
    (tmp_path / "fits.npz").unlink()
    assert command() == 0
    assert len(scene.asked) == asked + 2
    for name, values in result(tmp_path).items():
        np.testing.assert_array_equal(values, first[name])


def test_a_larger_limit_goes_on(command, tmp_path, scene):
    assert command("--limit", "3") == 0
    three = set(result(tmp_path)["name"].tolist())
    asked = len(scene.asked)
    assert command() == 0
    # The part that the limit cut short is done anew, the whole one isn't.
    assert len(scene.asked) == asked + 4
    assert three <= set(result(tmp_path)["name"].tolist())


def test_other_settings_are_refused(command, tmp_path, capsys):
    assert command("--limit", "1") == 0
    assert command("--limit", "1", "--robust", "20") == 1
    assert "other settings (options" in capsys.readouterr().err
    plan = json.loads((tmp_path / "fits.npz.parts" / "plan.json").read_bytes())
    assert json.loads(plan["options"])["iterations"] == 1 != FitOptions().iterations


@pytest.mark.parametrize("wrong", [("--limit", "0"), ("--workers", "0"), ("--iterations", "-1")])
def test_wrong_arguments_are_refused(command, wrong, capsys):
    assert command(*wrong) == 1
    assert capsys.readouterr().err.startswith("fit_photos: ")


def test_nothing_to_fit_is_an_error(tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert fit_photos.main(["--photos", str(empty), "--output", str(tmp_path / "fits.npz")]) == 1
    assert "There are no faces" in capsys.readouterr().err
