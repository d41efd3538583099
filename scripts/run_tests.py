"""Runs pytest and ends with one line: `passed= failed= seconds=`. Arguments go to pytest."""

from __future__ import annotations

import sys
import time

import pytest


class Tally:
    """A pytest plugin that counts tests by how they ended."""

    def __init__(self) -> None:
        """Start at zero."""
        self.passed = 0
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test's call, and a failure in whichever phase it comes."""
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file that can't be collected as a failure."""
        if report.failed:
            self.failed.add(report.nodeid)


def main() -> int:
    """Run the tests.

    Returns:
        pytest's exit code: 0 only if tests ran and all passed.
    """
    tally = Tally()
    started = time.perf_counter()
    status = int(pytest.main(sys.argv[1:], plugins=[tally]))
    seconds = time.perf_counter() - started
    print(f"passed={tally.passed} failed={len(tally.failed)} seconds={seconds:.1f}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
