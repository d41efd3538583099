import pickle
import re
import shlex
import sys
from pathlib import Path

import pytest

from inversefacenet import errors

GRPC_CODES = {"DEADLINE_EXCEEDED", "INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE"}

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.InverseFaceNetError)
]


def drawn_tree():
    """Read name, parent, status and code from the module's drawing."""
    found = {}
    path = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"    ([│├└─ ]*)(\w+) +(\d{3}) (\w+)$", line)
        if match:
            depth = len(match[1]) // 4
            path = [*path[:depth], match[2]]
            found[match[2]] = (path[depth - 1] if depth else "Exception", int(match[3]), match[4])
    return found


def test_drawing_shows_exactly_the_classes():
    actual = {c.__name__: (c.__base__.__name__, c.http_status, c.grpc_code) for c in CLASSES}
    assert drawn_tree() == actual
    assert len(actual) == 17


def test_slugs_are_distinct_and_fit_for_urls():
    slugs = [c.slug for c in CLASSES]
    assert len(set(slugs)) == len(slugs)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", slug) for slug in slugs)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_codes_agree_with_who_is_to_blame(kind):
    assert kind.grpc_code in GRPC_CODES
    assert (kind.http_status < 500) == (kind.grpc_code in {"INVALID_ARGUMENT", "NOT_FOUND"})
    assert issubclass(kind, errors.InputError) == (kind.grpc_code == "INVALID_ARGUMENT")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_message_is_kept_and_the_base_catches(kind):
    with pytest.raises(errors.InverseFaceNetError, match="do this"):
        raise kind("do this")


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    error = errors.MissingDependencyError("Videos need PyAV", extra="video")
    words = shlex.split(str(error).removeprefix("Videos need PyAV: "))
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    folder, extra = words[-1].rsplit("[", 1)
    assert extra == "video]"
    assert (Path(folder) / "pyproject.toml").is_file()
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    # Installed from a clone that isn't known any more.
    monkeypatch.setattr(errors, "__file__", "/nowhere/site-packages/inversefacenet/errors.py")
    assert errors.install_command("video") == "pip install '.[video]' in the project's folder"


def test_every_extra_that_is_named_exists():
    root = Path(__file__).resolve().parents[2]
    known = set(
        re.findall(r"^([a-z-]+) = \[", (root / "pyproject.toml").read_text(encoding="utf-8"), flags=re.M)
    )
    found = set()
    for folder in ("inversefacenet", "services"):
        for path in (root / folder).rglob("*.py"):
            found |= set(re.findall(r'\bextra="([a-z-]+)"', path.read_text(encoding="utf-8")))
    pydantics = {"allow", "forbid", "ignore"}
    assert {"batch", "video"} <= found - pydantics <= known
