"""The client against the real service, over both protocols, waiting and not: all say the same."""

from __future__ import annotations

import datetime
import hashlib
import io
import ipaddress
import logging
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from client_service import SECONDS, WAYS, serving
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from gateway_support import FakeReconstructor, face_model, mean_landmarks, photo_bytes
from PIL import Image

from inversefacenet import client
from inversefacenet.client import Client, ServerError, ServiceUnavailableError, Tls
from inversefacenet.errors import (
    BackendError,
    DeadlineError,
    EmptyImageError,
    InputError,
    NoFaceError,
    UnsupportedImageError,
)
from inversefacenet.export import MEDIA_TYPES, face_mesh, mesh_to_bytes
from inversefacenet.image import decode_photo
from inversefacenet.parameters import Parameters
from inversefacenet.visualisation import face_picture

ROOT = Path(__file__).resolve().parents[2]
KEY = "ifn_secret-7Hq"
KEYS = {"tester": {"sha256": hashlib.sha256(KEY.encode()).hexdigest()}}
BLACK = photo_bytes(colour=(0, 0, 0))


@pytest.fixture(scope="module")
def reconstructor():
    return FakeReconstructor()


@pytest.fixture(scope="module")
def service(reconstructor):
    with serving(reconstructor) as running:
        yield running


@pytest.fixture
def way(request):
    return request.param


def every_way(test):
    return pytest.mark.parametrize("way", WAYS, ids=["-".join(way) for way in WAYS])(test)


def turned(red):
    """Return a photo whose face is turned by red / 255 radians."""
    return photo_bytes(colour=(red, 150, 120))


def test_all_ways_give_the_same_result(service):
    options = {"faces": "all", "parts": ["mesh", "rendering", "overlay", "contours"], "size": 64}
    results = [service.ask(way, "reconstruct", photo_bytes(), **options) for way in WAYS]
    first = results[0]
    assert len(first.faces) == 2
    assert len({result.id for result in results}) == len({result.request_id for result in results}) == 4
    for result in results:
        assert (result.model, result.width, result.height) == (first.model, 64, 48)
        assert result.overlay == first.overlay
        assert set(result.timings_ms) == set(first.timings_ms) >= {"decode", "infer"}
        for face, same in zip(result.faces, first.faces, strict=True):
            np.testing.assert_array_equal(face.parameters.vector(), same.parameters.vector())
            np.testing.assert_array_equal(face.landmarks, same.landmarks)
            assert (face.box, face.score) == (same.box, same.score)
            assert (face.mesh, face.rendering, face.contours) == (same.mesh, same.rendering, same.contours)
            assert face.placement.scale == pytest.approx(same.placement.scale)
            assert face.placement.offset == pytest.approx(same.placement.offset)
            assert face.placement.crop_offset == pytest.approx(same.placement.crop_offset)
            one, other = vars(face.quality), vars(same.quality)
            assert one["verdict"] == other["verdict"]
            for name in one.keys() - {"verdict"}:
                assert one[name] == pytest.approx(other[name])


@every_way
def test_what_comes_back_is_true(way, service):
    result = service.ask(
        way, "reconstruct", turned(51), parts=["mesh", "rendering"], mesh_format="ply", size=32
    )
    (face,) = result.faces
    np.testing.assert_array_equal(face.landmarks, mean_landmarks())
    truth = Parameters.neutral()
    truth.rotation[0] = 0.2
    np.testing.assert_allclose(face.parameters.vector(), truth.vector(), atol=1e-6)
    assert face.mesh.content == mesh_to_bytes(face_mesh(face_model(), face.parameters), "ply")
    assert face.mesh.media_type == MEDIA_TYPES["ply"]
    drawn = face_picture(face_model(), face.parameters, 32)
    np.testing.assert_array_equal(decode_photo(face.rendering.content), drawn)
    assert result.model.face_model.digest == face_model().digest


