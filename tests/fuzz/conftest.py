"""A real gateway for all of `tests/fuzz`, and the options of the command."""

import pytest
from fuzz_support import Fuzzer

from benchmarks.load.client import Client
from benchmarks.load.servers import GatewayServer


def pytest_addoption(parser):
    parser.addoption("--cases", type=int, default=3200, help="mutated images; others in proportion")
    parser.addoption("--seed", type=int, default=20180618, help="of everything random")


@pytest.fixture(scope="session")
def cases(request):
    """How many mutated images to send."""
    return request.config.getoption("--cases")


@pytest.fixture(scope="session")
def seed(request):
    """Of everything random."""
    return request.config.getoption("--seed")


@pytest.fixture(scope="session")
def tally(request):
    """Counts cases, for the last line."""
    return getattr(request.config, "fuzz_tally", {"cases": 0, "failures": 0})


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    """A gateway with its usual limits."""
    folder = tmp_path_factory.mktemp("fuzz")
    with GatewayServer(folder, workers=2, threads=1, queue=64) as server:
        yield server


@pytest.fixture(scope="session")
def client():
    """Clients in a process of their own."""
    client = Client()
    yield client
    client.close()


@pytest.fixture
def fuzzer(gateway, client, tally):
    """Sends inputs, and looks at the service before and after."""
    fuzzer = Fuzzer(gateway, client, tally)
    fuzzer.check()
    yield fuzzer
    fuzzer.check()
