"""The study of the optimiser: its ways of fitting, and what the command prints."""

import numpy as np
import pytest
from PIL import Image

from inversefacenet.fitting import FitOptions, fit
from inversefacenet.landmarks import Face
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import NATURAL
from training import fit_study
from training.evaluation.measuring import compare
from training.fit_study import ALL, FLOOR, NETWORK, Variant, fit_all, photo_variants, true_variants
from training.rendered import rendered_crop

QUICK = FitOptions(iterations=2, pixels=300)


class Network:
    """Answers the mean face in usual light."""

    name, digest = "fixed", "0" * 64

    def __init__(self, path=None, threads=0):
        pass

    def infer(self, crops, *, timeout=None):
        return np.repeat(Parameters.neutral().vector()[None], len(crops), axis=0)


@pytest.fixture
def small(monkeypatch, synthetic_model):
    """The command with a small face model and few, short fits."""
    monkeypatch.setattr(MorphableModel, "load_default", classmethod(lambda cls: synthetic_model))
    monkeypatch.setattr(fit_study, "OnnxBackend", Network)
    monkeypatch.setattr(fit_study, "FitOptions", lambda **changes: FitOptions(2, 300, **changes))
    return synthetic_model


@pytest.fixture
def photos(tmp_path, monkeypatch, small):
    """Two photos of rendered faces in grey surroundings, and one without a face."""
    thetas = NATURAL.sample(np.random.default_rng(3), 2, small)
    points = {}
    for number, theta in enumerate(thetas):
        rendering = render(small, Parameters.from_vector(theta))
        points[rendering.image.tobytes()] = rendering.landmarks
        Image.fromarray(rendering.image).save(tmp_path / f"Some_Person{number}_0001.png")
    Image.new("RGB", (240, 240)).save(tmp_path / "Nobody_0001.png")

    class Detector:
        def detect(self, image, *, faces, minimum_size=None, limit=None):
            from inversefacenet.errors import NoFaceError

            found = points.get(image.tobytes())
            if found is None:
                raise NoFaceError("No face was found.")
            return [Face((0.0, 0.0, 240.0, 240.0), 1.0, found)]

    monkeypatch.setattr(fit_study, "FaceDetector", Detector)
    return tmp_path


def test_each_way_differs_in_what_its_name_says():
    usual, ways = FitOptions(), photo_variants()
    changed = {
        name: {
            field
            for field in FitOptions.__dataclass_fields__
            if getattr(way.options, field) != getattr(usual, field)
        }
        for name, way in ways.items()
    }
    assert changed[ALL] == set()
    assert changed["without landmarks"] == {"landmark"}
    assert changed["without the pull to bare pixels"] == {"coverage"}
    assert changed["without colours"] == {"photometric"}
    assert changed["light alone"] == {"free"}
    assert changed[FLOOR] == {"free", "reflectance", "light", "tint", "level"}
    assert [name for name, way in ways.items() if way.start != NETWORK] == [FLOOR]
    assert [way.options.robust for way in true_variants([20, 40]).values()] == [None, 20, 40]


def test_a_way_may_start_where_another_ended(synthetic_model):
    truth = Parameters.from_vector(NATURAL.sample(np.random.default_rng(4), 1, synthetic_model)[0])
    crop = rendered_crop(synthetic_model, truth)
    seen = []

    def figures(_crop, answer):
        seen.append(answer)
        return compare(synthetic_model, _crop, truth, answer)

    ways = {"first": Variant(QUICK), "second": Variant(QUICK, "first"), "again": Variant(QUICK)}
    rows = fit_all(synthetic_model, crop, Parameters.neutral(), ways, figures)
    assert list(rows) == [NETWORK, "first", "second", "again"]
    assert rows["first"]["landmark"] < rows[NETWORK]["landmark"]
    _, first, second, again = (answer.vector() for answer in seen)
    assert (again == first).all()
    assert (second == fit(synthetic_model, crop, seen[1], QUICK).parameters.vector()).all()
    assert (second != first).any()
    assert "steps" not in rows[NETWORK]
    assert rows["first"]["steps"] == 2
    assert rows["first"]["seconds"] > 0
    assert (seen[0].vector() == Parameters.neutral().vector()).all()


def columns(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def figures_of(text):
    return {key: float(value) for key, value in (pair.split("=") for pair in text.splitlines()[-1].split())}


def test_photographs_are_fitted_in_every_way(photos, capsys):
    assert fit_study.main(["photos", "--photos", str(photos), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    rows = {columns(line)[0]: columns(line)[1:] for line in printed.splitlines() if line.startswith("| ")}
    assert list(rows) == ["mean [95% interval]", NETWORK, *photo_variants()]
    told = figures_of(printed)
    assert (told["faces"], told["failed"]) == (2, 1)
    assert "failed: Nobody_0001.png (no-face)" in printed
    assert told["photometric"] != told["start_photometric"]
    assert told["landmark"] < told["start_landmark"]
    assert rows[NETWORK][0].startswith(f"{told['start_photometric']:.2f}")
    assert rows[FLOOR][0].startswith(f"{told['floor']:.2f}")
    # Light doesn't move points.
    assert rows["light alone"][1:3] == rows[NETWORK][1:3]
    assert rows["without landmarks"][2] != rows[ALL][2]


def test_rendered_faces_are_held_against_the_truth(small, capsys):
    command = ["rendered", "--count", "3", "--workers", "1", "--robust", "40", "--distribution", "natural"]
    assert fit_study.main(command) == 0
    printed = capsys.readouterr().out
    told = figures_of(printed)
    assert told["faces"] == 3
    assert told["natural_rotation"] < told["natural_start_rotation"]
    assert "| robust, 40 levels | " in printed
    assert "higher-variation" not in printed
    # Without noise the same faces have better landmarks to go by.
    assert fit_study.main([*command, "--noise", "0"]) == 0
    exact = figures_of(capsys.readouterr().out)
    assert exact["natural_start_geometric"] == told["natural_start_geometric"]
    assert exact["natural_rotation"] != told["natural_rotation"]


def test_what_is_wrong_is_said(small, tmp_path, capsys):
    for command in (
        ["photos", "--photos", str(tmp_path)],
        ["rendered", "--count", "0"],
        ["rendered", "--count", "1", "--robust", "-1"],
    ):
        assert fit_study.main(command) == 1
        assert capsys.readouterr().err.startswith("fit_study: ")
