"""What all tests share: array shapes checked at every call, face models, random numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]

# The checkout comes before `tests`, whose folder `training` would otherwise pass for the package.
sys.path.insert(0, str(ROOT))

# From here on each annotated function of these packages checks its arguments' and results' types and
# array shapes. It must come before their first import, so this file imports them in its fixtures.
install_import_hook(["inversefacenet", "training", "deploy"], "shape_checks.check")


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def synthetic_model():
    """A face model of some 250 vertices; tests must not change it."""
    from synthetic_face import make_model

    return make_model()


@pytest.fixture(scope="session")
def default_model():
    """The face model that ships with the package."""
    from inversefacenet.morphable_model import MorphableModel

    return MorphableModel.load_default()


@pytest.fixture
def rng():
    """Random numbers, the same in every run."""
    import numpy as np

    return np.random.default_rng(20180618)
