import json
import math

import numpy as np
import pytest
from PIL import Image

from inversefacenet.confidence import ConfidenceModel, probability
from inversefacenet.errors import NoFaceError
from inversefacenet.evidence import DETECTION, EVIDENCE
from training import calibrate, calibration_samples, confidence_report
from training.calibration_samples import GOOD, Sample
from training.confidence_report import JudgedFace, label_of, read_tags
from training.failures import FAILURES

GIVEN = tuple(name for name in EVIDENCE if name not in DETECTION)


def samples(count=400, apart=2.0, seed=0):
    """Samples whose first measure tells failures, more or less; the others are noise."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        family, kind = GOOD, ("plain", "mono")[number // 2 % 2]
        if number % 2:
            family = list(FAILURES)[number % 4]
            kind = list(FAILURES[family])[number // 4 % len(FAILURES[family])]
        measures = dict(zip(EVIDENCE, rng.normal(size=len(EVIDENCE)).tolist(), strict=True))
        measures["nme"] += 0.0 if family == GOOD else apart
        measures["score"] -= 0.0 if family == GOOD else apart
        found.append(Sample(family, kind, f"person {number // 4}", measures))
    return found


@pytest.fixture(scope="module")
def table():
    return calibrate.tabulate(samples())


def test_the_mixture_is_as_it_is_stated(table):
    good, failed = table.weights[table.good].sum(), table.weights[~table.good].sum()
    assert good == pytest.approx(1 - calibrate.FAILED_SHARE)
    # Two of the four families are there: profiles and faults of cameras.
    assert set(table.family) == {GOOD, "profiles", "imaging"}
    assert failed == pytest.approx(calibrate.FAILED_SHARE * 0.35)
    for family in np.unique(table.family[~table.good]):
        kinds = np.unique(table.kind[table.family == family])
        shares = [table.weights[(table.family == family) & (table.kind == kind)].sum() for kind in kinds]
        np.testing.assert_allclose(shares, shares[0])


def test_nobody_is_on_both_sides(table):
    people = [sample.person for sample in samples()]
    for person in set(people):
        assert len(set(table.fold[[one == person for one in people]])) == 1
    assert len(set(table.fold)) == 5


def test_what_is_calibrated_holds_for_others(table):
    outcome = calibrate.calibrate(table, EVIDENCE)
    assert outcome.auc > 0.93
    assert outcome.error < 0.06
    fresh = calibrate.tabulate(samples(2000, seed=1))
    confidence = np.asarray(probability(outcome.regression.log_odds(fresh.columns(EVIDENCE))))
    sure = confidence > 0.9
    assert np.average(fresh.good[sure], weights=fresh.weights[sure]) > 0.88
    assert set(outcome.kinds) == set(table.kind[~table.good])
    assert min(outcome.kinds.values()) > 0.8


def test_without_what_tells_them_apart_nothing_is_known():
    outcome = calibrate.calibrate(calibrate.tabulate(samples(apart=0.0)), GIVEN)
    assert 0.35 < outcome.auc < 0.65
    assert outcome.error < 0.1


def test_too_few_samples_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(calibrate, "make_samples", lambda *_: iter([samples(8)]))
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    assert calibrate.main(["--photos", str(tmp_path), "--output", str(tmp_path / "c.json")]) == 1
    assert "too few" in capsys.readouterr().err
    assert not (tmp_path / "c.json").exists()


def test_the_command_writes_what_the_library_reads(tmp_path, monkeypatch, capsys):
    class Known:
        def __init__(self, *_):
            self.digests = ("ab" * 32, "cd" * 32)

    monkeypatch.setattr(calibrate, "make_samples", lambda *_: iter([samples()]))
    monkeypatch.setattr(calibrate, "Sampler", Known)
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    for name in ("a.json", "b.json"):
        assert calibrate.main(["--photos", str(tmp_path), "--output", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()
    model = ConfidenceModel.load(tmp_path / "a.json")
    assert model.calibrated_for("ab" * 32, "cd" * 32)
    assert (model.detected.names, model.given.names) == (EVIDENCE, GIVEN)
    assert model.detected.above[EVIDENCE.index("nme")] < -0.3
    figures = json.loads((tmp_path / "a.json").read_text())["figures"]["detected"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("photos=1 good=200 failed=200 auc=")
    assert f"calibration_error={figures['calibration_error']:.4f}" in last


def test_an_empty_folder_is_an_error(tmp_path, capsys):
    assert calibrate.main(["--photos", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("calibrate: ")


def test_photos_that_give_no_clean_face_give_no_samples(tmp_path, monkeypatch):
    class Blind:
        def __init__(self, *_, **__):
            pass

        def reconstruct(self, image):
            raise NoFaceError("No face was found.")

    for name in ("OnnxBackend", "FaceDetector", "DlibModels", "Reconstructor"):
        monkeypatch.setattr(calibration_samples, name, Blind)
    Image.new("RGB", (60, 60)).save(tmp_path / "none.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    paths = sorted(tmp_path.iterdir())
    assert list(calibration_samples.make_samples(paths, None, 1, 1)) == [[], []]


@pytest.mark.parametrize(
    ("tags", "good"),
    [(["mask"], False), (["old"], True), (["old", "occl_hand"], False), (["roll"], None), ([], None)],
)
def test_what_tags_count_as(tags, good):
    assert label_of(tags) is good


def test_tags_are_read(tmp_path):
    path = tmp_path / "tags.csv"
    path.write_text("file,tags\na.jpg,mask old\nb.jpg,Child; glasses\nc.jpg,\n")
    assert read_tags(path) == {"a.jpg": ("mask", "old"), "b.jpg": ("child", "glasses"), "c.jpg": ()}
    path.write_text("a,b\n1,2\n")
    with pytest.raises(calibrate.InputError, match="columns"):
        read_tags(path)


def test_the_report_counts_and_draws(tmp_path, monkeypatch, capsys):
    (tmp_path / "tags.csv").write_text("file,tags\n")
    faces = [
        JudgedFace(f"{number}.jpg", 1, ("old",) if number < 6 else ("mask",), number < 6, value, 1.0)
        for number, value in enumerate((0.9, 0.95, 0.97, 0.5, 0.85, 0.99, 0.1, 0.6, 0.02, 0.9))
    ]
    faces += [JudgedFace("0.jpg", 2, ("old",), True, 0.2, math.nan)]
    faces += [JudgedFace("x.jpg", 1, ("odd",), None, 0.1, 1.0)]
    monkeypatch.setattr(confidence_report, "read_tags", lambda _: {})
    monkeypatch.setattr(confidence_report, "judge", lambda *_: (faces, [("n.jpg", "no-face")]))
    out = tmp_path / "out"
    command = ["report", "--photos", str(tmp_path), "--tags", "tags.csv", "--output", str(out)]
    assert calibrate.main(command) == 0
    printed = capsys.readouterr().out
    last = printed.splitlines()[-1]
    assert last.startswith("good=6 failed=4 unanswered=1 good_called_good=5 good_called_doubtful=1 ")
    assert "failed_called_good=1 failed_called_doubtful=1 failed_called_failed=2" in last
    # Of 24 pairs 0.5 loses to 0.6 and 0.9, 0.85 to 0.9; 0.9 ties with 0.9.
    assert f" auc={(24 - 3.5) / 24:.4f} " in last
    assert "| x.jpg | 1 | odd | - | 1.00 | 0.100 | failed |" in printed
    assert "no answer: n.jpg (no-face)" in printed
    assert (out / "roc.png").stat().st_size > 1000
