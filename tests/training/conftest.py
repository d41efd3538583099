"""Fixtures of the tests that need torch. Without torch this folder has no tests."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session", params=["synthetic", "default"])
def face_model(request):
    """The small model, then the one that ships."""
    return request.getfixturevalue(f"{request.param}_model")


@pytest.fixture(scope="session")
def theta():
    """Five random faces in all poses that the network is trained for, in coloured light."""
    count, rng = 5, np.random.default_rng(11)
    theta = np.zeros((count, 350), np.float32)
    theta[:, :3] = np.radians(rng.uniform([-50, -40, -20], [50, 40, 20], (count, 3)))
    theta[:, 3:131] = rng.normal(size=(count, 128))
    theta[:, 131:195] = 0.3 * rng.normal(size=(count, 64))
    theta[:, 195:323] = rng.normal(size=(count, 128)).clip(-2, 2)
    light = rng.uniform(-0.12, 0.12, (count, 9, 3))
    light[:, 0] = rng.uniform(0.5, 1.0, (count, 3))
    theta[:, 323:] = light.reshape(count, 27)
    return theta
