"""API keys: who is let in, which headers count, and what the key maker prints."""

import hashlib
import hmac
import json
import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import Headers

from inversefacenet.errors import InputError
from services.gateway.access import ANONYMOUS, Access, ApiKey, ApiKeys, Caller, entry, new_key, read_key
from services.gateway.errors import QuotaError, UnauthenticatedError

KEYS = TypeAdapter(ApiKeys)


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


def api_key(key, **limits):
    return ApiKey(sha256=sha256(key), **limits)


@pytest.fixture
def access():
    return Access({"shop": api_key("alpha"), "lab": api_key("beta"), "press": api_key("gamma")})


def test_without_keys_everybody_is_anonymous_and_has_no_quota():
    access = Access({})
    assert not access.required
    caller = access.authenticate(None)
    assert caller == Caller(ANONYMOUS)
    assert access.authenticate("whatever") == caller
    for _ in range(1000):
        access.spend(caller, 1000)
    access.refund(caller)


@pytest.mark.parametrize(("key", "name"), [("alpha", "shop"), ("beta", "lab"), ("gamma", "press")])
def test_a_key_is_known_by_its_hash(access, key, name):
    assert access.required
    assert access.authenticate(key) == Caller(name)


@pytest.mark.parametrize("offered", [None, "", "Alpha", "alpha ", "alphaa", sha256("alpha"), "é", "\udcff"])
def test_any_other_key_is_refused_and_the_headers_are_named(access, offered):
    with pytest.raises(UnauthenticatedError, match=r"Authorization: Bearer KEY.*X-API-Key: KEY") as caught:
        access.authenticate(offered)
    assert caught.value.http_status == 401
    assert not offered or offered not in str(caught.value)


@pytest.mark.parametrize("offered", ["alpha", "gamma", "unknown"])
def test_every_stored_hash_is_compared_whichever_matches(access, monkeypatch, offered):
    compared = []

    def compare(left, right):
        compared.append((left, right))
        return left == right

    monkeypatch.setattr(hmac, "compare_digest", compare)
    try:
        access.authenticate(offered)
    except UnauthenticatedError:
        assert offered == "unknown"
    assert compared == [(sha256(offered), sha256(key)) for key in ("alpha", "beta", "gamma")]


def test_each_key_has_a_quota_of_its_own():
    access = Access(
        {
            "shop": api_key("alpha", photos_per_minute=60, burst=2),
            "lab": api_key("beta", photos_per_minute=60, burst=2),
            "free": api_key("gamma"),
        },
        clock=lambda: 0.0,
    )
    shop, lab, free = (access.authenticate(key) for key in ("alpha", "beta", "gamma"))
    access.spend(shop, 2)
    with pytest.raises(QuotaError) as caught:
        access.spend(shop)
    assert caught.value.retry_after == pytest.approx(1)
    access.spend(lab, 2)
    access.spend(free, 10_000)
    access.refund(shop)
    access.spend(shop)
    with pytest.raises(InputError, match="at most 2"):
        access.spend(lab, 3)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"authorization": "Bearer K"}, "K"),
        ({"authorization": "bearer  K "}, "K"),
        ({"x-api-key": " K "}, "K"),
        ({"x-api-key": b"K"}, "K"),
        ({"authorization": "Bearer K", "x-api-key": "K"}, "K"),
        ({"authorization": "Basic dTpw"}, None),
        ({"authorization": "Basic dTpw", "x-api-key": "K"}, "K"),
        ({"authorization": "Bearer"}, None),
        ({"authorization": "", "x-api-key": ""}, None),
        (Headers({"Authorization": "Bearer K"}), "K"),
        (Headers({"X-API-Key": "K"}), "K"),
    ],
)
def test_key_is_read_from_either_header(headers, key):
    assert read_key(headers) == key


def test_two_different_keys_are_an_error():
    with pytest.raises(UnauthenticatedError, match="different keys"):
        read_key({"authorization": "Bearer K", "x-api-key": "L"})


@pytest.mark.parametrize(
    "fields",
    [
        {"sha256": "ab" * 31},
        {"sha256": "AB" * 32},
        {"sha256": "ab" * 32 + "\n"},
        {"sha256": "the key itself"},
        {"sha256": "ab" * 32, "photos_per_minute": 0},
        {"sha256": "ab" * 32, "photos_per_minute": "inf"},
        {"sha256": "ab" * 32, "photos_per_minute": 6, "burst": 0},
        {"sha256": "ab" * 32, "burst": 4},
        {"sha256": "ab" * 32, "photos_per_hour": 4},
    ],
)
def test_an_entry_that_makes_no_sense_is_refused_without_repeating_it(fields):
    with pytest.raises(ValidationError) as caught:
        ApiKey.model_validate(fields)
    assert "the key itself" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "-a", "x" * 65, "anonymous", "a\n"])
def test_names_must_be_fit_for_labels(name):
    with pytest.raises(ValidationError):
        KEYS.validate_python({name: {"sha256": "ab" * 32}})


def test_two_names_may_not_share_a_key():
    with pytest.raises(ValidationError, match="same key"):
        KEYS.validate_python({"a": {"sha256": "ab" * 32}, "b": {"sha256": "ab" * 32}})


def test_new_keys_differ_and_hold_256_bits():
    keys = {new_key() for _ in range(64)}
    assert len(keys) == 64
    assert all(len(key) == len("ifn_") + 43 for key in keys)


def test_entry_lets_its_key_in():
    key = new_key()
    keys = KEYS.validate_json(entry("shop", key, photos_per_minute=90, burst=7))
    assert keys["shop"].photos_per_minute == 90
    assert keys["shop"].burst == 7
    assert Access(keys).authenticate(key) == Caller("shop")
    assert key not in entry("shop", key)


def make_key(*arguments):
    command = [sys.executable, "-m", "services.gateway.access", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_prints_a_key_and_its_entry(root, monkeypatch):
    monkeypatch.chdir(root)
    result = make_key("--name", "shop", "--photos-per-minute", "30")
    assert result.returncode == 0
    first, second = result.stdout.splitlines()
    key, line = first.removeprefix("key: "), second.removeprefix("entry: ")
    assert json.loads(line) == {"shop": {"sha256": sha256(key), "photos_per_minute": 30.0}}
    refused = make_key("--burst", "0")
    assert refused.returncode == 2
    assert "burst" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--name", "sh op!"), "--name: a name is 1 to 64 letters"),
        (("--name", "anonymous"), "choose another name"),
        (("--burst", "5"), "set both or neither"),
    ],
)
def test_command_says_in_words_what_is_wrong(arguments, words, root, monkeypatch):
    monkeypatch.chdir(root)
    refused = make_key(*arguments)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "[A-Z" not in refused.stderr
