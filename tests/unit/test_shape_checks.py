"""The tests' own safety net: wrong shapes and types are caught at every call of the library."""

from dataclasses import fields

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from inversefacenet import camera, colour, illumination
from inversefacenet.morphable_model import MorphableModel


def test_wrong_shapes_are_caught():
    with pytest.raises(TypeCheckError):
        illumination.sh_basis(np.zeros((5, 2)))
    with pytest.raises(TypeCheckError):
        camera.rotation_matrix(np.zeros((3, 4)))


def test_wrong_element_types_are_caught():
    with pytest.raises(TypeCheckError):
        colour.to_linear(np.zeros((2, 2), np.float32))


def test_sizes_that_disagree_are_caught(synthetic_model):
    values = {one.name: getattr(synthetic_model, one.name) for one in fields(synthetic_model)}
    with pytest.raises(TypeCheckError):
        MorphableModel(**{**values, "shape_sigma": np.ones(127, np.float32)})


def test_an_int_may_stand_for_a_float():
    assert camera.Placement(2, (1, 1)).inverse().scale == 0.5
