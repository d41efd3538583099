"""What the README says is true: its code runs, its links lead somewhere, its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# The client's example runs where a service does: tests/integration/test_client.py.
PROGRAMS = [
    program
    for program in re.findall(r"```python\n(.*?)```", README, flags=re.S)
    if "inversefacenet.client" not in program
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_python_examples_run(program, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    for name in re.findall(r'Path\("(out/[^"]+)"\)', program):
        assert (tmp_path / name).stat().st_size > 0
    # What is written goes where git doesn't look.
    assert {path.name for path in tmp_path.iterdir()} <= {"examples", "out"}


# Somebody who has only called `make run` has these packages not.
WITHOUT = """
import sys
for name in ("av", "pyarrow", "ray", "h5py", "scipy", "matplotlib"):
    sys.modules[name] = None
from inversefacenet.cli import main
sys.exit(main())
"""


def test_command_line_examples_run(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    commands = re.findall(r"^\.venv/bin/inversefacenet (.*)$", README, flags=re.M)
    commands = [command for command in commands if "clip.mp4" not in command]
    assert len(commands) == 6
    for command in commands:
        result = subprocess.run(
            [sys.executable, "-c", WITHOUT, *command.split()],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert result.returncode == 0, (command, result.stderr)
    assert (tmp_path / "out" / "again.png").stat().st_size > 0


def test_there_are_examples():
    assert len(PROGRAMS) == 3


@pytest.mark.parametrize("document", ["README.md", "docs/api.md", "docs/operations.md", "CHANGELOG.md"])
def test_links_lead_somewhere(document):
    path = ROOT / document
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("document", ["README.md", "docs/operations.md"])
def test_every_make_target_exists(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^\s*|ONCE=1 )make ([a-z-]+)", text, flags=re.M))
    assert named
    assert named <= targets
