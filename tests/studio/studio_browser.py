"""A studio in a process of its own, and a page of it in Chromium that writes down what it does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOW = (
    "The browser tests need Chromium: install it (Debian: apt-get install chromium), or name its file in "
    "IFN_CHROMIUM. `make test` tests the studio's server without one."
)
ARGUMENTS = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--enable-unsafe-swiftshader",
)

# What Chromium says of its own WebGL where there is no graphics card.
DRIVER = "GL Driver Message (OpenGL, Performance"


def find_chromium():
    """Return Chromium's file; None if there is none."""
    named = os.environ.get("IFN_CHROMIUM")
    if named:
        return named if Path(named).is_file() else None
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def launch(playwright):
    # Chromium's sandbox refuses to start as root, as in most containers.
    alone = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=find_chromium(), args=[*ARGUMENTS, *alone])


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def serving(root, log, **values):
    """Run `python -m services.studio`; yields its address."""
    port = free_port()
    named = {f"IFN_STUDIO_{name.upper()}": str(value) for name, value in values.items()}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.studio", "--port", str(port)],
            cwd=root,
            env={**os.environ, **named},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(process, f"{address}/api/health", log)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def wait_for(process, address, log, seconds=240):
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        if process.poll() is not None:
            raise AssertionError(f"The studio did not start:\n{log.read_text()}")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"The studio did not start within {seconds} seconds:\n{log.read_text()}")


class Visit:
    """A page of the studio, and what it asked, wrote and failed at."""

    def __init__(self, context, address, shots):
        self.context, self.address, self.shots = context, address, shots
        self.page = context.new_page()
        self.requests, self.complaints = [], []
        self.expected = ()
        context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def check(self):
        """Fail if anything went to another address or any complaint was made but the expected ones."""
        outside = [url for url in self.requests if not url.startswith((f"{self.address}/", "blob:"))]
        assert not outside, outside
        known = (*self.expected, DRIVER)
        left = [one for one in self.complaints if not any(part in one for part in known)]
        assert not left, left

    def demo(self):
        self.page.click("#demo")
        self.opened()

    def choose(self, path):
        self.page.set_input_files("#file", path)

    def opened(self):
        self.page.wait_for_selector("#studio", state="visible")
        self.page.wait_for_selector("#part-light[src]")
        self.page.wait_for_selector("#working", state="hidden")
        self.settle()

    def settle(self):
        """Wait until nothing is asked for any more."""
        self.page.wait_for_timeout(600)
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_timeout(150)

    def picture(self, canvas="after"):
        """Return a canvas's pixels."""
        size, values = self.page.evaluate(
            """(id) => {
                const canvas = document.getElementById(id);
                const {width, height} = canvas;
                // From a copy: reading a canvas itself makes Chromium move it out of the graphics card.
                const fresh = new OffscreenCanvas(width, height);
                const copy = fresh.getContext("2d", { willReadFrequently: true });
                copy.drawImage(canvas, 0, 0);
                const { data } = copy.getImageData(0, 0, width, height);
                return [[height, width], Array.from(data)];
            }""",
            canvas,
        )
        return np.array(values, np.int16).reshape(*size, 4)[..., :3]

    def move(self, slider, value):
        self.page.locator(f'[id="s-{slider}"]').fill(str(value))

    def tab(self, name):
        self.page.click(f"#tab-{name}")

    def problem(self):
        box = self.page.locator("#problem")
        box.wait_for(state="visible")
        return box

    def shot(self, name, **options):
        if options.get("full_page"):
            # The head is drawn when it comes into view, which a picture of the whole page doesn't do.
            self.page.locator("#head").scroll_into_view_if_needed()
            self.page.wait_for_timeout(400)
            self.page.evaluate("window.scrollTo(0, 0)")
            self.page.wait_for_timeout(200)
        self.page.screenshot(path=self.shots / f"{name}.png", **options)

    def download(self, file):
        with self.page.expect_download() as waiting:
            self.page.click(f'[data-download="{file}"]')
        return waiting.value

    def times(self):
        """Return the milliseconds from each slider event to its picture on the screen."""
        return self.page.evaluate(
            'performance.getEntriesByName("slider-to-picture").map((entry) => entry.duration)'
        )

    def sizes(self):
        """Return the sides of those pictures: the page makes them smaller where it is slow."""
        return self.page.evaluate(
            'performance.getEntriesByName("slider-to-picture").map((entry) => entry.detail.size)'
        )

    def overflow(self):
        """Return how many pixels the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
