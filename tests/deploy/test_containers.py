"""The image's and Compose's files, as far as they can be held against the service without Docker."""

import http.server
import os
import re
import runpy
import shutil
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from deploy_support import DEPLOY, ROOT

from services.gateway.settings import Settings

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILES = (ROOT / "Dockerfile", DEPLOY / "triton" / "Dockerfile")


def in_profile(profile):
    return {name: service for name, service in SERVICES.items() if profile in service["profiles"]}


def environment_of(service, **given):
    """Return the environment as Compose would make it where nothing is set but `given`."""
    result = {}
    for name, value in service["environment"].items():
        if value is None:
            if name in given:
                result[name] = given[name]
        else:
            result[name] = re.sub(
                r"\$\{(\w+):-([^}]*)\}", lambda found: given.get(found[1], found[2]), str(value)
            )
    return result


def instructions(path):
    """Return (instruction, its text) of a Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def copied_from_here(path):
    """Yield the sources of a Dockerfile's COPY instructions that lie in the checkout."""
    for instruction, text in instructions(path):
        if instruction == "COPY" and "--from" not in text:
            yield from text.split()[:-1]


# Compose.


def test_the_profiles_are_what_the_page_says():
    assert set(in_profile("cpu")) == {"gateway", "prometheus", "grafana"}
    assert set(in_profile("gpu")) == {"gateway-triton", "triton", "convert", "prometheus", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_and_only_loopback_is_published(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in service["tmpfs"]
    assert "privileged" not in service
    assert service.get("network_mode") is None
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), port
    assert "stop_grace_period" in service
    if "build" not in service:
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), "pin a version"


@pytest.mark.parametrize(("name", "backend"), [("gateway", "onnx"), ("gateway-triton", "triton")])
def test_the_gateways_settings_are_accepted(name, backend, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    service = SERVICES[name]
    image = dict(
        entry.split("=", 1)
        for instruction, text in instructions(ROOT / "Dockerfile")
        if instruction == "ENV"
        for entry in text.split()
    )
    for variable, value in (image | environment_of(service)).items():
        if variable.startswith("IFN_"):
            assert variable.removeprefix("IFN_").lower() in Settings.model_fields, variable
            monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.host == "0.0.0.0"
    assert settings.backend == backend
    inside = [int(port.rsplit(":", 1)[1]) for port in service["ports"]]
    assert inside == [settings.port, settings.grpc_port]
    grace = float(service["stop_grace_period"].removesuffix("s"))
    assert grace > settings.drain + settings.drain_delay
    # The image by itself starts only when it is told who may use it.
    for variable in ("IFN_ANONYMOUS", "IFN_PLAINTEXT"):
        with monkeypatch.context() as patch:
            patch.delenv(variable)
            with pytest.raises(ValueError, match=variable):
                Settings()


def test_triton_starts_after_its_plan_was_accepted_and_the_gateway_after_triton():
    assert SERVICES["triton"]["depends_on"] == {"convert": {"condition": "service_completed_successfully"}}
    assert SERVICES["gateway-triton"]["depends_on"] == {"triton": {"condition": "service_healthy"}}
    assert SERVICES["convert"]["restart"] == "no"
    assert SERVICES["convert"]["image"] == SERVICES["triton"]["image"]
    assert SERVICES["convert"]["volumes"] == SERVICES["triton"]["volumes"] == ["models:/models"]
    assert "--model-repository=/models/repository" in SERVICES["triton"]["command"]
    host, port = SERVICES["gateway-triton"]["environment"]["IFN_TRITON_URL"].split(":")
    assert (host, port) == ("triton", "8001")
    for name in ("convert", "triton"):
        (device,) = SERVICES[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]


def test_prometheus_finds_the_gateway_of_either_profile():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    looked_for = {
        job["job_name"]: job["dns_sd_configs"][0]
        for job in config["scrape_configs"]
        if "dns_sd_configs" in job
    }
    assert looked_for["inversefacenet"]["names"] == ["gateway"]
    assert "gateway" in in_profile("cpu")
    assert SERVICES["gateway-triton"]["networks"]["default"]["aliases"] == ["gateway"]
    assert looked_for["inversefacenet"]["port"] == 8000
    assert looked_for["triton"]["names"] == ["triton"]
    assert looked_for["triton"]["port"] == 8002


def test_volumes_and_mounted_folders_exist():
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_dir(), (name, source)
                assert volume.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"], (name, source)


# The images.


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_is_pinned_and_runs_as_nobody(path):
    lines = instructions(path)
    bases = [text.split()[0] for instruction, text in lines if instruction in ("FROM",)]
    defaults = dict(text.split("=", 1) for instruction, text in lines if instruction == "ARG")
    for base in bases:
        base = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], base)
        assert re.search(r":\d+\.\d+", base), base
    users = [text for instruction, text in lines if instruction == "USER"]
    assert users[-1] == "10001"
    for instruction, text in lines:
        if instruction == "RUN" and "pip install" in text:
            for command in text.split("&&"):
                if "pip install" in command and "--no-deps" not in command:
                    assert "--constraint constraints.txt" in command


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_what_is_copied_exists_and_is_not_ignored(path):
    ignore = (ROOT / ".dockerignore").read_text().split()
    assert ignore[0] == "*"
    for source in copied_from_here(path):
        assert (ROOT / source).exists(), source
        top = source.split("/")[0]
        assert f"!{top}" in ignore, source
        assert not any(fnmatch(source, entry) for entry in ignore[1:] if not entry.startswith("!"))


