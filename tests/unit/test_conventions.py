"""The worked values of `docs/conventions.md` are what the code gives."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conventions.md"
OPTIONS = doctest.NORMALIZE_WHITESPACE


def sections():
    """Return each heading's code, in the order of the page."""
    code = {}
    for part in re.findall(r"^#+ .*?(?=^#+ |\Z)", PAGE.read_text(), flags=re.M | re.S):
        heading = part.splitlines()[0].lstrip("# ")
        code[heading] = "\n".join(re.findall(r"^```python\n(.*?)^```", part, flags=re.M | re.S))
    return code


SECTIONS = sections()


@pytest.fixture(scope="module")
def names():
    """What the page's blocks share; they are run in its order."""
    before = np.get_printoptions()
    yield {}
    np.set_printoptions(**before)


def run(code, names, heading):
    example = doctest.DocTestParser().get_doctest(code, names, heading, str(PAGE), 0)
    example.globs = names
    report = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    runner.run(example, out=report.append, clear_globs=False)
    return len(example.examples), "".join(report)


def test_page_holds_what_it_must():
    assert next(iter(SECTIONS)) == "Conventions"
    without_code = {heading for heading, code in SECTIONS.items() if not code}
    assert without_code == {"Network", "Loss", "Photos and meshes", "Timings"}
    assert sum(code.count(">>>") for code in SECTIONS.values()) > 60


def test_a_wrong_value_would_be_noticed():
    assert run(">>> 1 + 1\n3\n", {}, "wrong")[1]
    assert not run(">>> 1 + 1\n2\n", {}, "right")[1]


def test_worked_values(names):
    failures = []
    for heading, code in SECTIONS.items():
        if code:
            count, report = run(code, names, heading)
            assert count == code.count(">>>")
            failures.append(report)
    assert not "".join(failures)


def test_networks_input_is_as_large_as_stated():
    assert f"{240 * 240 * 3:,} bytes" in PAGE.read_text()
