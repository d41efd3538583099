"""Contact sheets: what a table holds, to look at."""

import io
import json
import re

import numpy as np
import pytest
from batch_support import portrait
from PIL import Image

from inversefacenet.batch.files import write_atomically
from inversefacenet.batch.rows import read_rows
from inversefacenet.batch.sheet import SIDE, _view, make_card, write_sheet
from inversefacenet.batch.tables import table_format
from inversefacenet.batch.work import failure
from inversefacenet.cli import main
from inversefacenet.errors import InputError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render

MODEL = MorphableModel.load_default()


def row(photo="a.png", confidence=0.9, verdict="good", **changes):
    placement = render(MODEL, Parameters.neutral(), 200).placement
    return {
        "photo": photo,
        "face": 1,
        "faces": 1,
        "problem": None,
        "message": None,
        "width": 240,
        "height": 240,
        "box": [60.0, 60.0, 180.0, 180.0],
        "score": 1.0,
        "placement": [placement.scale, *placement.offset],
        "parameters": Parameters.neutral().vector(),
        "quality": {
            "photometric": 20.0,
            "photometric_visible": 20.0,
            "iou": 0.9,
            "iou_hull": 0.9,
            "landmark": 3.0,
            "nme": 0.03,
            "confidence": confidence,
            "verdict": verdict,
        },
    } | changes


@pytest.fixture
def photos(tmp_path):
    for name in ("a.png", "b<i>.png"):
        portrait().save(tmp_path / name)
    return tmp_path


def written(folder, rows, name="faces.jsonl"):
    table = folder / name
    write_atomically(table, table_format(table).encode(rows))
    return table


@pytest.mark.parametrize("name", ["faces.jsonl", "faces.parquet"])
def test_rows_are_read_as_they_were_written(photos, name):
    rows = [row(), failure("gone.png", "no-face", "none"), row("b<i>.png", confidence=0.25)]
    read = list(read_rows(written(photos, rows, name)))
    assert [one["photo"] for one in read] == ["a.png", "gone.png", "b<i>.png"]
    assert [one["problem"] for one in read] == [None, "no-face", None]
    assert read[2]["quality"]["confidence"] == pytest.approx(0.25)
    np.testing.assert_allclose(read[0]["parameters"], Parameters.neutral().vector())


def test_a_card_shows_photo_and_face(photos):
    card = make_card(row(), MODEL, photos)
    cut = np.asarray(portrait().crop((18, 18, 222, 222)).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(card.photo, cut)
    changed = np.abs(card.face.astype(int) - card.photo).max(axis=2) > 8
    assert 0.1 < changed.mean() < 0.9  # the face is there, and not everywhere
    assert card.text == "photometric 20.0, IoU 0.900, confidence 0.90"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"photo": "gone.png"}, "can't be shown"),
        ({"width": 239}, "another one"),
        (failure("a.png", "no-face", "Nobody's there."), "no-face: Nobody's there."),
    ],
)
def test_what_cannot_be_shown_says_why(photos, changes, said):
    card = make_card(row() | changes, MODEL, photos)
    assert card.photo is None
    assert said in card.text


def test_the_page_is_whole_and_escapes_names(photos):
    table = written(photos, [row("b<i>.png"), failure("gone.png", "no-face", "<b>none</b>")])
    assert write_sheet(table, photos / "sheet.html", root=photos) == (2, 2)
    page = (photos / "sheet.html").read_text()
    assert "b&lt;i&gt;.png" in page
    assert "&lt;b&gt;none&lt;/b&gt;" in page
    assert page.count("data:image/jpeg;base64,") == 2
    assert re.findall(r"https?:", page) == []


