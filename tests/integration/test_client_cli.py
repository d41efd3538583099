"""The commands with `--server`: the same files, the same words, and nothing heavy."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from client_service import serving
from gateway_support import FakeReconstructor, photo_bytes
from PIL import Image

import inversefacenet.cli.reconstruct as reconstruct_command
from inversefacenet.cli import main

KEY = "ifn_secret-7Hq"
KEYS = {"tester": {"sha256": hashlib.sha256(KEY.encode()).hexdigest()}}
PROTOCOLS = ("http", "grpc")
HEAVY = {"numba", "dlib", "_dlib_pybind11", "onnxruntime", "trimesh", "torch", "scipy", "fastapi"}


@pytest.fixture(scope="module")
def service():
    with serving(FakeReconstructor()) as running:
        yield running


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(photo_bytes())
    (folder / "b.c.jpg").write_bytes(photo_bytes(form="JPEG"))
    (folder / "none.png").write_bytes(photo_bytes(colour=(0, 0, 0)))
    (folder / "odd.png").write_bytes(b"words")
    return folder


@pytest.fixture
def here(monkeypatch):
    """Makes the commands use the same stand-ins when they work by themselves."""
    monkeypatch.setattr(reconstruct_command, "make_reconstructor", lambda *_: FakeReconstructor())


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr()


def same(document, other, path="document"):
    """Compare two parameter files; numbers may differ by rounding."""
    if isinstance(document, dict):
        assert list(document) == list(other), path
        for name in document:
            same(document[name], other[name], f"{path}.{name}")
    elif isinstance(document, float):
        assert document == pytest.approx(other, rel=1e-5, abs=1e-3), path
    elif isinstance(document, list):
        np.testing.assert_allclose(document, other, rtol=1e-5, atol=1e-3, err_msg=path)
    else:
        assert document == other, path


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("faces", ["largest", "all"])
def test_the_same_files_as_without_a_server(protocol, faces, service, photos, here, tmp_path, capsys):
    names = [photos / name for name in ("a.png", "b.c.jpg")]
    options = ["--faces", faces, "--mesh", "ply,obj,glb", "--mesh-space", "camera", "--size", "64"]
    server = ["--server", service.address(protocol)]
    printed = {}
    for place, extra in (("here", []), ("there", server)):
        out = tmp_path / place
        code, shown = run(capsys, "reconstruct", *names, "--output-dir", out, *options, *extra)
        assert (code, shown.err) == (0, "")
        printed[place] = shown.out.replace(str(out), "OUT").rpartition(" seconds=")[0]
    assert printed["here"] == printed["there"]
    files = {path.name for path in (tmp_path / "here").iterdir()}
    assert files == {path.name for path in (tmp_path / "there").iterdir()}
    assert len(files) == (18 if faces == "largest" else 36)
    for name in files:
        local, remote = ((tmp_path / place / name).read_bytes() for place in ("here", "there"))
        if name.endswith(".json"):
            same(json.loads(local), json.loads(remote))
        elif name.endswith(".glb"):
            assert local[:4] == remote[:4] == b"glTF"
            # They differ in the name of the mesh alone.
            assert abs(len(local) - len(remote)) < 100
        else:
            assert local == remote, name


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_failures_are_reported_as_without_a_server(protocol, service, photos, here, tmp_path, capsys):
    names = [photos / name for name in ("none.png", "a.png", "missing.png", "odd.png")]
    shown = []
    for extra in ([], ["--server", service.address(protocol)]):
        code, printed = run(capsys, "reconstruct", *names, "--output-dir", tmp_path / "out", *extra)
        assert code == 1
        shown.append((printed.err, printed.out.rpartition(" seconds=")[0]))
        code, printed = run(capsys, "reconstruct", *names, "--output-dir", tmp_path, "--json", *extra)
        shown[-1] += (printed.err, [json.loads(line).get("error") for line in printed.out.splitlines()])
    assert shown[0] == shown[1]
    assert [error and error["code"] for error in shown[0][3]] == [
        "no-face",
        None,
        "invalid-image",
        "unsupported-image",
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_render_draws_the_same(protocol, service, tmp_path, capsys):
    source = tmp_path / "face.json"
    source.write_text(json.dumps({"rotation": [0.3, 0, 0], "units": {"jawOpen": 0.4}}))
    options = ["--size", "48", "--mesh-space", "camera", "--mesh-colours", "shaded"]
    server = ["--server", service.address(protocol)]
    for picture, mesh in (("a.png", "a b.obj"), ("a.jpg", "a.ply")):
        written = []
        for extra in ([], server):
            out = tmp_path / ("there" if extra else "here")
            arguments = [source, "--output", out / picture, "--mesh", out / mesh, *options, *extra]
            code, printed = run(capsys, "render", *arguments)
            assert code == 0
            paths = printed.out.splitlines()
            written.append({path.removeprefix(str(out)): Path(path).read_bytes() for path in paths})
        assert written[0] == written[1]
    with Image.open(tmp_path / "there" / "a.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (48, 48))


def test_render_refuses_the_parameters_of_another_face_model(service, tmp_path, capsys, synthetic_model):
    source = tmp_path / "face.json"
    source.write_text(json.dumps({"face_model": {"name": "other", "digest": "ef" * 32}, "parameters": {}}))
    arguments = ["render", source, "--output", tmp_path / "a.png", "--server", service.address("http")]
    code, printed = run(capsys, *arguments)
    assert code == 1
    assert "belong to face model 'other'" in printed.err
    synthetic_model.save(tmp_path / "other.npz")
    code, printed = run(capsys, *arguments, "--face-model", tmp_path / "other.npz")
    assert code == 1
    assert "another face model" in printed.err


def test_without_the_servers_face_model_a_file_has_less_in_it(
    service, photos, tmp_path, capsys, synthetic_model
):
    synthetic_model.save(tmp_path / "other.npz")
    server = ["--server", service.address("http"), "--mesh", "none", "--face-model", tmp_path / "other.npz"]
    code, _ = run(capsys, "reconstruct", photos / "a.png", "--output-dir", tmp_path, *server)
    assert code == 0
    document = json.loads((tmp_path / "a.parameters.json").read_text())
    assert "model_landmarks68" not in document["face"]
    assert len(document["face"]["landmarks68"]) == 68
    assert document["face_model"]["digest"] == service.gateway.engine.model.face_model.digest


def test_the_key_comes_from_the_environment(photos, tmp_path, capsys, monkeypatch):
    with serving(FakeReconstructor(), api_keys=KEYS) as service:
        base = ["reconstruct", photos / "a.png", "--output-dir", tmp_path, "--mesh", "none"]
        base += ["--server", service.address("http")]
        code, printed = run(capsys, *base)
        assert code == 1
        assert "API key" in printed.err
        monkeypatch.setenv("IFN_API_KEY", KEY)
        assert run(capsys, *base)[0] == 0
        code, printed = run(capsys, *base, "--api-key-env", "OTHER_KEY")
        assert code == 1
        assert "OTHER_KEY" in printed.err
        monkeypatch.delenv("IFN_API_KEY")
        monkeypatch.setenv("OTHER_KEY", KEY)
        code, printed = run(capsys, *base, "--api-key-env", "OTHER_KEY")
        assert code == 0
        assert KEY not in printed.out + printed.err


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_heavy_is_loaded(protocol, service, photos, tmp_path):
    out = tmp_path / "out"
    common = ["--server", service.address(protocol)]
    commands = [
        ["reconstruct", str(photos / "a.png"), "--output-dir", str(out), "--mesh", "glb,obj", *common],
        ["render", str(out / "a.parameters.json"), "--output", str(out / "again.png"), *common],
    ]
    code = (
        "import sys\nfrom inversefacenet.cli import main\n"
        f"codes = [main(command) for command in {commands!r}]\n"
        "print(*codes, *sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    first, second, *loaded = result.stderr.split()
    assert (first, second) == ("0", "0")
    assert not set(loaded) & HEAVY
    # Nor is the other protocol's package.
    assert ("httpx" in loaded, "grpc" in loaded) == (protocol == "http", protocol == "grpc")
    assert (out / "again.png").exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_says_that_it_waits_for_the_quota(protocol, photos, tmp_path, capsys, monkeypatch):
    limited = {"tester": KEYS["tester"] | {"photos_per_minute": 60, "burst": 1}}
    monkeypatch.setenv("IFN_API_KEY", KEY)
    with serving(FakeReconstructor(), api_keys=limited) as service:
        names = [photos / "a.png", photos / "b.c.jpg"]
        extra = ["--mesh", "none", "--no-geometry", "--server", service.address(protocol)]
        code, printed = run(capsys, "reconstruct", *names, "--output-dir", tmp_path / "out", *extra)
    assert code == 0
    assert re.search(r"^inversefacenet: waiting [12] s: the quota is used up$", printed.err, re.MULTILINE)
    assert "quota" not in printed.out
    assert sorted(path.name for path in (tmp_path / "out").glob("*.overlay.png")) == [
        "a.overlay.png",
        "b.c.overlay.png",
    ]
    assert list((tmp_path / "out").glob("*geometry*")) == []