def test_the_service_image_serves_rest_and_grpc():
    lines = instructions(ROOT / "Dockerfile")
    assert ("EXPOSE", "8000 50051") in lines
    assert ("CMD", '["python", "-m", "services.gateway"]') in lines
    assert [text for instruction, text in lines if instruction == "HEALTHCHECK"]
    installed = next(text for instruction, text in lines if "'.[service" in text)
    assert "'.[service,triton,tracing]'" in installed


def test_the_files_that_tritons_image_gets_are_all_that_the_job_needs(tmp_path):
    path = DEPLOY / "triton" / "Dockerfile"
    text = path.read_text()
    final = text[text.index("FROM ${TRITON}") :]
    (tmp_path / "Dockerfile").write_text(final)
    for instruction, line in instructions(tmp_path / "Dockerfile"):
        if instruction == "COPY" and "--from" not in line:
            *sources, target = line.split()
            for source in sources:
                place = tmp_path / "image" / target
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    place = place / source.rsplit("/", 1)[1] if target.endswith("/") else place
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(ROOT / source, place)
    code = (
        "import sys; sys.argv = ['convert', '--faces', '/nowhere', '--output', '.']\n"
        "from deploy.triton.convert.__main__ import main\n"
        "status = main()\n"
        "import inversefacenet; print(inversefacenet.__file__)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'numba', 'PIL', 'dlib', 'pydantic'}))\n"
        "sys.exit(status)"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path / "image",
        env={"PYTHONPATH": str(tmp_path / "image"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    # It gets as far as its faces, which are made when the image is built.
    assert "error: The rendered faces nowhere can't be read" in result.stderr
    assert result.returncode == 1
    place, needed = result.stdout.splitlines()
    assert place.startswith(str(tmp_path))
    assert needed == "[]"


def test_the_default_command_names_what_the_image_holds():
    lines = instructions(DEPLOY / "triton" / "Dockerfile")
    command = next(text for instruction, text in lines if instruction == "CMD")
    assert "deploy.triton.convert" in command
    rendering = next(text for instruction, text in lines if "render_faces" in text)
    faces = rendering.split("render_faces ")[1].split()[0]
    assert f'"{faces}"' in command


def start(folder, seed):
    variables = {"SEED": str(seed), "NUMBA_CACHE_DIR": str(folder / "cache"), "PATH": os.environ["PATH"]}
    return subprocess.run(
        [DEPLOY / "start.sh", "echo", "started"], env=variables, capture_output=True, text=True, check=False
    )


def test_the_image_starts_with_the_compiled_code_that_it_holds(tmp_path):
    seed = tmp_path / "seed"
    (seed / "package").mkdir(parents=True)
    (seed / "package" / "function.nbc").write_text("code")
    assert start(tmp_path, seed).stdout == "started\n"
    assert (tmp_path / "cache" / "package" / "function.nbc").read_text() == "code"
    (tmp_path / "cache" / "package" / "function.nbc").write_text("newer")
    assert start(tmp_path, seed).stdout == "started\n"
    assert (tmp_path / "cache" / "package" / "function.nbc").read_text() == "newer"


def test_without_compiled_code_or_room_for_it_the_image_starts_all_the_same(tmp_path):
    assert start(tmp_path, tmp_path / "none").stdout == "started\n"
    seed = tmp_path / "seed"
    seed.mkdir()
    answer = start(tmp_path / "no" / "such" / "folder", seed)
    assert answer.stdout == "started\n"
    assert "can't be written" in answer.stderr


# The health check, against servers of all kinds.


class Answer(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self):
        self.send_response(self.status if self.path == "/v2/health/ready" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def serve():
    """Start a server on a free port; returns the port."""
    servers = []

    def start(status=200, context=None):
        handler = type("Handler", (Answer,), {"status": status})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        servers.append((server, thread))
        return server.server_address[1]

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def certificate(tmp_path):
    """A certificate of its own making, for another name; returns the file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "faces.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def check(monkeypatch, **environment):
    for name in ("IFN_PORT", "IFN_TLS_CERTIFICATE", "IFN_TLS_CLIENT_CA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    return runpy.run_path(str(DEPLOY / "healthcheck.py"))["main"]()


def test_a_ready_service_is_healthy_and_no_other(serve, monkeypatch, capsys):
    assert check(monkeypatch, IFN_PORT=serve(200)) == 0
    assert check(monkeypatch, IFN_PORT=serve(503)) == 1
    assert "not ready: HTTP Error 503" in capsys.readouterr().err
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as closed:
        port = closed.server_address[1]
    assert check(monkeypatch, IFN_PORT=port) == 1
    assert check(monkeypatch, IFN_PORT="many") == 1


def test_the_check_speaks_tls_where_the_service_does(serve, certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    port = serve(200, context)
    assert check(monkeypatch, IFN_PORT=port, IFN_TLS_CERTIFICATE=certificate) == 0
    assert check(monkeypatch, IFN_PORT=serve(503, context), IFN_TLS_CERTIFICATE=certificate) == 1


def test_where_only_clients_with_certificates_are_let_in_listening_must_do(serve, monkeypatch, certificate):
    port = serve(503)
    environment = {"IFN_TLS_CERTIFICATE": certificate, "IFN_TLS_CLIENT_CA": certificate}
    assert check(monkeypatch, IFN_PORT=port, **environment) == 0
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as closed:
        port = closed.server_address[1]
    assert check(monkeypatch, IFN_PORT=port, **environment) == 1
