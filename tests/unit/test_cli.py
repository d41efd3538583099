"""The commands as a user calls them; the network is replaced by one that knows the answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import inversefacenet.cli.reconstruct as reconstruct_command
from inversefacenet.cli import main, server
from inversefacenet.cli.output import MESH_FORMATS
from inversefacenet.cli.reconstruct import output_names
from inversefacenet.cli.sample import DISTRIBUTION_NAMES
from inversefacenet.client import ServerError, ServiceUnavailableError
from inversefacenet.errors import BackendError, NoFaceError
from inversefacenet.landmarks import Face
from inversefacenet.parameters import EXPRESSION, ROTATION, Parameters
from inversefacenet.reconstruction import Reconstructor
from inversefacenet.rendering import render

FILES = {"parameters.json", "glb", "rendering.png", "overlay.png", "contours.png", "geometry.png"}


class KnownNetwork:
    name = "known"
    digest = "ab" * 32

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters

    def infer(self, crops, *, timeout=None):
        return np.stack([self.parameters.vector()] * len(crops))


class Landscape:
    """Finds the rendered faces where `draw_photo` puts them: none in a photo without them."""

    def __init__(self, landmarks: np.ndarray) -> None:
        self.landmarks = landmarks

    def detect(self, image, *, faces="largest", minimum_size=None, limit=None):
        found = []
        for left in range(0, image.shape[1] - 199, 200):
            if image[100, left + 100].any():
                points = self.landmarks + np.array([left, 0], np.float32)
                found.append(Face((left + 10.0, 10.0, left + 190.0, 190.0), 1.5, points))
        if not found:
            raise NoFaceError("No face was found: use a photo that shows one.")
        return found[:1] if faces == "largest" else found


@pytest.fixture(scope="module")
def parameters(default_model) -> Parameters:
    vector = Parameters.neutral().vector()
    vector[ROTATION] = 0.3, 0.1, -0.05
    vector[EXPRESSION] = default_model.expression_from_units({"jawOpen": 0.3})
    return Parameters.from_vector(vector)


@pytest.fixture(scope="module")
def rendering(default_model, parameters):
    return render(default_model, parameters, size=200)


@pytest.fixture
def photos(tmp_path, rendering):
    """Paths of photos: one face, two faces, none, and a broken file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(rendering.image).save(folder / "one.png")
    Image.fromarray(np.concatenate([rendering.image] * 2, axis=1)).save(folder / "two.png")
    Image.fromarray(np.zeros((200, 200, 3), np.uint8)).save(folder / "none.png")
    (folder / "broken.png").write_bytes((folder / "one.png").read_bytes()[:3000])
    return folder


