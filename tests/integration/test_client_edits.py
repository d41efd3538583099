"""Editing by the clients and by the command: the same picture over every way, and as without a server."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from client_service import WAYS, serving
from gateway_support import FakeReconstructor, face_model, photo_bytes
from PIL import Image

import inversefacenet.cli.reconstruct as reconstruct_command
from inversefacenet.cli import main
from inversefacenet.client import Client
from inversefacenet.editing import PhotoEditor, apply_edits, light_names, parse_edits
from inversefacenet.errors import EditError, ImageError, InputError, NoFaceError
from inversefacenet.image import decode_photo
from inversefacenet.parameters import Parameters

PHOTO = photo_bytes(160, 120)
FRIEND = photo_bytes(80, 60, colour=(51, 150, 120))
EDITS = [{"edit": "relight", "direction": [1.0, 0.5, 1.0]}, {"edit": "mix", "from": "friend", "pose": 1.0}]


@pytest.fixture(scope="module")
def service():
    with serving(FakeReconstructor()) as running:
        yield running


def every_way(test):
    return pytest.mark.parametrize("way", WAYS, ids=["-".join(way) for way in WAYS])(test)


def pixels(content):
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.fixture(scope="module")
def expected():
    """What the library makes of it."""
    reconstructor = FakeReconstructor()
    (face,) = reconstructor.reconstruct(decode_photo(PHOTO))
    (friend,) = reconstructor.reconstruct(decode_photo(FRIEND))
    edits = parse_edits(EDITS, face_model(), {"friend": friend.parameters})
    edited = apply_edits(face_model(), face.parameters, edits)
    return PhotoEditor(decode_photo(PHOTO), face).edit(edits), face.parameters, edited


@every_way
def test_a_photo_comes_back_edited(way, service, expected, tmp_path):
    path = tmp_path / "friend.png"
    path.write_bytes(FRIEND)
    picture, before, after = expected
    result = service.ask(way, "edit", PHOTO, EDITS, others={"friend": path})
    assert result.picture.media_type == "image/png"
    np.testing.assert_array_equal(pixels(result.picture.content), picture)
    (face,) = result.faces
    np.testing.assert_allclose(face.parameters.vector(), after.vector(), atol=1e-5)
    np.testing.assert_allclose(face.reconstructed.vector(), before.vector(), atol=1e-5)
    assert face.quality.photometric > 0
    assert face.quality_before is None
    assert (result.width, result.height) == (160, 120)
    assert result.request_id
    assert result.timings_ms["edit"] > 0
    assert (face.score, face.box) == (1.25, (8.0, 6.0, 52.0, 42.0))


@every_way
def test_what_may_be_asked_beside_the_edits(way, service):
    turned = Parameters.neutral()
    turned.rotation[0] = 0.3
    mix = [{"edit": "mix", "from": "other", "pose": 1.0}]
    for other in (turned, turned.vector()):
        result = service.ask(
            way, "edit", PHOTO, mix, others={"other": other}, faces="all", refine=2, picture_format="jpeg"
        )
        assert result.picture.media_type == "image/jpeg"
        assert len(result.faces) == 2
        for face in result.faces:
            assert face.parameters.rotation[0] == pytest.approx(0.3)
            assert face.quality.landmark < face.quality_before.landmark
    parsed = parse_edits(mix, face_model(), {"other": turned})
    plain = service.ask(way, "edit", PHOTO, [{"edit": "neutral"}, {"edit": "pose", "yaw": 5}])
    assert plain.faces[0].parameters.expression == pytest.approx(np.zeros(64))
    neutral = parse_edits([{"edit": "neutral"}, {"edit": "pose", "yaw": 5}], face_model())
    objects = service.ask(way, "edit", PHOTO, neutral)
    assert objects.picture.content == plain.picture.content
    assert len(parsed) == 1


@every_way
def test_what_is_wrong_is_the_librarys_error(way, service):
    with pytest.raises(EditError, match=light_names()[0]):
        service.ask(way, "edit", PHOTO, [{"edit": "relight", "light": "moon"}])
    with pytest.raises(EditError) as error:
        service.ask(way, "edit", PHOTO, [{"edit": "expression", "units": {"grin": 1}}])
    assert all(name in str(error.value) for name in face_model().unit_names)
    with pytest.raises(NoFaceError, match="The photo of 'a'"):
        service.ask(way, "edit", PHOTO, [{"edit": "neutral"}], others={"a": photo_bytes(colour=(0, 0, 0))})
    with pytest.raises(EditError, match="Nothing is to be changed"):
        service.ask(way, "edit", PHOTO, [])
    with pytest.raises(InputError, match="There is no option 'parts'"):
        service.ask(way, "edit", PHOTO, [], parts=["mesh"])
    with pytest.raises(InputError, match="picture_format can't be 'gif'"):
        service.ask(way, "edit", PHOTO, [], picture_format="gif")
    with pytest.raises(EditError, match="An edit is an object"):
        service.ask(way, "edit", PHOTO, ["neutral"])
    with pytest.raises(EditError, match=r"Edit 1 .* JSON doesn't have"):
        service.ask(way, "edit", PHOTO, [{"edit": "neutral"}, {"edit": "pose", "yaw": np.float32(5)}])
    with pytest.raises(EditError):
        service.ask(way, "edit", PHOTO, [{"edit": "pose", "yaw": 10**400}])
    service.ask(way, "edit", PHOTO, [{"edit": "identity", "coefficients": {0: 1.0}}])
    with pytest.raises(ImageError, match="nowhere"):
        service.ask(way, "edit", PHOTO, [], others={"a": Path("nowhere.png")})


@every_way
def test_the_options_are_listed(way, service):
    options = service.ask(way, "edit_options")
    assert options.lights == tuple(light_names())
    assert [unit.name for unit in options.units] == list(face_model().unit_names)
    assert (options.units[0].minimum, options.units[0].maximum) == (0.0, 1.0)


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr()


def test_the_command_does_the_same_here_and_there(service, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(reconstruct_command, "make_reconstructor", lambda *_: FakeReconstructor())
    photo, friend = tmp_path / "me.png", tmp_path / "friend.png"
    photo.write_bytes(PHOTO)
    friend.write_bytes(FRIEND)
    (tmp_path / "more.json").write_text(json.dumps([{"edit": "mix", "from": "pal", "pose": 0.5}]))
    edits = ["--relight=-1,0,1", "--mix", f"{friend},pose=1", "--skin-tone", "-0.5", "--neutral"]
    edits += ["--edits", tmp_path / "more.json", "--other", f"pal={friend}", "--expression-from", friend]
    shown, pictures, documents = [], [], []
    for extra in ([], ["--server", service.address("http")], ["--server", service.address("grpc")]):
        out, numbers = tmp_path / "new" / "out.png", tmp_path / "new" / "out.json"
        arguments = ["edit", photo, "-o", out, *edits, "--refine", "1", "--parameters", numbers, *extra]
        code, printed = run(capsys, *arguments)
        assert (code, printed.err) == (0, "")
        shown.append(printed.out)
        pictures.append(pixels(out.read_bytes()))
        documents.append(json.loads(numbers.read_text()))
    assert shown[0] == shown[1] == shown[2]
    assert "photometric=" in shown[0]
    assert "->" in shown[0]
    for picture, document in zip(pictures[1:], documents[1:], strict=True):
        np.testing.assert_allclose(picture.astype(int), pictures[0].astype(int), atol=1)
        assert document["face_model"] == documents[0]["face_model"]
        for name, values in documents[0]["parameters"].items():
            np.testing.assert_allclose(document["parameters"][name], values, atol=1e-4)
    assert not np.array_equal(pictures[0], decode_photo(PHOTO))
    for name in ("out.jpg", "out.webp"):
        code, _ = run(capsys, "edit", photo, "-o", tmp_path / name, "--neutral")
        assert code == 0
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (160, 120)


def test_the_command_prints_json_if_asked(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(reconstruct_command, "make_reconstructor", lambda *_: FakeReconstructor())
    photo = tmp_path / "me.png"
    photo.write_bytes(PHOTO)
    arguments = ["edit", photo, "-o", tmp_path / "out.png", "--neutral", "--faces", "all", "--json"]
    _, printed = run(capsys, *arguments)
    first, second, path = printed.out.splitlines()
    assert [json.loads(line)["face"] for line in (first, second)] == [1, 2]
    assert path == str(tmp_path / "out.png")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--relight", "moon"], "moon"),
        (["--expression", "grin=1"], "jawOpen"),
        (["--mix", "nowhere.png"], "nowhere.png"),
        (["--edits", "nowhere.json"], "nowhere.json"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(arguments, word, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(reconstruct_command, "make_reconstructor", lambda *_: FakeReconstructor())
    photo = tmp_path / "me.png"
    photo.write_bytes(PHOTO)
    code, printed = run(capsys, "edit", photo, "-o", tmp_path / "out.png", *arguments)
    assert code == 1
    assert word in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not (tmp_path / "out.png").exists()


def test_a_photo_without_a_face_is_named_by_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(reconstruct_command, "make_reconstructor", lambda *_: FakeReconstructor())
    photo = tmp_path / "none.png"
    photo.write_bytes(photo_bytes(colour=(0, 0, 0)))
    code, printed = run(capsys, "edit", photo, "-o", tmp_path / "out.png", "--neutral")
    assert (code, "none.png" in printed.err) == (1, True)


def test_nothing_heavy_is_loaded_for_a_client():
    with Client("http://127.0.0.1:1") as client, pytest.raises(InputError):
        client.edit(b"x", [], faces="some")


def test_the_smallest_face_to_look_for_can_be_said(monkeypatch, tmp_path, capsys):
    reconstructor = FakeReconstructor()
    monkeypatch.setattr(reconstruct_command, "make_reconstructor", lambda *_: reconstructor)
    photo = tmp_path / "me.png"
    photo.write_bytes(PHOTO)
    edit = ["edit", photo, "-o", tmp_path / "out.png", "--neutral"]
    reconstruct = ["reconstruct", photo, "--output-dir", tmp_path, "--mesh", "none", "--no-geometry"]
    for size, command in ((44, edit), (45, reconstruct)):
        assert run(capsys, *command, "--minimum-size", size)[0] == 0
        assert reconstructor.detector.asked["minimum_size"] == size
        for wrong in ("0", "-1", "nan", "20000", "wide"):
            with pytest.raises(SystemExit):
                run(capsys, *command, f"--minimum-size={wrong}")
