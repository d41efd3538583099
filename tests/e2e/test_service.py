"""The service as a user meets it: a process, a port, a photograph."""

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from services.gateway.schemas import Problem, ReconstructionAnswer

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "examples" / "astronaut.png"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Start the service on a free port; yields its address, ends it as an operator would."""
    log = tmp_path_factory.mktemp("service") / "log.jsonl"
    environment = {
        **os.environ,
        "IFN_HOST": "127.0.0.1",
        "IFN_PORT": "0",
        "IFN_GRPC_PORT": "0",
        "IFN_THREADS": "1",
    }
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.gateway"], cwd=ROOT, env=environment, stderr=stream
        )
    try:
        yield wait_until_ready(process, log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert not [line for line in lines if line["level"] in ("error", "critical")]


def wait_until_ready(process, log):
    for _ in range(1200):
        assert process.poll() is None, log.read_text()
        port = re.search(r'"message": "starting".*"port": (\d+)', log.read_text())
        if port:
            address = f"http://127.0.0.1:{port[1]}"
            try:
                with urllib.request.urlopen(f"{address}/v2/health/ready", timeout=10) as response:
                    assert json.load(response) == {"ready": True}
                return address
            except OSError:
                pass
        time.sleep(0.1)
    raise AssertionError(f"not ready: {log.read_text()}")


def post(address, content, query="", content_type="application/octet-stream"):
    request = urllib.request.Request(
        f"{address}/v1/reconstructions{query}", data=content, headers={"Content-Type": content_type}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)


def test_a_photograph_is_answered_in_full(service):
    answer = ReconstructionAnswer.model_validate(
        post(service, PHOTO.read_bytes(), "?return=mesh,rendering,overlay,contours")
    )
    photo = Image.open(PHOTO)
    assert (answer.image.width, answer.image.height) == photo.size
    (face,) = answer.faces
    model = MorphableModel.load_default()
    assert answer.model.face_model.digest == model.digest
    Parameters.from_dict(face.parameters.model_dump())

    # She smiles at the camera, her head in the upper half, a little left of the middle.
    landmarks = np.array(face.landmarks68)
    inside = (landmarks > (face.box.left - 30, face.box.top - 30)) & (
        landmarks < (face.box.right + 30, face.box.bottom + 30)
    )
    assert inside.all()
    assert 150 < landmarks[:, 0].mean() < 300
    assert 50 < landmarks[:, 1].mean() < 250
    assert np.abs(face.parameters.rotation).max() < np.radians(45)
    assert face.quality.iou > 0.5
    assert 0 < face.quality.photometric < 100

    mesh = trimesh.load(io.BytesIO(base64.b64decode(face.mesh.base64)), file_type="glb", force="mesh")
    assert len(mesh.vertices) == model.vertex_count
    overlay = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer.overlay.base64))))
    before = np.asarray(photo.convert("RGB"))
    changed = (overlay != before).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert changed.mean() < 0.2
    assert abs(columns.mean() - landmarks[:, 0].mean()) < 25
    assert abs(rows.mean() - landmarks[:, 1].mean()) < 40


def test_the_same_photograph_as_a_form_gives_the_same_face(service):
    boundary = "fourteen-words-of-nothing"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n'
    form = head.encode() + PHOTO.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    from_form = post(service, form, content_type=f"multipart/form-data; boundary={boundary}")
    raw = post(service, PHOTO.read_bytes())
    np.testing.assert_allclose(
        from_form["faces"][0]["parameters"]["shape"], raw["faces"][0]["parameters"]["shape"], atol=1e-5
    )


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(b"no picture", 415, "unsupported-image"), (PHOTO.read_bytes()[:50_000], 400, "truncated-image")],
)
def test_what_is_no_photograph_is_a_problem(service, content, status, code):
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(service, content)
    with caught.value as error:
        problem = Problem.model_validate_json(error.read())
    assert (error.code, problem.code) == (status, code)


def test_a_picture_without_a_face_is_a_problem(service):
    buffer = io.BytesIO()
    Image.fromarray(np.full((300, 400, 3), 127, np.uint8)).save(buffer, format="PNG")
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(service, buffer.getvalue())
    with caught.value as error:
        assert (error.code, Problem.model_validate_json(error.read()).code) == (422, "no-face")


def test_a_body_over_the_limit_is_answered_before_it_was_sent(service):
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(service, bytes(40 * 1024 * 1024), content_type="image/png")
    with caught.value as error:
        assert (error.code, Problem.model_validate_json(error.read()).code) == (413, "body-too-large")


def test_metrics_and_documentation_are_served(service):
    with urllib.request.urlopen(f"{service}/metrics", timeout=10) as response:
        assert b"inversefacenet_ready 1.0" in response.read()
    with urllib.request.urlopen(f"{service}/openapi.json", timeout=10) as response:
        assert "/v1/reconstructions" in json.load(response)["paths"]


def test_a_taken_port_is_told_at_once(service):
    port = service.rsplit(":", 1)[1]
    environment = {**os.environ, "IFN_PORT": port}
    second = subprocess.run(
        [sys.executable, "-m", "services.gateway"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert second.returncode == 1
    assert f"Can't listen on 127.0.0.1:{port}" in second.stderr.splitlines()[-1]
    assert "Traceback" not in second.stderr


def test_a_taken_grpc_port_is_told_before_anything_is_loaded():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        second = subprocess.run(
            [sys.executable, "-m", "services.gateway"],
            cwd=ROOT,
            env={**os.environ, "IFN_PORT": "0", "IFN_GRPC_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert second.returncode == 1
    last = second.stderr.splitlines()[-1]
    assert f"Can't listen on 127.0.0.1:{port}" in last
    assert "IFN_GRPC_PORT" in last


def test_a_network_that_cannot_be_loaded_is_told_in_the_last_line(tmp_path):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"nothing of the kind")
    service = subprocess.run(
        [sys.executable, "-m", "services.gateway"],
        cwd=ROOT,
        env={**os.environ, "IFN_PORT": "0", "IFN_GRPC_PORT": "", "IFN_MODEL_PATH": str(broken)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert service.returncode == 1
    assert "model.onnx can't be loaded" in service.stderr.splitlines()[-1]
    assert "Traceback" not in service.stderr


def test_a_start_that_is_called_off_ends_in_good_order(tmp_path):
    log = tmp_path / "log.jsonl"
    with log.open("wb") as stream:
        service = subprocess.Popen(
            [sys.executable, "-m", "services.gateway"],
            cwd=ROOT,
            env={**os.environ, "IFN_PORT": "0", "IFN_GRPC_PORT": ""},
            stderr=stream,
        )
    try:
        while '"starting"' not in log.read_text():
            assert service.poll() is None, log.read_text()
            time.sleep(0.02)
        time.sleep(0.3)
        service.send_signal(signal.SIGTERM)
        assert service.wait(20) == 0
    finally:
        service.kill()
        service.wait()
    assert "Traceback" not in log.read_text()