@pytest.fixture
def known(monkeypatch, default_model, parameters, rendering):
    """Makes the command use a detector and a network that know the answer."""
    reconstructor = Reconstructor(Landscape(rendering.landmarks), KnownNetwork(parameters), default_model)
    monkeypatch.setattr(reconstruct_command, "make_reconstructor", lambda *_: reconstructor)
    return reconstructor


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_reconstruct_writes_parameters_mesh_and_pictures(known, photos, tmp_path, capsys, parameters):
    out = tmp_path / "out"
    assert main(["reconstruct", str(photos / "one.png"), "--output-dir", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {f"one.{ending}" for ending in FILES}
    document = json.loads((out / "one.parameters.json").read_text())
    assert Parameters.from_dict(document["parameters"]).vector().tolist() == parameters.vector().tolist()
    assert document["face_model"] == {"name": known.model.name, "digest": known.model.digest}
    assert document["network"] == {"backend": "known", "digest": "ab" * 32}
    assert document["photo"] == {"name": "one.png", "width": 200, "height": 200}
    face = document["face"]
    assert (face["index"], face["count"], face["score"]) == (1, 1, 1.5)
    # The model's landmarks fall on the detector's: the answer is the truth, placed back in the photo.
    np.testing.assert_allclose(face["model_landmarks68"], face["landmarks68"], atol=0.01)
    assert set(document["quality"]) >= {"photometric", "iou", "landmark", "nme", "confidence", "verdict"}
    assert document["quality"]["photometric"] < 6
    assert picture(out / "one.rendering.png").shape == (240, 240, 3)
    assert picture(out / "one.overlay.png").shape == (200, 200, 3)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "photometric=" in printed.out.splitlines()[0]
    sure = f"confidence={document['quality']['confidence']:.2f} {document['quality']['verdict']}"
    assert printed.out.splitlines()[0].endswith(sure)
    assert all(f"one.{ending}" in printed.out for ending in FILES)
    assert printed.out.splitlines()[-1].startswith("photos=1 faces=1 failed=0 photometric=")


def test_the_placement_leads_from_the_mesh_to_the_photo(known, photos, tmp_path, rendering):
    main(["reconstruct", str(photos / "one.png"), "--output-dir", str(tmp_path), "--mesh", "none"])
    placement = json.loads((tmp_path / "one.parameters.json").read_text())["placement"]["photo"]
    x, y, z = rendering.vertices.T
    pixels = placement["scale"] * np.stack([x / (700 - z), -y / (700 - z)], 1) + placement["offset"]
    np.testing.assert_allclose(pixels, rendering.points(), atol=0.01)


def test_the_parameter_file_keeps_number_lists_on_one_line(known, photos, tmp_path):
    main(["reconstruct", str(photos / "one.png"), "--output-dir", str(tmp_path), "--mesh", "none"])
    lines = (tmp_path / "one.parameters.json").read_text().splitlines()
    (shape,) = [line for line in lines if '"shape":' in line]
    assert shape.count(",") == 128
    assert len(lines) < 260


def test_all_faces_are_numbered_by_size(known, photos, tmp_path, capsys):
    arguments = [str(photos / "two.png"), "--output-dir", str(tmp_path / "out"), "--faces", "all"]
    assert main(["reconstruct", *arguments, "--mesh", "obj,ply"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    endings = (FILES - {"glb"}) | {"obj", "mtl", "ply"}
    assert names == {f"two.{number}.{ending}" for number in (1, 2) for ending in endings}
    second = json.loads((tmp_path / "out" / "two.2.parameters.json").read_text())
    assert (second["face"]["index"], second["face"]["count"]) == (2, 2)
    # Each overlay shows its own face: the second face's picture changes the right half only.
    changed = (picture(tmp_path / "out" / "two.2.overlay.png") != picture(photos / "two.png")).any(
        axis=(0, 2)
    )
    assert changed[200:].any()
    assert not changed[:200].any()
    assert "faces=2 failed=0" in capsys.readouterr().out


def test_a_failing_photo_does_not_stop_the_others(known, photos, tmp_path, capsys):
    names = ["broken.png", "one.png", "none.png", "missing.png", "two.png"]
    code = main(
        ["reconstruct", *(str(photos / name) for name in names), "--output-dir", str(tmp_path / "out")]
    )
    printed = capsys.readouterr()
    assert code == 1
    assert (tmp_path / "out" / "one.glb").exists()
    assert (tmp_path / "out" / "two.glb").exists()
    lines = printed.err.splitlines()
    assert len(lines) == 4
    for line, name in zip(lines, ["broken.png", "none.png", "missing.png"], strict=False):
        assert line.startswith(f"inversefacenet: {photos / name}: ")
        assert line.count(name) == 1
    assert lines[3].startswith("inversefacenet: 3 of 5 photos failed: ")
    assert "Traceback" not in printed.err
    assert printed.out.splitlines()[-1].startswith("photos=5 faces=2 failed=3 ")


def test_json_lines(known, photos, tmp_path, capsys):
    names = [str(photos / "one.png"), str(photos / "none.png")]
    assert main(["reconstruct", *names, "--output-dir", str(tmp_path), "--json"]) == 1
    good, bad = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert good["photo"] == names[0]
    assert all(Path(file).exists() for file in good["files"])
    assert good["quality"]["iou"] > 0.9
    assert bad["photo"] == names[1]
    assert bad["error"]["code"] == "no-face"


def test_photos_of_one_name_do_not_overwrite_each_other():
    photos = [Path("a/x.jpg"), Path("b/x.png"), Path("x-2.jpg"), Path("c/x.jpg"), Path("a.b.jpg")]
    names = output_names(photos)
    assert names == ["x", "x-2", "x-2-2", "x-3", "a.b"]


def test_debug_shows_where_an_error_comes_from(known, photos, tmp_path):
    with pytest.raises(NoFaceError):
        main(["reconstruct", str(photos / "none.png"), "--output-dir", str(tmp_path), "--debug"])


def test_a_missing_network_is_one_clear_line(photos, tmp_path, capsys):
    arguments = ["reconstruct", str(photos / "one.png"), "--output-dir", str(tmp_path / "out")]
    assert main([*arguments, "--model", str(tmp_path / "nowhere.onnx")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "inversefacenet: The network nowhere.onnx can't be read: No such file or directory."


def test_the_model_option_reaches_the_backend(monkeypatch, tmp_path, default_model):
    seen = {}

    class Backend(KnownNetwork):
        def __init__(self, path=None):
            seen["path"] = path

    monkeypatch.setattr("inversefacenet.backends.onnx.OnnxBackend", Backend)
    assert (
        reconstruct_command.make_reconstructor(tmp_path / "a.onnx", None).model.digest == default_model.digest
    )
    assert seen["path"] == tmp_path / "a.onnx"


def test_unexpected_errors_are_one_line_too(monkeypatch, photos, tmp_path, capsys):
    def fail(*_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(reconstruct_command, "make_reconstructor", fail)
    assert main(["reconstruct", str(photos / "one.png"), "--output-dir", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "unexpected ZeroDivisionError" in line
    assert "--debug" in line


def test_an_output_folder_that_is_a_file(known, photos, tmp_path, capsys):
    target = tmp_path / "file"
    target.touch()
    assert main(["reconstruct", str(photos / "one.png"), "--output-dir", str(target)]) == 1
    assert str(target) in capsys.readouterr().err


def test_an_interrupt_ends_quietly(monkeypatch, photos, tmp_path, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(reconstruct_command, "make_reconstructor", interrupt)
    assert main(["reconstruct", str(photos / "one.png"), "--output-dir", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "inversefacenet: interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "COMMAND"),
        (["reconstruct", "a.jpg"], "--output-dir"),
        (["reconstruct", "a.jpg", "--output-dir", "o", "--mesh", "stl"], "'stl' is no mesh format"),
        (["reconstruct", "a.jpg", "--output-dir", "o", "--size", "0"], "at least 1"),
        (["render", "a.json", "--output", "a.png", "--size", "100000"], "more than"),
        (["render", "a.json"], "--output"),
        (["reconstruct", "a.jpg", "--output-dir", "o", "--server", "http://h", "--model", "m"], "exclude"),
        (["reconstruct", "a.jpg", "--output-dir", "o", "--timeout", "0"], "positive number of seconds"),
        (["render", "a.json", "--output", "a.png", "--timeout", "long"], "positive number of seconds"),
        (["sample"], "--sheet"),
        (["sample", "--sheet", "a.png", "--count", "none"], "'none' is no whole number"),
        (["sample", "--sheet", "a.png", "--seed", "-1"], "negative"),
        (["sample", "--sheet", "a.png", "--truncation", "0.01"], "at least 0.5"),
        (["sample", "--sheet", "a.png", "--distribution", "odd"], "invalid choice"),
    ],
)
def test_wrong_commands_exit_with_2_and_say_why(arguments, hint, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("command", ["reconstruct", "render", "sample"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as error:
        main([command, "--help"])
    assert error.value.code == 0
    assert "--face-model" in capsys.readouterr().out


def test_render_repeats_what_reconstruct_drew(known, photos, tmp_path, capsys):
    main(["reconstruct", str(photos / "one.png"), "--output-dir", str(tmp_path)])
    capsys.readouterr()
    source, target = tmp_path / "one.parameters.json", tmp_path / "new" / "again.png"
    mesh = tmp_path / "mesh" / "one.glb"
    assert main(["render", str(source), "--output", str(target), "--size", "240", "--mesh", str(mesh)]) == 0
    np.testing.assert_array_equal(picture(target), picture(tmp_path / "one.rendering.png"))
    assert mesh.read_bytes() == (tmp_path / "one.glb").read_bytes()
    assert capsys.readouterr().out.splitlines() == [str(target), str(mesh)]


def rendered(tmp_path, document, *options) -> np.ndarray:
    source = tmp_path / "face.json"
    source.write_text(document if isinstance(document, str) else json.dumps(document))
    assert (
        main(["render", str(source), "--output", str(tmp_path / "face.png"), "--size", "96", *options]) == 0
    )
    return picture(tmp_path / "face.png")


def test_render_takes_parts_and_rig_units(tmp_path, default_model):
    neutral = rendered(tmp_path, {})
    assert neutral.any()
    turned = rendered(tmp_path, {"rotation": [0.5, 0, 0]})
    assert (turned != neutral).any()
    units = {"jawOpen": 0.6}
    opened = rendered(tmp_path, {"units": units})
    assert (opened != neutral).any()
    coefficients = default_model.expression_from_units(units).tolist()
    np.testing.assert_array_equal(opened, rendered(tmp_path, {"expression": coefficients}))
    np.testing.assert_array_equal(opened, rendered(tmp_path, {"parameters": {}, "units": units}))
    np.testing.assert_array_equal(opened, rendered(tmp_path, {"parameters": {"units": units}}))


@pytest.mark.parametrize(
    ("document", "hint"),
    [
        ("not json", "is no JSON file"),
        ("[1, 2]", "must hold a JSON object"),
        ({"parameters": [1]}, "must be an object"),
        ({"turn": [1, 2, 3]}, "no known name"),
        ({"rotation": [1, 2]}, "'rotation' must have shape (3,)"),
        ({"rotation": [1, 2, "x"]}, "'rotation' must be numbers"),
        ('{"rotation": [0, 0, NaN]}', "not finite"),
        ({"units": {"jawOpne": 1}}, "jawOpen"),
        ({"units": {"jawOpen": "wide"}}, "must be a finite number"),
        ({"units": {"jawOpen": True}}, "must be a finite number"),
        ('{"units": {"jawOpen": Infinity}}', "must be a finite number"),
        ({"units": ["jawOpen"]}, "weights by name"),
        ({"units": {"jawOpen": 1}, "expression": [0.0] * 64}, "not both"),
        ({"face_model": {"name": "other", "digest": "cd" * 32}}, "--face-model"),
        ({"face_model": "other"}, "belong to face model 'other'"),
    ],
)
def test_render_says_what_is_wrong_with_a_parameter_file(tmp_path, capsys, document, hint):
    source = tmp_path / "face.json"
    source.write_text(document if isinstance(document, str) else json.dumps(document))
    assert main(["render", str(source), "--output", str(tmp_path / "face.png")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert hint in line
    assert not (tmp_path / "face.png").exists()


def test_render_of_a_missing_file_and_to_an_unknown_ending(tmp_path, capsys):
    missing = tmp_path / "missing.json"
    assert main(["render", str(missing), "--output", str(tmp_path / "a.png")]) == 1
    assert capsys.readouterr().err == f"inversefacenet: {missing}: No such file or directory\n"
    assert main(["render", str(missing), "--output", str(tmp_path / "a.xyz")]) == 1
    assert ".png, .jpg" in capsys.readouterr().err
    assert main(["render", str(missing), "--mesh", str(tmp_path / "a.stl")]) == 1
    assert "glb, obj, ply" in capsys.readouterr().err


def test_another_face_model_can_be_named(tmp_path, default_model):
    path = tmp_path / "model.npz"
    default_model.save(path)
    np.testing.assert_array_equal(
        rendered(tmp_path, {"rotation": [0.2, 0, 0]}, "--face-model", str(path)),
        rendered(tmp_path, {"rotation": [0.2, 0, 0]}),
    )
    path.write_bytes(b"no model")
    assert main(["render", str(tmp_path / "face.json"), "--output", "a.png", "--face-model", str(path)]) == 1


def test_sample_draws_the_same_faces_for_the_same_seed(tmp_path, capsys):
    def sheet(name, *options):
        path = tmp_path / name
        arguments = ["--sheet", str(path), "--count", "5", "--columns", "3", "--size", "48", *options]
        assert main(["sample", *arguments]) == 0
        return picture(path)

    first = sheet("a.png", "--seed", "4")
    assert first.shape == (96, 144, 3)
    assert not first[48:, 96:].any()
    np.testing.assert_array_equal(sheet("b.png", "--seed", "4"), first)
    assert (sheet("c.png", "--seed", "5") != first).any()
    assert (sheet("d.png", "--seed", "4", "--distribution", "paper") != first).any()
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "a.png")


def test_sample_writes_faces_that_render_draws_again(tmp_path, capsys):
    out = tmp_path / "faces"
    options = ["--count", "2", "--size", "96", "--truncation", "1", "--mesh", "ply"]
    assert main(["sample", "--output-dir", str(out), *options]) == 0
    assert capsys.readouterr().out == f"{out}: 2 faces\n"
    names = {path.name for path in out.iterdir()}
    assert names == {f"sample-000{i}.{end}" for i in (0, 1) for end in ("parameters.json", "png", "ply")}
    document = json.loads((out / "sample-0001.parameters.json").read_text())
    assert document["sample"] == {"distribution": "natural", "seed": 0, "index": 1}
    assert np.abs(document["parameters"]["shape"]).max() <= 1
    assert np.abs(document["parameters"]["reflectance"]).max() <= 1
    source = (out / "sample-0001.parameters.json").read_text()
    np.testing.assert_array_equal(rendered(tmp_path, source), picture(out / "sample-0001.png"))


def test_names_known_without_imports_match_what_they_stand_for():
    from inversefacenet import export, sampling

    assert set(DISTRIBUTION_NAMES) == set(sampling.DISTRIBUTIONS)
    assert MESH_FORMATS == export.MESH_FORMATS


def test_help_needs_nothing_heavy():
    code = "import sys, inversefacenet.cli as c; c.build_parser(); print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(answer.stdout.split())
    assert not loaded & {"numba", "dlib", "onnxruntime", "trimesh", "PIL", "torch"}


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--server", "http://127.0.0.1:1", "--timeout", "5"], "can't be reached"),
        (["--server", "grpc://127.0.0.1:1", "--timeout", "5"], "can't be reached"),
        (["--server", "127.0.0.1:8000"], "no server's address"),
        (["--server", "http://faces.example", "--api-key-env", "FACES_KEY"], "read the API key"),
        (["--server", "http://127.0.0.1:1", "--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY"),
        (["--server", "http://127.0.0.1:1", "--tls-ca", "ca.pem"], "not encrypted"),
        (["--server", "https://127.0.0.1:1", "--tls-ca", "nowhere/ca.pem"], "TLS files"),
    ],
)
def test_a_server_that_cannot_be_used_is_one_clear_line(options, hint, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FACES_KEY", "secret-7Hq")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    (tmp_path / "face.json").write_text("{}")
    commands = [
        [
            "reconstruct",
            str(photos / "one.png"),
            str(photos / "two.png"),
            "--output-dir",
            str(tmp_path / "out"),
        ],
        ["render", str(tmp_path / "face.json"), "--output", str(tmp_path / "face.png")],
    ]
    for command in commands:
        assert main([*command, *options]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert hint in line
        assert "secret-7Hq" not in line


def test_help_names_the_server(capsys):
    for command in ("reconstruct", "render"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "--server URL" in capsys.readouterr().out


def test_backend_errors_while_running_are_reported_by_photo(known, photos, tmp_path, capsys, monkeypatch):
    def refuse(crops, *, timeout=None):
        raise BackendError("The network failed: out of memory")

    monkeypatch.setattr(known.backend, "infer", refuse)
    assert main(["reconstruct", str(photos / "one.png"), "--output-dir", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.err == f"inversefacenet: {photos / 'one.png'}: The network failed: out of memory\n"
    assert printed.out.startswith("photos=1 faces=0 failed=1 seconds=")


def test_the_picture_of_the_geometry_can_be_left_out(known, photos, tmp_path, capsys):
    arguments = [str(photos / "one.png"), "--output-dir", str(tmp_path / "out"), "--no-geometry"]
    assert main(["reconstruct", *arguments]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"one.{ending}" for ending in FILES - {"geometry.png"}
    }
    assert "geometry" not in capsys.readouterr().out


def test_the_help_says_what_the_geometry_costs(capsys):
    with pytest.raises(SystemExit):
        main(["reconstruct", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "photo.geometry.png then costs one more request for each face" in shown
    assert "--no-geometry" in shown


def test_a_wait_is_told_of_once_for_all_photos_that_wait(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=lambda: now[0]))
    tell = server.WaitNotice()
    quota = ServerError("quota-exceeded", 429, "Too many photos.")
    proxy = ServerError("http-503", 503, "The server answered 503.")
    for moment, seconds, error in (
        (0, 5.0, ServiceUnavailableError("gone")),
        (0, 12.3, quota),
        (1, 11.0, quota),
        (13, 0.2, ServerError("overloaded", 503, "Full.")),
        (14, 1.0, proxy),
    ):
        now[0] = moment
        tell(seconds, error)
    assert capsys.readouterr().err.splitlines() == [
        "inversefacenet: waiting 13 s: the quota is used up",
        "inversefacenet: waiting 1 s: the server is busy",
        "inversefacenet: waiting 1 s: The server answered 503",
    ]
