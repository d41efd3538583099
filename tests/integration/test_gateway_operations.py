"""What operators see of the service: health, metrics, logs, settings, its documentation."""

import asyncio
import io
import json
import logging
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from gateway_support import (
    FakeReconstructor,
    broken_backend_error,
    face_model,
    gateway_of,
    make_settings,
    metric,
    photo_bytes,
    running,
    serve,
    wait_started,
)
from pydantic import ValidationError

import inversefacenet.errors
import services.gateway.errors
from inversefacenet.confidence import ConfidenceModel
from inversefacenet.errors import BackendError
from services.gateway.__main__ import main
from services.gateway.errors import NotReadyError
from services.gateway.gateway import Gateway
from services.gateway.logging_config import JsonFormatter
from services.gateway.settings import Settings, settings_table, unknown_variables

URL = "/v1/reconstructions"
PNG = {"Content-Type": "image/png"}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def log_lines():
    """Collect what the service would write, as the JSON that it would be."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    gateway_logger = logging.getLogger("services.gateway")
    gateway_logger.addHandler(handler)
    gateway_logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    gateway_logger.removeHandler(handler)
    gateway_logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("path", ["/v2/health/live", "/healthz"])
def test_live_answers_even_when_the_backend_fails(path):
    reconstructor = FakeReconstructor()

    async def check(client):
        reconstructor.backend.error = broken_backend_error()
        assert (await client.get(path)).json() == {"live": True}

    serve(check, reconstructor)


@pytest.mark.parametrize("path", ["/v2/health/ready", "/readyz"])
def test_ready_follows_the_backend(path):
    reconstructor = FakeReconstructor()

    async def check(client):
        assert (await client.get(path)).json() == {"ready": True}
        reconstructor.backend.error = broken_backend_error()
        refused = await client.get(path)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["code"] == "not-ready"
        assert "secret" not in refused.text
        assert metric((await client.get("/metrics")).text, "inversefacenet_ready") == 0
        reconstructor.backend.error = None
        assert (await client.get(path)).status_code == 200
        assert metric((await client.get("/metrics")).text, "inversefacenet_ready") == 1

    serve(check, reconstructor)


def test_a_proof_holds_for_the_interval():
    reconstructor = FakeReconstructor()

    async def check(client):
        calls = reconstructor.backend.calls
        for _ in range(5):
            assert (await client.get("/readyz")).status_code == 200
        assert reconstructor.backend.calls == calls == 1

    serve(check, reconstructor, probe_interval=300)


def test_a_backend_that_hangs_is_not_ready_and_holds_one_thread():
    reconstructor = FakeReconstructor()

    async def check(client):
        hold = reconstructor.backend.hold = threading.Event()
        before = reconstructor.backend.calls
        for _ in range(3):
            assert (await client.get("/readyz")).status_code == 503
        assert reconstructor.backend.calls == before + 1
        assert len(gateway_of(client).engine._pool._urgent) <= 1
        assert (await client.get("/healthz")).status_code == 200
        reconstructor.backend.hold = None
        hold.set()
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0)

    serve(check, reconstructor, probe_timeout=0.05)


def test_a_backend_that_fails_at_start_stops_the_start():
    reconstructor = FakeReconstructor()
    reconstructor.backend.error = BackendError("no answer")

    async def start():
        async with running(reconstructor):
            pass

    with pytest.raises(NotReadyError):
        asyncio.run(start())


def test_counters_have_the_outcome_of_each_request():
    async def check(client):
        await client.post(URL, content=photo_bytes(), headers=PNG)
        await client.post(f"{URL}?faces=all", content=photo_bytes(), headers=PNG)
        await client.post(URL, content=photo_bytes(colour=(0, 0, 0)), headers=PNG)
        await client.post(URL, content=b"", headers=PNG)
        for number in range(5):
            await client.get(f"/unknown/{number}")
        text = (await client.get("/metrics")).text
        name = "inversefacenet_requests_total"
        assert metric(text, name, route=URL, outcome="ok") == 2
        assert metric(text, name, route=URL, outcome="no-face") == 1
        assert metric(text, name, route=URL, outcome="empty-image") == 1
        assert metric(text, name, route="unmatched", outcome="not-found") == 5
        assert metric(text, "inversefacenet_faces_total") == 3
        assert metric(text, "inversefacenet_request_seconds_count", route=URL) == 4
        assert metric(text, "inversefacenet_stage_seconds_count", stage="infer") == 2
        assert metric(text, "inversefacenet_stage_seconds_count", stage="encode") == 2
        assert metric(text, "inversefacenet_stage_seconds_count", stage="whole") == 2
        assert metric(text, "inversefacenet_stage_seconds_count", stage="queue") == 4
        assert metric(text, "inversefacenet_photometric_error_count") == 3
        assert metric(text, "inversefacenet_confidence_count") == 3
        assert metric(text, "inversefacenet_requests_in_flight") == 1
        assert metric(text, "inversefacenet_workers_busy") == 0
        assert metric(text, "inversefacenet_model_info", face_model=face_model().name) == 1
        assert "/unknown/" not in text

    serve(check)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_network_that_the_confidence_was_not_made_for_is_served_and_told(where, caplog):
    shipped = ConfidenceModel.for_network("")
    assert shipped.face_model == face_model().digest
    warning = "the confidence in answers is not calibrated for this network"

    async def start(digest):
        reconstructor = FakeReconstructor()
        backend = reconstructor.backend
        remote = None
        if where == "here":
            backend.digest = digest
        else:
            remote = SimpleNamespace(name="triton", version="3", digest=digest)

            async def infer(crops, *, timeout=None, metadata=None):
                return backend.infer(crops)

            async def close():
                return None

            remote.infer_async, remote.close_async = infer, close
        gateway = Gateway(make_settings(), reconstructor, remote)
        await gateway.open()
        model = gateway.engine.model
        await gateway.close()
        return model.digest, model.confidence_calibrated

    assert asyncio.run(start("cd" * 32)) == ("cd" * 32, False)
    assert warning in caplog.text
    caplog.clear()
    assert asyncio.run(start(shipped.network)) == (shipped.network, True)
    if where == "here":  # elsewhere what the worker holds is seen first
        assert warning not in caplog.text


def test_gauges_show_work_and_queue():
    reconstructor = FakeReconstructor()
    reconstructor.detector.hold = threading.Event()

    async def check(client):
        tasks = [asyncio.create_task(client.post(URL, content=photo_bytes(), headers=PNG)) for _ in range(2)]
        await wait_started(reconstructor)
        while gateway_of(client).engine._pool._occupied < 2:
            await asyncio.sleep(0)
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_workers_busy") == 1
        assert metric(text, "inversefacenet_queue_length") == 1
        assert metric(text, "inversefacenet_requests_in_flight") == 3
        reconstructor.detector.hold.set()
        await asyncio.gather(*tasks)
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_queue_length") == 0
        assert metric(text, "inversefacenet_requests_in_flight") == 1

    serve(check, reconstructor)


def test_applications_do_not_share_counters():
    async def check(client):
        await client.post(URL, content=photo_bytes(), headers=PNG)
        text = (await client.get("/metrics")).text
        assert metric(text, "inversefacenet_requests_total", route=URL, outcome="ok") == 1

    serve(check)
    serve(check)


def test_each_request_has_one_log_line_with_its_id(log_lines):
    async def check(client):
        headers = {**PNG, "X-Request-ID": "job-7"}
        await client.post(URL, content=photo_bytes(), headers=headers)
        await client.get("/healthz")

    serve(check)
    requests = [line for line in log_lines() if line["message"] == "request"]
    assert len(requests) == 2
    posted, health = requests
    assert posted["request_id"] == "job-7"
    assert posted["level"] == "info"
    assert (posted["method"], posted["route"], posted["status"]) == ("POST", URL, 200)
    assert (posted["outcome"], posted["faces"], posted["bytes_in"]) == ("ok", 1, len(photo_bytes()))
    assert health["level"] == "debug"


def test_checks_of_a_service_that_is_not_ready_do_not_fill_the_log(log_lines):
    reconstructor = FakeReconstructor()

    async def check(client):
        reconstructor.backend.error = broken_backend_error()
        for path in ("/readyz", "/v2/health/ready"):
            assert (await client.get(path)).status_code == 503

    serve(check, reconstructor, probe_interval=0.001)
    levels = [line["level"] for line in log_lines() if line["message"] == "request"]
    assert levels == ["debug", "debug"]
    assert [line["level"] for line in log_lines() if "probe failed" in line["message"]] == ["error"]


def test_logs_hold_neither_the_photo_nor_its_name(log_lines):
    reconstructor = FakeReconstructor()
    marker = "a-private-name"

    async def check(client):
        form = {"photo": (f"{marker}.png", photo_bytes(), "image/png")}
        assert (await client.post(URL, files=form)).status_code == 200
        assert (await client.post(f"{URL}?note={marker}", files=form)).status_code == 422
        text = {"photo": (f"{marker}.png", marker.encode() * 9)}
        assert (await client.post(URL, files=text)).status_code == 415
        reconstructor.detector.error = RuntimeError("unforeseen")
        assert (await client.post(URL, files=form)).status_code == 500

    serve(check, reconstructor)
    lines = log_lines()
    assert len([line for line in lines if line["message"] == "request"]) == 4
    assert marker not in json.dumps(lines)
    (fault,) = [line for line in lines if line["level"] == "error"]
    assert "unforeseen" in fault["exception"]
    assert fault["request_id"] == lines[-1]["request_id"]


def test_a_log_line_is_one_line_of_json():
    record = logging.makeLogRecord(
        {"msg": "two\nlines %s", "args": ("ü",), "levelname": "INFO", "name": "x", "path": Path("a")}
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["message"], fields["level"], fields["path"]) == ("two\nlines ü", "info", "a")
    assert fields["time"].endswith("+00:00")


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("IFN_PORT", "8123")
    monkeypatch.setenv("IFN_LOG_LEVEL", "debug")
    monkeypatch.setenv("IFN_MODEL_PATH", "")
    settings = Settings(_env_file=None)
    assert (settings.port, settings.log_level, settings.model_path) == (8123, "debug", None)
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(
    "values",
    [
        {"port": 70000},
        {"workers": 0},
        {"backend": "magic"},
        {"max_body_bytes": 1},
        {"log_level": "loud"},
        {"model_path": "no/such/file.onnx"},
        {"face_model_path": "no/such/file.npz"},
    ],
)
def test_settings_that_make_no_sense_are_refused(values):
    with pytest.raises(ValidationError):
        make_settings(**values)


def test_a_misspelt_setting_is_noticed(monkeypatch):
    monkeypatch.setenv("IFN_PROT", "1")
    monkeypatch.setenv("IFN_STUDIO_PORT", "1")  # the studio's own
    assert unknown_variables() == ["IFN_PROT"]


def test_a_wrong_setting_is_told_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("IFN_WORKERS", "many")
    monkeypatch.setattr("sys.argv", ["gateway"])
    assert main() == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "IFN_WORKERS" in message
    assert message.count("\n") == 1


def test_the_operations_guide_lists_every_setting():
    assert settings_table() in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_the_page_of_the_interface_lists_every_problem():
    guide = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    classes = {
        one
        for module in (inversefacenet.errors, services.gateway.errors)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, inversefacenet.errors.InverseFaceNetError)
    }
    assert len(classes) > 20
    slugs = {one.slug for one in classes} | {"invalid-request", "method-not-allowed"}
    # A mesh that can't be written is told as parameters that can't be used; videos are files of the command.
    slugs -= {"invalid-export", "invalid-video"}
    assert {slug for slug in slugs if f"`{slug}`" not in guide} == set()


def test_the_operations_guide_lists_every_metric():
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

    async def check(client):
        text = (await client.get("/metrics")).text
        names = set(re.findall(r"^# TYPE (inversefacenet_\w+) ", text, flags=re.M))
        names = {name for name in names if not name.endswith("_created")}
        assert len(names) > 10
        assert {name for name in names if f"`{name}`" not in guide} == set()

    serve(check)
