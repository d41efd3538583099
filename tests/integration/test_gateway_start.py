"""How the service starts: settings that are refused, ports, TLS."""

import json
import socket

import pytest
from gateway_support import make_settings
from pydantic import ValidationError

from services.gateway.__main__ import _listen, main
from services.gateway.settings import Settings

KEYS = {"shop": {"sha256": "ab" * 32}}


@pytest.fixture
def pem(tmp_path):
    path = tmp_path / "some.pem"
    path.write_text("not looked into here")
    return path


def test_answers_are_not_held_back():
    with _listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_no_guard(host):
    assert make_settings(host=host).loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.example.org"])
def test_other_machines_do(host, pem):
    with pytest.raises(ValidationError, match="lets other machines in without a key"):
        make_settings(host=host, plaintext=True)
    with pytest.raises(ValidationError, match="in the clear"):
        make_settings(host=host, api_keys=KEYS)
    tls = {"tls_certificate": pem, "tls_key": pem}
    for fine in (
        {"anonymous": True, "plaintext": True},
        {"api_keys": KEYS, "plaintext": True},
        {"api_keys": KEYS, **tls},
        {"tls_client_ca": pem, **tls},
    ):
        assert not make_settings(host=host, **fine).loopback


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tls_certificate": "PEM"}, "belong together"),
        ({"tls_key": "PEM"}, "belong together"),
        ({"tls_client_ca": "PEM"}, "needs IFN_TLS_CERTIFICATE"),
        ({"tls_certificate": "PEM", "tls_key": "/nowhere.pem"}, "names no file"),
        ({"url_timeout": 40.0, "request_timeout": 30.0}, "longer than"),
        ({"triton_url": "http://triton:8001"}, "triton_url"),
        ({"triton_version": "newest"}, "triton_version"),
        ({"otlp_endpoint": "collector"}, "otlp_endpoint"),
        ({"api_keys": {"shop": {"sha256": "the key itself"}}}, "api_keys"),
        ({"backend": "triton", "triton_url": "triton:8001"}, "in the clear"),
        ({"triton_certificate": "PEM"}, "belong together"),
        ({"triton_tls": True, "triton_ca": "/nowhere.pem"}, "names no file"),
        ({"isolation": "fibres"}, "isolation"),
    ],
)
def test_what_makes_no_sense_is_refused_at_start(changes, message, pem):
    given = {name: pem if value == "PEM" else value for name, value in changes.items()}
    with pytest.raises(ValidationError, match=message):
        make_settings(**given)


def test_a_wrong_key_is_not_shown_in_the_message():
    with pytest.raises(ValidationError) as caught:
        make_settings(api_keys={"shop": {"sha256": "a secret pasted by mistake"}})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("text", "names"), [("", []), ("  ", []), ("{}", []), (json.dumps(KEYS), ["shop"])])
def test_keys_are_read_from_json(text, names, monkeypatch):
    monkeypatch.setenv("IFN_API_KEYS", text)
    assert list(Settings(_env_file=None).api_keys) == names


def test_keys_that_are_no_json_are_refused_without_a_traceback(monkeypatch, capsys):
    monkeypatch.setenv("IFN_API_KEYS", "{'shop': secret}")
    monkeypatch.setattr("sys.argv", ["gateway"])
    assert main() == 1
    message = capsys.readouterr().err
    assert "IFN_API_KEYS" in message
    assert "no JSON" in message
    assert "secret" not in message


def test_cores_are_shared_among_the_workers(monkeypatch):
    monkeypatch.setattr("services.gateway.settings.available_cores", lambda: 8)
    assert make_settings(workers=4).inference_threads == 2
    assert make_settings(workers=16).inference_threads == 1
    assert make_settings(workers=4, threads=3).inference_threads == 3
