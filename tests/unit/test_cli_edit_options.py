"""The options of `inversefacenet edit` as edits in their order."""

import argparse
import json
from pathlib import Path

import pytest

from inversefacenet.cli import main
from inversefacenet.cli.edit_options import add_edit_options, read_specification
from inversefacenet.errors import EditError


def read(*arguments):
    parser = argparse.ArgumentParser()
    add_edit_options(parser)
    return read_specification(parser.parse_args([str(argument) for argument in arguments]))


def test_each_option_is_an_edit():
    edits, others = read(
        *("--relight", "left", "--relight", "0,1,1", "--light-from", "a/sun.jpg"),
        *("--pose", "yaw=10,roll=-2.5", "--expression", "jawOpen=0.6,mouthSmileLeft=1"),
        *("--add-expression", "jawOpen=0.2,browInnerUp=-0.5"),
        *("--expression-from", "b/sun.jpg", "--neutral", "--identity", "0=1.5,3=-1", "--skin", "2=1"),
        *("--skin-tone", "-1", "--mix", "a/sun.jpg", "--mix", "x,y.jpg,shape=1,light=0.2"),
    )
    assert edits == [
        {"edit": "relight", "light": "left"},
        {"edit": "relight", "direction": [0.0, 1.0, 1.0]},
        {"edit": "relight", "from": "sun"},
        {"edit": "pose", "yaw": 10.0, "roll": -2.5},
        {"edit": "expression", "units": {"jawOpen": 0.6, "mouthSmileLeft": 1.0}},
        {"edit": "expression", "units": {"jawOpen": 0.2, "browInnerUp": -0.5}, "relative": True},
        {"edit": "expression", "from": "sun-2"},
        {"edit": "neutral"},
        {"edit": "identity", "coefficients": {"0": 1.5, "3": -1.0}},
        {"edit": "skin", "coefficients": {"2": 1.0}},
        {"edit": "skin", "tone": -1.0},
        {"edit": "mix", "from": "sun", "shape": 0.5, "reflectance": 0.5},
        {"edit": "mix", "from": "x,y", "shape": 1.0, "light": 0.2},
    ]
    assert others == {"sun": Path("a/sun.jpg"), "sun-2": Path("b/sun.jpg"), "x,y": Path("x,y.jpg")}


def test_edits_of_a_file_stand_where_it_is_named(tmp_path):
    path = tmp_path / "edits.json"
    path.write_text(json.dumps([{"edit": "relight", "from": "friend"}]))
    edits, others = read("--neutral", "--edits", path, "--skin-tone", "1", "--other", "friend=f.jpg")
    assert [edit["edit"] for edit in edits] == ["neutral", "relight", "skin"]
    assert others == {"friend": Path("f.jpg")}


def test_without_options_nothing_is_changed():
    assert read() == ([], {})
    assert read("--neutral")[0] == [{"edit": "neutral"}]
    assert read() == ([], {})


def test_a_photo_with_a_long_name_gets_a_name_that_servers_take():
    long = "n" * 80
    edits, others = read("--light-from", f"a/{long}.jpg", "--mix", f"b/{long}.jpg")
    assert len(others) == 2
    assert all(len(name) <= 64 for name in others)
    assert [edit["from"] for edit in edits] == list(others)


@pytest.mark.parametrize("text", ["no JSON", "{}", "[1]", f'[{{"edit": "pose", "yaw": {"9" * 5000}}}]'])
def test_a_file_that_holds_no_edits(text, tmp_path):
    path = tmp_path / "edits.json"
    path.write_text(text)
    with pytest.raises(EditError, match=r"edits\.json"):
        read("--edits", path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--relight", "1,2"], "neither a light's name nor a direction"),
        (["--relight", "1,2,up"], "'up' is no number"),
        (["--pose", "yaw"], "'yaw' is no NAME=NUMBER"),
        (["--pose", "jaw=1"], "there is yaw, pitch, roll"),
        (["--expression", "jawOpen=wide"], "'wide' is no number"),
        (["--skin-tone", "pale"], "'pale' is no number"),
        (["--mix", "a.jpg,shape=all"], "'all' is no number"),
        (["--mix", "a.jpg,shape=1,hair=1"], "there is shape, reflectance, expression, light, pose"),
        (["--other", "a.jpg"], "no NAME=PHOTO"),
        ([], "nothing is to be changed"),
        (["--neutral", "--server", "http://127.0.0.1:1", "--model", "x.onnx"], "--model and --server"),
        (["--neutral", "--server", "http://127.0.0.1:1", "--face-model", "x"], "--face-model and --server"),
    ],
)
def test_what_cannot_be_read_is_a_wrong_command(arguments, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["edit", "photo.jpg", "-o", str(tmp_path / "out.png"), *arguments])
    assert exit.value.code == 2
    assert said in capsys.readouterr().err
