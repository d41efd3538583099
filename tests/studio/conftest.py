"""One studio and one browser for all tests; screenshots go to `out/studio`."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from studio_browser import HOW, Visit, find_chromium, launch, serving

LINES = []


def pytest_configure(config):
    """Say at once, and clearly, what is missing."""
    try:
        import playwright.sync_api
    except ImportError:
        pytest.exit("The browser tests need Playwright: pip install '.[studio-test]'.", returncode=2)
    assert playwright.sync_api
    if find_chromium() is None:
        pytest.exit(HOW, returncode=2)


def pytest_terminal_summary(terminalreporter):
    """Write the measured times below the tests."""
    for line in LINES:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def summary():
    """Lines for the end of the report."""
    return LINES


@pytest.fixture(scope="session")
def shots(root):
    """The folder of the screenshots."""
    folder = root / "out" / "studio"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def studio(root, tmp_path_factory):
    """The address of a running studio."""
    log = tmp_path_factory.mktemp("studio") / "log"
    with serving(root, log, max_body_bytes=8 * 1024 * 1024, max_pixels=4_000_000) as address:
        yield address
    text = log.read_text()
    assert "Traceback" not in text, text


@pytest.fixture(scope="session")
def browser():
    """Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = launch(playwright)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, studio, shots):
    """Open pages of the studio; afterwards each must have kept to itself and complained of nothing."""
    visits = []

    def open_page(address=studio, **options):
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        context.set_default_timeout(60_000)
        visits.append(Visit(context, address, shots))
        return visits[-1]

    yield open_page
    for one in visits:
        one.context.close()
        one.check()


@pytest.fixture(scope="session")
def astronaut(root):
    """The example photo's file."""
    return root / "examples" / "astronaut.png"


@pytest.fixture
def no_face(tmp_path):
    """A photo of nothing."""
    path = tmp_path / "wall.png"
    Image.fromarray(np.full((240, 320, 3), (180, 170, 160), np.uint8)).save(path)
    return path
