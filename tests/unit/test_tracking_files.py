"""Tracks as tables, a video as a whole, and the command that makes them."""

import json
import math

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from tracking_support import empty, make, person, run, scene, turned

from benchmarks import tracking as benchmark
from inversefacenet.cli import main
from inversefacenet.errors import InputError
from inversefacenet.tracking.intervals import Summary, clock
from inversefacenet.tracking.table import write_table
from inversefacenet.tracking.video import open_video, write_video

RATE = 10.0


@pytest.fixture(scope="module")
def found(synthetic_model):
    """Two frames with a face, two without, one with it again."""
    face = scene(synthetic_model, turned(person(1)))
    tracker, tripod = make(synthetic_model, search_seconds=0.0)
    return run(tracker, tripod, [face] * 2 + [empty()] * 2 + [face], rate=RATE)


def test_intervals_without_a_face(found):
    summary = Summary()
    ended = [summary.add(one) for one in found]
    assert [one is not None for one in ended] == [False] * 4 + [True]
    assert summary.finish(0.1) is None
    assert summary.to_dict() == {
        "frames": 5,
        "tracked": 1,
        "detected": 2,
        "lost": 2,
        "searches": 4,
        "people": 1,
        "video_seconds": 0.5,
        "without_a_face": [{"from": 0.2, "to": 0.4, "frames": 2}],
    }


def test_a_video_that_ends_without_a_face(found):
    summary = Summary()
    for one in (found[0], found[2], found[3]):
        summary.add(one)
    last = summary.finish(0.1)
    assert (last.start, last.end, last.frames) == pytest.approx((0.2, 0.4, 2))
    assert summary.finish(0.0) is None, "it is told once"


def test_clock():
    assert [clock(seconds) for seconds in (0, 1.2345, 59.9999, 3725.5)] == [
        "0:00.000", "0:01.234", "1:00.000", "62:05.500",
    ]  # fmt: skip