@every_way
def test_files_landmarks_and_crops(way, service, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(photo_bytes())
    assert service.ask(way, "reconstruct", path).faces[0].score == 1.25
    moved = mean_landmarks() + np.float32(1)
    (face,) = service.ask(way, "reconstruct", path, landmarks=moved).faces
    np.testing.assert_array_equal(face.landmarks, moved)
    assert face.score is None
    (face,) = service.ask(way, "reconstruct", photo_bytes(240, 240), crop=True).faces
    assert (face.landmarks, face.quality.landmark) == (None, None)
    many = [moved, moved + np.float32(1)]
    assert len(service.ask(way, "reconstruct", path, landmarks=many).faces) == 2


@every_way
def test_renderings(way, service):
    parameters = Parameters.neutral()
    picture = decode_photo(service.ask(way, "render", parameters, size=48))
    np.testing.assert_array_equal(picture, face_picture(face_model(), parameters, 48))
    grey = decode_photo(service.ask(way, "render", parameters, size=48, geometry=True))
    assert grey.shape == picture.shape
    assert (grey != picture).any()
    blue = decode_photo(service.ask(way, "render", parameters.vector(), size=48, background=(0, 0, 255)))
    np.testing.assert_array_equal(blue, face_picture(face_model(), parameters, 48, background=(0, 0, 255)))
    clear = service.ask(way, "render", parameters, size=48, background=None)
    with Image.open(io.BytesIO(clear)) as image:
        assert image.getchannel("A").getextrema() == (0, 255)
    mesh = service.ask(
        way, "render", parameters, mesh_format="ply", mesh_space="camera", mesh_colours="shaded"
    )
    assert mesh == mesh_to_bytes(face_mesh(face_model(), parameters, "camera", "shaded"), "ply")


@every_way
def test_models_and_readiness(way, service):
    (model,) = service.ask(way, "models")
    assert (model.name, model.backend, model.digest) == ("inversefacenet", "fake", "ab" * 32)
    assert service.ask(way, "ready") is True


@every_way
@pytest.mark.parametrize(
    ("photo", "options", "error", "code"),
    [
        (BLACK, {}, NoFaceError, "no-face"),
        (b"", {}, EmptyImageError, "empty-image"),
        (b"words", {}, UnsupportedImageError, "unsupported-image"),
        (photo_bytes(), {"size": 1}, ServerError, "invalid-request"),
        ("https://photos.example/a.jpg", {}, ServerError, "url-input-disabled"),
    ],
)
def test_errors(way, photo, options, error, code, service):
    with pytest.raises(error) as caught:
        service.ask(way, "reconstruct", photo, **options)
    problem = caught.value if isinstance(caught.value, ServerError) else caught.value.__cause__
    assert problem.code == code
    assert 400 <= problem.status < 500
    assert len(problem.request_id) > 8


@every_way
def test_many_photos_each_get_their_own_face(way, service):
    reds = [*range(30, 90), 0, 91]
    photos = [BLACK if red == 0 else turned(red) for red in reds]
    photos.insert(3, b"words")
    found = service.ask(way, "reconstruct_many", photos, in_flight=9)
    assert sorted(index for index, _ in found) == list(range(len(photos)))
    outcomes = dict(found)
    assert isinstance(outcomes.pop(3), UnsupportedImageError)
    assert isinstance(outcomes.pop(61), NoFaceError)
    for index, result in outcomes.items():
        red = reds[index if index < 3 else index - 1]
        assert result.faces[0].parameters.rotation[0] == pytest.approx(red / 255)
        assert result.request_id


@every_way
def test_a_failing_backend_is_tried_again_and_then_said(way):
    reconstructor = FakeReconstructor()
    with serving(reconstructor) as service:
        reconstructor.backend.error = BackendError("The network failed.")
        assert service.ask(way, "ready") is False
        before = reconstructor.backend.calls
        with pytest.raises(BackendError):
            service.ask(way, "reconstruct", photo_bytes(), client={"retries": 1})
        assert reconstructor.backend.calls >= before + 2
        reconstructor.backend.error = None
        assert service.ask(way, "ready") is True


@every_way
def test_the_server_stops_when_the_client_does(way):
    reconstructor = FakeReconstructor()
    with serving(reconstructor, workers=1) as service:
        reconstructor.detector.hold = threading.Event()
        with pytest.raises(DeadlineError):
            service.ask(way, "reconstruct", photo_bytes(), timeout=0.3)
        reconstructor.detector.hold.set()
        reconstructor.detector.hold = None
        assert service.ask(way, "reconstruct", photo_bytes()).faces
        outcomes = service.gateway.metrics.render().decode()
        assert (
            'photos_total{outcome="deadline-exceeded"} 1' in outcomes or 'outcome="cancelled"} 1' in outcomes
        )


@every_way
def test_keys_and_quotas(way, caplog):
    keys = {"tester": KEYS["tester"] | {"photos_per_minute": 1, "burst": 2}}
    with serving(FakeReconstructor(), api_keys=keys) as service, caplog.at_level(logging.DEBUG):
        with pytest.raises(ServerError) as caught:
            service.ask(way, "reconstruct", photo_bytes())
        assert (caught.value.code, caught.value.status) == ("unauthenticated", 401)
        good = {"api_key": KEY}
        for _ in range(2):
            assert service.ask(way, "reconstruct", photo_bytes(), client=good).faces
        with pytest.raises(ServerError) as caught:
            service.ask(way, "reconstruct", photo_bytes(), client=good, timeout=1)
        assert (caught.value.code, caught.value.status) == ("quota-exceeded", 429)
        assert caught.value.retry_after > 1
        assert service.ask(way, "models", client=good)
    assert KEY not in caplog.text


@every_way
def test_photos_that_are_too_many_for_one_request_are_sent_alone(way):
    keys = {"tester": KEYS["tester"] | {"photos_per_minute": 6000, "burst": 3}}
    with serving(FakeReconstructor(), api_keys=keys, max_photos=2) as service:
        found = service.ask(way, "reconstruct_many", [photo_bytes()] * 5, client={"api_key": KEY})
        assert [type(one).__name__ for _, one in found] == ["ReconstructionResult"] * 5


@every_way
def test_an_overloaded_service_is_asked_again(way):
    reconstructor = FakeReconstructor()
    with serving(reconstructor, workers=1, queue=0) as service:
        hold = reconstructor.detector.hold = threading.Event()
        first = threading.Thread(target=lambda: service.ask(WAYS[0], "reconstruct", photo_bytes()))
        first.start()
        assert reconstructor.detector.started.acquire(timeout=SECONDS)
        with pytest.raises(ServerError) as caught:
            service.ask(way, "reconstruct", photo_bytes(), client={"retries": 0})
        assert caught.value.code == "overloaded"
        assert caught.value.retry_after > 0
        threading.Timer(0.2, hold.set).start()
        assert service.ask(way, "reconstruct", photo_bytes()).faces
        first.join(SECONDS)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Paths of a certificate for this machine and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(text)
    return folder / "cert.pem", folder / "key.pem"


def test_encrypted(certificate):
    path, key = certificate
    with serving(FakeReconstructor(), tls_certificate=path, tls_key=key, api_keys=KEYS) as service:
        for way in WAYS:
            client = {"tls": Tls(ca=path), "api_key": KEY}
            assert service.ask(way, "reconstruct", photo_bytes(), client=client).faces
            # A server that nobody vouches for gets nothing, and no second try over HTTP.
            with pytest.raises(ServiceUnavailableError):
                service.ask(way, "reconstruct", photo_bytes(), client={"api_key": KEY}, timeout=2)


def test_one_client_serves_many_threads(service):
    for protocol in ("http", "grpc"):
        with Client(service.address(protocol)) as client:
            found = {}

            def work(red, client=client, found=found):
                found[red] = client.reconstruct(turned(red)).faces[0].parameters.rotation[0]

            threads = [threading.Thread(target=work, args=(red,)) for red in range(40, 56)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(SECONDS)
            assert found == {red: pytest.approx(red / 255) for red in range(40, 56)}


def examples():
    """Return the programs of the package's own description and of the README that need a service."""
    programs = [textwrap.dedent(client.__doc__.partition("::\n\n")[2].partition("\n\nNothing")[0])]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```", readme, flags=re.S)
    return programs + [program for program in found if "inversefacenet.client" in program]


@pytest.mark.parametrize("program", examples())
def test_the_examples_run(program, service, tmp_path):
    assert "Client(" in program
    for standard, protocol in (("http://127.0.0.1:8000", "http"), ("grpc://127.0.0.1:50051", "grpc")):
        program = program.replace(standard, service.address(protocol))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    for name in re.findall(r'Path\("([^"]+)"\)', program):
        assert (tmp_path / name).stat().st_size > 0


def test_wrong_options_are_said_before_anything_is_sent(service):
    before = service.gateway.metrics.render()
    with pytest.raises(InputError):
        service.ask(WAYS[0], "reconstruct", "photo.jpg")
    assert service.gateway.metrics.render().count(b"requests_total{") == before.count(b"requests_total{")
