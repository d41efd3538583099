"""Runs the fuzz tests and ends with one line: `cases= failures= passed= failed= seconds=`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent


class Watch:
    """A pytest plugin that keeps what the last line tells."""

    def __init__(self) -> None:
        """Start at zero."""
        self.tally = {"cases": 0, "failures": 0}
        self.passed = 0
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test."""
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file that can't be collected as a failure."""
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_configure(self, config: pytest.Config) -> None:
        """Let the tests count their cases here."""
        config.fuzz_tally = self.tally  # type: ignore[attr-defined]


def main() -> int:
    """Run the tests; arguments go to pytest.

    Returns:
        pytest's exit code: 0 only if tests ran and all passed.
    """
    watch = Watch()
    started = time.perf_counter()
    status = int(pytest.main([str(FOLDER), "--timeout=1800", *sys.argv[1:]], plugins=[watch]))
    seconds = time.perf_counter() - started
    # What fails in other ways than by a wrong answer counts too, as a worker that was replaced.
    failures = watch.tally["failures"] or len(watch.failed)
    print(
        f"cases={watch.tally['cases']} failures={failures} passed={watch.passed} failed={len(watch.failed)} "
        f"seconds={seconds:.0f}",
        flush=True,
    )
    return status


if __name__ == "__main__":
    sys.exit(main())