def test_both_kinds_of_table_hold_the_same(tmp_path, found):
    for name in ("faces.jsonl", "faces.parquet"):
        with write_table(tmp_path / name) as table:
            for index, one in enumerate(found):
                table.write(index, one)
    lines = [json.loads(line) for line in (tmp_path / "faces.jsonl").read_text().splitlines()]
    rows = pyarrow.parquet.read_table(tmp_path / "faces.parquet").to_pylist()
    assert [row["state"] for row in lines] == ["detected", "tracking", "lost", "lost", "detected"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.jsonl", "faces.parquet"]
    for line, row, one in zip(lines, rows, found, strict=True):
        assert list(line) == list(row)
        assert line["seconds"] == row["seconds"] == one.seconds
        if one.reconstruction is None:
            assert line["parameters"] is row["landmarks"] is row["quality"] is None
            continue
        np.testing.assert_allclose(line["parameters"], one.reconstruction.parameters.vector(), atol=1e-6)
        np.testing.assert_allclose(row["parameters"], one.reconstruction.parameters.vector())
        np.testing.assert_allclose(row["network_parameters"], one.answer.parameters.vector())
        np.testing.assert_allclose(np.reshape(row["found_landmarks"], (68, 2)), one.landmarks)
        np.testing.assert_allclose(
            np.reshape(line["landmarks"], (68, 2)), one.reconstruction.face.landmarks, atol=1e-5
        )
        placement = one.reconstruction.photo_placement
        assert line["placement"] == pytest.approx([placement.scale, *placement.offset], abs=1e-5)
        assert line["quality"]["photometric"] == one.reconstruction.quality.photometric
        assert line["quality"]["verdict"] == row["quality"]["verdict"]


def test_a_table_that_fails_leaves_nothing(tmp_path, found):
    def stop_half_way(path):
        with write_table(path) as table:
            table.write(0, found[0])
            raise ZeroDivisionError

    for name in ("faces.parquet", "faces.jsonl"):
        with pytest.raises(ZeroDivisionError):
            stop_half_way(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"\.jsonl or \.parquet"), write_table(tmp_path / "faces.csv"):
        pass


@pytest.fixture(scope="module")
def clip(root, tmp_path_factory):
    """A portrait that moves a little, leaves for half a second, and comes back."""
    path = tmp_path_factory.mktemp("clip") / "portrait.mp4"
    with Image.open(root / "examples" / "astronaut.png") as image:
        photo = np.asarray(image.convert("RGB"))
    with write_video(path, RATE) as writer:
        for number in range(14):
            x = 100 + 2 * number
            frame = (
                photo[0:200, x : x + 220] if not 5 <= number < 10 else np.full((200, 220, 3), 90, np.uint8)
            )
            writer.write(np.ascontiguousarray(frame), number / RATE)
    return path


def test_a_clip_is_tracked(clip, tmp_path, capsys):
    output, shown = tmp_path / "faces.jsonl", tmp_path / "shown.mp4"
    arguments = [
        "track",
        str(clip),
        "--output",
        str(output),
        "--video",
        str(shown),
        "--side-by-side",
        "--json",
    ]
    assert main(arguments) == 0
    said = capsys.readouterr()
    summary = json.loads(said.out)
    states = [json.loads(line)["state"] for line in output.read_text().splitlines()]
    assert states[:10] == ["detected"] + ["tracking"] * 4 + ["lost"] * 5
    again = states.index("detected", 10)
    assert again <= 12
    assert summary["frames"] == 14
    assert summary["lost"] == states.count("lost")
    assert summary["without_a_face"] == [
        {"from": 0.5, "to": pytest.approx(again / RATE, abs=0.001), "frames": again - 5}
    ]
    assert summary["people"] >= 1
    assert (summary["output"], summary["overlay"]) == (str(output), str(shown))
    assert f"no face from 0:00.500 to {clock(again / RATE)} ({again - 5} frames)" in said.err
    with open_video(shown) as video, open_video(clip) as source:
        pairs = list(zip(video, source, strict=True))
    assert len(pairs) == 14
    for number, (frame, own) in enumerate(pairs):
        assert frame.seconds == pytest.approx(number / RATE, abs=0.002)
        left, right = frame.image[:, :220].astype(int), frame.image[:, 220:].astype(int)
        assert np.abs(left - own.image).mean() < 4
        # The face is laid over where there is one, and nothing where there is none.
        assert (np.abs(left - right).mean() > 1) == (states[number] != "lost")


def test_a_clip_without_a_face_says_so(tmp_path, capsys):
    path = tmp_path / "grey.mp4"
    with write_video(path, RATE) as writer:
        for number in range(4):
            writer.write(np.full((90, 120, 3), 90 + number, np.uint8), number / RATE)
    assert main(["track", str(path)]) == 1
    said = capsys.readouterr()
    assert "frames=4 tracked=0 detected=0 lost=4" in said.out
    assert "no face from 0:00.000 to 0:00.400 (4 frames)" in said.err
    assert "no face was found in the whole video" in said.err


def test_what_is_wrong_with_the_command_is_told_at_once(tmp_path, capsys, clip):
    wrong = tmp_path / "wrong.mp4"
    wrong.write_bytes(b"no video")
    assert main(["track", str(wrong)]) == 1
    assert "wrong.mp4: this is no video" in capsys.readouterr().err
    assert main(["track", str(clip), "--output", str(tmp_path / "faces.csv")]) == 1
    assert ".jsonl or .parquet" in capsys.readouterr().err
    assert main(["track", str(clip), "--video", str(tmp_path / "shown.gif")]) == 1
    assert ".mp4, .mov, .mkv" in capsys.readouterr().err
    for arguments in (["--side-by-side"], ["--video", str(clip)]):
        with pytest.raises(SystemExit):
            main(["track", str(clip), *arguments])
    assert "name another file" in capsys.readouterr().err


def test_the_benchmark_compares_both_ways(clip, tmp_path, capsys):
    assert benchmark.main([str(clip), "--output", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["alone"]["searches"] == 14
    assert figures["tracked"]["searches"] < 14
    assert math.isfinite(figures["tracked"]["photometric"])
    assert "jitter_ratio=" in capsys.readouterr().out.splitlines()[-1]
    assert benchmark.main([str(tmp_path / "none.mp4")]) == 1
