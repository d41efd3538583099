"""What the benchmark of the search counts."""

import math

import numpy as np
import pytest
from PIL import Image

from benchmarks import detection
from benchmarks.detection import Outcome, composed, figures, photos_of
from inversefacenet.errors import InputError
from inversefacenet.face_search import Found


def test_figures_count_photos_with_a_face():
    def outcome(full: int, agrees: bool, fell_back: bool, width_ratio: float = 1.0) -> Outcome:
        return Outcome("photo", full, 1, agrees, fell_back, (0.02, -0.01), width_ratio, 0.1)

    found = figures(
        [
            outcome(1, True, False, 1.1),
            outcome(2, True, False, 1.3),
            outcome(1, True, True, 9.0),
            outcome(1, False, False, 9.0),
            outcome(0, False, False),
        ]
    )
    assert found["photos"] == 5
    assert found["with_face"] == 4
    assert found["recall"] == 0.75
    assert found["fell_back"] == 0.25
    assert found["found_more"] == 1
    assert found["width_ratio"] == pytest.approx(1.2)  # where the proposals' own faces agree
    assert found["shift_x"] == pytest.approx(0.02)
    assert math.isnan(figures([])["recall"])


def test_the_largest_faces_are_compared(monkeypatch):
    searches = object.__new__(detection.Searches)
    large, small = Found((0.0, 0.0, 100.0, 100.0), 1.0), Found((200.0, 0.0, 250.0, 50.0), 2.0)
    moved = Found((5.0, 2.0, 115.0, 112.0), 1.25)
    photo = np.zeros((9, 9, 3), np.uint8)
    for proposed, agrees, fell_back in (([moved], True, False), ([small], False, False), ([], True, True)):
        monkeypatch.setattr(searches, "full", lambda photo: [large, small], raising=False)
        monkeypatch.setattr(searches, "proposed", lambda photo, found=proposed: found, raising=False)
        outcome = searches.compare("one", photo)
        assert (outcome.full, outcome.agrees, outcome.fell_back) == (2, agrees, fell_back)
        if proposed == [moved]:
            assert outcome.shift == pytest.approx((0.10, 0.07))
            assert outcome.width_ratio == pytest.approx(1.1)
            assert outcome.score_difference == pytest.approx(0.25)
    monkeypatch.setattr(searches, "full", lambda photo: [], raising=False)
    nothing = searches.compare("none", photo)
    assert (nothing.full, nothing.found, nothing.agrees) == (0, 0, False)


def test_photos(tmp_path, root, monkeypatch):
    with pytest.raises(InputError, match="no photo"):
        list(photos_of(tmp_path))
    for name in ("b.png", "a.png", "c.png"):
        Image.new("RGB", (30, 20)).save(tmp_path / name)
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    assert [name for name, _ in photos_of(tmp_path)] == ["a.png", "b.png", "c.png"]
    assert [name for name, _ in photos_of(tmp_path, 2)] == ["a.png", "c.png"]
    monkeypatch.chdir(root)
    pictures = dict(composed(3))
    assert len(pictures) == 3
    assert all(min(one.shape[:2]) >= 300 for one in pictures.values())
