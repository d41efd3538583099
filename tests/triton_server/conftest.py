"""Servers for the tests of this folder, which `make test-triton` runs: each test of a fault has its own."""

from __future__ import annotations

import numpy as np
import pytest
from server import Repository, TritonServer


@pytest.fixture(scope="session")
def steady(tmp_path_factory):
    """A server that no test disturbs."""
    folder = tmp_path_factory.mktemp("steady")
    with TritonServer(folder, Repository(folder / "models")) as server:
        yield server


@pytest.fixture
def start(tmp_path):
    """Start a server of a test's own: `start(change=..., sleep_ms=..., explicit=...)`."""
    servers = []

    def run(change=None, sleep_ms=None, explicit=False):
        repository = Repository(tmp_path / "models", change, sleep_ms)
        servers.append(TritonServer(tmp_path, repository, explicit))
        servers[0].start()
        return servers[0]

    yield run
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def crops(default_model):
    """Crops of 40 rendered faces, uint8 [40, 240, 240, 3]."""
    from inversefacenet.crop import crop_face
    from inversefacenet.parameters import Parameters
    from inversefacenet.rendering import render
    from inversefacenet.sampling import NATURAL

    thetas = NATURAL.sample(np.random.default_rng(7), 40, default_model)
    renderings = (render(default_model, Parameters.from_vector(theta)) for theta in thetas)
    return np.stack([crop_face(r.image, r.landmarks).image for r in renderings])


@pytest.fixture(scope="session")
def embedded():
    """The network in this process."""
    from inversefacenet.backends.onnx import OnnxBackend

    return OnnxBackend("reference", threads=1)


@pytest.fixture(scope="session")
def answers(embedded, crops):
    """What the network in this process answers to `crops`."""
    return embedded.infer(crops)
