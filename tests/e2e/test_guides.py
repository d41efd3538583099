"""What the guides show runs word for word: every command, and every program that needs no service."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))


def blocks(kind):
    return [
        pytest.param(block, id=f"{guide.stem}-{number}")
        for guide in GUIDES
        for number, block in enumerate(
            re.findall(rf"```{kind}\n(.*?)```", guide.read_text(encoding="utf-8"), flags=re.S)
        )
    ]


def run(folder, *command):
    result = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert result.returncode == 0, (command, result.stderr)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


@pytest.mark.parametrize("block", blocks("sh"))
def test_commands_run(block, folder):
    commands = [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]
    assert any(commands)
    for program, *rest in filter(None, commands):
        if program == "make":
            assert set(rest) <= TARGETS
            continue
        # Where `make run` has put it; nothing is on the path of somebody who has just cloned the project.
        assert program == ".venv/bin/inversefacenet", program
        run(folder, "-m", "inversefacenet.cli", *rest)
    # What they write goes where git doesn't look.
    assert {path.name for path in folder.iterdir()} <= {"examples", "out"}


# A client's program runs where a service does, a video's where there is a clip.
PROGRAMS = [block for block in blocks("python") if not re.search(r"Client\(|clip\.mp4", str(block.values[0]))]


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_run(program, folder):
    run(folder, "-W", "error", "-c", program)
    for name in re.findall(r'Path\("(out/[^"]+)"\)', program):
        assert (folder / name).stat().st_size > 0
    assert {path.name for path in folder.iterdir()} <= {"examples", "out"}


def test_there_are_examples():
    assert len(blocks("sh")) >= 5
    assert len(PROGRAMS) == 2
