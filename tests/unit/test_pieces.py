import json

import pytest

from inversefacenet.errors import InputError
from training.pieces import PIECE_BYTES, join, main, split


@pytest.fixture
def file(tmp_path, rng):
    path = tmp_path / "run" / "checkpoint.pt"
    path.parent.mkdir()
    path.write_bytes(rng.bytes(1000))
    return path


@pytest.mark.parametrize(("size", "count"), [(1000, 1), (999, 2), (250, 4), (300, 4), (5000, 1)])
def test_pieces_join_to_the_file(file, tmp_path, size, count):
    *pieces, listed = split(file, tmp_path / "sent", size)
    assert len(pieces) == count
    assert all(piece.stat().st_size <= size for piece in pieces)
    assert b"".join(piece.read_bytes() for piece in pieces) == file.read_bytes()
    back = join(listed, tmp_path / "back")
    assert back == tmp_path / "back" / "checkpoint.pt"
    assert back.read_bytes() == file.read_bytes()
    assert [entry.name for entry in back.parent.iterdir()] == ["checkpoint.pt"]


def test_an_empty_file_comes_back_too(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert join(split(tmp_path / "empty", tmp_path / "sent")[-1], tmp_path / "back").read_bytes() == b""


def test_pieces_are_under_16_million_bytes_by_default():
    assert PIECE_BYTES < 16_000_000


def test_missing_and_damaged_pieces_are_all_named_and_nothing_is_written(file, tmp_path):
    *pieces, listed = split(file, tmp_path / "sent", 100)
    pieces[2].unlink()
    pieces[5].write_bytes(bytes(100))
    pieces[7].write_bytes(pieces[7].read_bytes()[:-1])
    file.write_bytes(b"an older one")
    with pytest.raises(InputError, match=r"checkpoint\.pt\.002, checkpoint\.pt\.005, checkpoint\.pt\.007"):
        join(listed, file.parent)
    assert file.read_bytes() == b"an older one"
    assert [entry.name for entry in file.parent.iterdir()] == ["checkpoint.pt"]


def test_pieces_that_changed_places_are_refused(file, tmp_path):
    listed = split(file, tmp_path, 500)[-1]
    described = json.loads(listed.read_text())
    described["pieces"].reverse()
    listed.write_text(json.dumps(described))
    with pytest.raises(InputError, match="fetch them again"):
        join(listed, tmp_path / "back")


def test_a_list_leads_out_of_no_folder(file, tmp_path):
    listed = split(file, tmp_path / "sent")[-1]
    described = json.loads(listed.read_text()) | {"name": "../../elsewhere.pt"}
    listed.write_text(json.dumps(described))
    assert join(listed, tmp_path / "a" / "b") == tmp_path / "a" / "b" / "elsewhere.pt"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pieces": [1], "name": "a", "sha256": "b"}'])
def test_other_files_are_a_clear_error(tmp_path, content):
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(InputError, match="no list"):
        join(tmp_path / "list.json", tmp_path)


def test_command_line_sums_up_or_says_what_is_wrong(file, tmp_path, capsys):
    assert main(["split", str(file), "--bytes", "400", "--output", str(tmp_path / "sent")]) == 0
    assert capsys.readouterr().out.startswith("pieces=3 list=")
    file.unlink()
    listed = tmp_path / "sent" / "checkpoint.pt.pieces.json"
    assert main(["join", str(listed), "--output", str(file.parent)]) == 0
    assert f"file={file} bytes=1000" in capsys.readouterr().out
    assert main(["split", str(tmp_path / "none")]) == 1
    assert main(["split", str(file), "--bytes", "0"]) == 1
    assert capsys.readouterr().err.startswith("pieces: ")
