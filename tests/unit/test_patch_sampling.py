"""Frames and grey blocks of a photo, beside the same in plain numpy."""

import math

import numpy as np
import pytest

from inversefacenet.patch_sampling import Frame, GreyBlocks


def padded_grey(photo: np.ndarray, margin: int) -> np.ndarray:
    return np.pad(photo.mean(axis=2), margin)


def test_frame_maps_as_its_convention_says():
    frame = Frame(10, 20, 4, math.pi / 2)
    assert np.allclose(frame.to_photo(np.array([[0.5, 0.0], [0.0, 0.0]])), [[10, 22], [10, 20]])
    assert frame.moved(0.5, 0.0) == Frame(10.0, 22.0, 4, math.pi / 2)


@pytest.mark.parametrize(("side", "samples"), [(10.0, 4), (20.0, 4), (31.0, 4), (80.0, 8), (50.0, 2)])
def test_blocks_are_means_and_black_outside(rng, side, samples):
    photo = rng.integers(0, 256, (90, 70, 3)).astype(np.uint8)
    # Reaches over the upper left corner.
    blocks = GreyBlocks.around(photo, Frame(12.0, 15.0, side), 1.0, 10.0, samples)
    size, margin = blocks.block, 400
    assert size == round(side / 10)
    grey = padded_grey(photo, margin)
    chosen = [(2 * i + 1) * size // (2 * min(size, samples)) for i in range(min(size, samples))]
    for row in range(blocks.values.shape[0]):
        for column in range(blocks.values.shape[1]):
            y, x = margin + (blocks.top + row) * size, margin + (blocks.left + column) * size
            expected = grey[np.ix_([y + i for i in chosen], [x + i for i in chosen])].mean()
            assert blocks.values[row, column] == pytest.approx(expected, abs=1e-3)


def test_blocks_know_what_they_hold():
    photo = np.zeros((50, 50, 3), np.uint8)
    blocks = GreyBlocks.around(photo, Frame(25.0, 25.0, 20.0), 0.9, 20.0)
    assert blocks.holds(Frame(27.0, 25.0, 20.0), 0.75)
    assert not blocks.holds(Frame(30.0, 25.0, 20.0), 0.75)
    assert not blocks.holds(Frame(25.0, 25.0, 26.0), 0.75)
    assert not blocks.holds(Frame(25.0, 25.0, 10.0), 0.75)  # would be seen too coarsely
