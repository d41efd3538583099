"""Where a client sends what, and to whom it shows its key."""

import datetime
import logging
import ssl

import pytest
from client_support import SERVER, Replies, answer, ask
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inversefacenet.client import AsyncClient, Client, ConnectionSettingsError, Tls
from inversefacenet.client.address import read_address
from inversefacenet.client.connection import make_setup

KEY = "ifn_secret-7Hq"


@pytest.mark.parametrize(
    ("server", "protocol", "secure", "host", "target"),
    [
        ("http://127.0.0.1:8000", "rest", False, "127.0.0.1", "127.0.0.1:8000"),
        ("https://faces.example/api/", "rest", True, "faces.example", "faces.example"),
        ("grpc://localhost:50051", "grpc", False, "localhost", "localhost:50051"),
        ("grpcs://[::1]:50051", "grpc", True, "::1", "[::1]:50051"),
    ],
)
def test_addresses(server, protocol, secure, host, target):
    address = read_address(server)
    assert (address.protocol, address.secure, address.host, address.target) == (
        protocol,
        secure,
        host,
        target,
    )
    assert not address.text.endswith("/")


@pytest.mark.parametrize(
    ("server", "hint"),
    [
        ("127.0.0.1:8000", "no server's address"),
        ("ftp://host", "no server's address"),
        ("http://", "no server's address"),
        ("http://host:port", "no address"),
        ("http://two words", "no server's address"),
        ("http://user:q7z@host", "api_key"),
        ("http://host?key=1", "'?'"),
        ("grpc://host", "grpc://host:port"),
        ("grpc://host:1/path", "grpc://host:port"),
    ],
)
def test_what_is_no_address_is_refused(server, hint):
    with pytest.raises(ConnectionSettingsError) as caught:
        Client(server)
    assert hint in str(caught.value)
    assert "q7z" not in str(caught.value)


@pytest.mark.parametrize(
    ("server", "loopback"),
    [
        ("http://127.0.0.9", True),
        ("http://localhost", True),
        ("http://[::1]", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example", False),
        ("http://127.0.0.1.example", False),
    ],
)
def test_loopback(server, loopback):
    assert read_address(server).loopback is loopback


@pytest.mark.parametrize("server", ["http://faces.example", "grpc://faces.example:50051"])
def test_a_key_never_crosses_a_network_in_the_clear(server):
    for kind in (Client, AsyncClient):
        with pytest.raises(ConnectionSettingsError, match="read the API key"):
            kind(server, api_key=KEY)
    Client(server, api_key=KEY, allow_plaintext=True).close()
    Client(server).close()


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
def test_keys_that_cannot_be_sent(key):
    with pytest.raises(ConnectionSettingsError) as caught:
        Client(SERVER, api_key=key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_key_is_sent_and_shown_nowhere(kind, caplog):
    replies = Replies(answer({"models": []}))
    with caplog.at_level(logging.DEBUG):
        ask(kind, "models", transport=replies.transport, client={"api_key": KEY})
    (request,) = replies.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in caplog.text
    for client in (Client(SERVER, api_key=KEY), AsyncClient("grpc://localhost:1", api_key=KEY)):
        assert KEY not in repr(client)
    assert KEY not in repr(make_setup(SERVER, KEY, 1.0, 0, None, None, allow_plaintext=False))


def test_a_client_on_this_machine_asks_no_proxy(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    with Client(SERVER) as client:
        assert not client._connection._client._mounts
    with Client("http://faces.example") as client:
        assert client._connection._client._mounts


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": float("nan")}, {"retries": -1}])
def test_settings_that_make_no_sense(options):
    with pytest.raises(ConnectionSettingsError):
        Client(SERVER, **options)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Paths of a certificate and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


def test_tls_files_are_read(pair):
    certificate, key = pair
    tls = Tls(ca=certificate, certificate=certificate, key=key)
    context = tls.context()
    assert context.cert_store_stats()["x509"] == 1  # that one, and none of the system
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert tls.contents() == (certificate.read_bytes(), key.read_bytes(), certificate.read_bytes())
    for server in ("https://faces.example", "grpcs://faces.example:1"):
        Client(server, tls=tls, api_key=KEY).close()


def test_tls_files_that_cannot_be_used(pair, tmp_path):
    certificate, key = pair
    (tmp_path / "odd.pem").write_text("nothing")
    with pytest.raises(ConnectionSettingsError, match="belong together"):
        Client("https://faces.example", tls=Tls(certificate=certificate))
    with pytest.raises(ConnectionSettingsError, match="not encrypted"):
        Client("http://faces.example", tls=Tls(ca=certificate))
    for path in (tmp_path / "odd.pem", tmp_path / "missing.pem"):
        with pytest.raises(ConnectionSettingsError, match="TLS files"):
            Client("https://faces.example", tls=Tls(ca=path))
    with pytest.raises(ConnectionSettingsError, match="can't be read"):
        Client("grpcs://faces.example:1", tls=Tls(ca=tmp_path / "missing.pem"))
    assert key.exists()
