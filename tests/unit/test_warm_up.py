"""What is compiled ahead: all that the pipeline calls, for this processor alone."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from inversefacenet import warm_up
from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.reconstruction import Reconstructor

PACKAGE = Path(warm_up.__file__).parent

NORMALS = """
import numpy as np
from inversefacenet.mesh import Mesh
from inversefacenet.warm_up import compiled_functions
corners = np.eye(3, dtype=np.float32)
Mesh(corners, np.array([[0, 1, 2]], np.int32), corners).vertex_normals()
functions = compiled_functions().values()
print(sum(sum(f.stats.cache_misses.values()) for f in functions))
print(sum(sum(f.stats.cache_hits.values()) for f in functions))
"""


def modules_with_compiled_functions() -> list[str]:
    pattern = re.compile(r"^from inversefacenet\.compilation import", re.MULTILINE)
    return [
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        for file in sorted(PACKAGE.rglob("*.py"))
        if pattern.search(file.read_text())
    ]


def test_nothing_that_the_pipeline_calls_is_left_to_compile() -> None:
    for name in modules_with_compiled_functions():
        importlib.import_module(name)
    reconstruction = warm_up.warm_up(Reconstructor(backend=OnnxBackend(threads=1)))
    assert reconstruction.quality.iou > 0
    functions = warm_up.compiled_functions()
    assert len(functions) > 10
    # What only compiled functions call is compiled within them.
    inner = {name for function in functions.values() for name in function.py_func.__code__.co_names}
    left = {
        name
        for name, function in functions.items()
        if not function.signatures and name.rpartition(".")[2] not in inner
    }
    assert left == set()


def compiled_and_kept(folder: Path, **variables: str) -> tuple[int, int]:
    """Return how many functions a process of its own compiled, and how many it found."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder)} | variables
    answer = subprocess.run(
        [sys.executable, "-c", NORMALS], env=environment, check=True, capture_output=True, text=True
    )
    anew, kept = answer.stdout.split()
    return int(anew), int(kept)


def test_code_is_kept_for_this_processor_alone(tmp_path: Path) -> None:
    anew, kept = compiled_and_kept(tmp_path)
    assert anew > 0
    assert kept == 0
    assert compiled_and_kept(tmp_path)[0] == 0
    assert compiled_and_kept(tmp_path, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == (anew, 0)


def test_the_command_says_what_it_did_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert warm_up.main([]) == 0
    line = capsys.readouterr().out
    assert re.fullmatch(r"seconds=[\d.]+ functions=\d+ compiled=\d+ cache=.+\n", line)
    assert int(line.split()[1].partition("=")[2]) > 10
