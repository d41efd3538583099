"""Other software beside ours: what isn't there has no figure; photos to measure with show faces."""

import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.peers import _mediapipe
from benchmarks.photo_set import SIDES, compose
from inversefacenet.landmarks import FaceDetector

PHOTO = np.zeros((8, 8, 3), np.uint8)


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_python_without_mediapipe_gives_no_figure() -> None:
    with _mediapipe(PHOTO, Path(sys.executable)) as call:
        assert call is None


def test_a_photo_in_which_it_finds_no_face_gives_no_figure(tmp_path: Path) -> None:
    with _mediapipe(PHOTO, program(tmp_path / "python", "print('no face')")) as call:
        assert call is None


def test_each_call_is_one_answer_of_the_other_process(tmp_path: Path) -> None:
    other = program(
        tmp_path / "python",
        "import sys\nprint('ready', flush=True)\n"
        "for number, line in enumerate(sys.stdin):\n"
        "    if number == 2: break\n"
        "    print('done', flush=True)\n",
    )
    with _mediapipe(PHOTO, other) as call:
        assert call is not None
        call()
        call()
        with pytest.raises(RuntimeError, match="has ended"):
            call()


def test_photos_to_measure_with_are_of_all_sizes_and_show_faces(tmp_path: Path) -> None:
    files = compose(tmp_path)
    sides = [int(file.stem.split("-")[1]) for file in files]
    assert {side: sides.count(side) for side in SIDES} == dict.fromkeys(SIDES, len(files) // len(SIDES))
    assert sides != sorted(sides)
    assert len(files) > 24 * len(SIDES), "rendered faces are among them"
    detector = FaceDetector(hard_faces=False)
    for file in files[:3]:
        with Image.open(file) as photo:
            assert detector.detect(np.asarray(photo), faces="largest")