def test_a_small_face_is_cut_out_where_it_is_drawn():
    for box in ([10.3, 12.9, 31.6, 30.2], [-3.5, 2.0, 6.0, 11.5], [5.0, 5.0, 5.2, 5.2]):
        view = _view(box)
        corners = view.inverse().apply(np.array([[0.0, 0.0], [SIDE, SIDE]]))
        np.testing.assert_allclose(corners, np.rint(corners), atol=1e-4)
        middle = view.apply(np.array([[(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]]))
        assert np.abs(middle - SIDE / 2).max() <= view.scale


@pytest.mark.parametrize("name", ["two\nlines.png", "no\udcfftext.png"])
@pytest.mark.parametrize("sheet", ["sheet.html", "sheet.png"])
def test_photos_may_have_any_name(photos, name, sheet):
    table = written(photos, [row(name)])
    assert write_sheet(table, photos / sheet, root=photos) == (1, 1)


def test_the_picture_opens_and_holds_every_card(photos):
    table = written(photos, [row() for _ in range(5)])
    write_sheet(table, photos / "sheet.png", root=photos)
    picture = np.asarray(Image.open(io.BytesIO((photos / "sheet.png").read_bytes())))
    shown = make_card(row(), MODEL, photos).face
    found = sum(
        np.array_equal(picture[top : top + SIDE, left : left + SIDE], shown)
        for top in range(picture.shape[0] - SIDE)
        for left in range(picture.shape[1] - SIDE)
        if np.array_equal(picture[top, left], shown[0, 0])
    )
    assert found == 5


def test_the_worst_come_first_and_long_tables_are_sampled(photos):
    rows = [row(confidence=c) for c in np.linspace(0.1, 0.9, 9)]
    rows.append(failure("gone.png", "no-face", "none"))
    table = written(photos, rows)
    shown = photos / "sheet.html"
    assert write_sheet(table, shown, limit=3, order="worst", root=photos) == (3, 10)
    text = re.findall(r"confidence ([\d.]+)|(no-face)", shown.read_text())
    assert text == [("", "no-face"), ("0.10", ""), ("0.20", "")]
    assert write_sheet(table, shown, limit=3, root=photos) == (3, 10)
    assert re.findall(r"confidence ([\d.]+)|(no-face)", shown.read_text()) == [
        ("0.10", ""),
        ("0.50", ""),
        ("", "no-face"),
    ]


def test_an_empty_table_is_an_empty_sheet(photos):
    table = written(photos, [])
    assert write_sheet(table, photos / "sheet.html") == (0, 0)
    assert write_sheet(table, photos / "sheet.png") == (0, 0)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.jsonl", None, "no such file"),
        ("a.csv", b"", r"\.parquet or \.jsonl"),
        ("a.jsonl", b"{}\n", "row 1"),
        ("a.jsonl", b"photo\n", "no JSON"),
        ("a.jsonl", b"\xff\xfe\n", "no JSON"),
        ("a.jsonl", json.dumps({n: None for n in row() if n != "quality"}).encode(), "row 1"),
        ("a.parquet", b"photo", "no Parquet"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        write_sheet(tmp_path / name, tmp_path / "sheet.html")
    assert not (tmp_path / "sheet.html").exists()


def test_what_is_no_sheet_is_refused_before_any_work(tmp_path):
    with pytest.raises(InputError, match=r"\.html or \.png"):
        write_sheet(tmp_path / "gone.jsonl", tmp_path / "sheet.pdf")
    with pytest.raises(InputError, match="at most 400"):
        write_sheet(tmp_path / "gone.jsonl", tmp_path / "sheet.png", limit=401)


def test_batch_and_sheet_by_command(photos, capsys, monkeypatch):
    monkeypatch.chdir(photos)
    (photos / "broken.jpg").write_bytes(b"no photo")
    assert main(["batch", ".", "--output", "faces.jsonl", "--workers", "1", "--sheet", "faces.html"]) == 0
    assert (photos / "faces.html").read_text().count("<figure>") == 3
    assert main(["sheet", "faces.jsonl", "-o", "worst.png", "--worst-first"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "shown=3 rows=3 output=worst.png"
    assert main(["batch", ".", "--output", "other.jsonl", "--sheet", "faces.pdf"]) == 1
    assert not (photos / "other.jsonl").exists()
    rows = [json.loads(line) for line in (photos / "faces.jsonl").read_text().splitlines()]
    assert [one["problem"] is None for one in rows] == [True, True, False]
