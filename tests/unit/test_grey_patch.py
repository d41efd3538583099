"""Patches for the judge, beside plain averages."""

import numpy as np
import pytest

from inversefacenet.grey_patch import MOST_SAMPLES, cut_grey


def plainly(photo: np.ndarray, left: float, top: float, scale: float, size: int) -> np.ndarray:
    """Averages by area, of 400 points for each pixel and axis."""
    grey = photo.astype(float).mean(axis=2)

    def weights(start: float, length: int) -> np.ndarray:
        # Row n says how much of each photo pixel the patch's pixel n shows; the photo's edge is repeated.
        table = np.zeros((size, length))
        for n in range(size):
            for point in start + (n + (np.arange(400) + 0.5) / 400) * scale:
                table[n, min(max(int(np.floor(point)), 0), length - 1)] += 1 / 400
        return table

    return weights(top, grey.shape[0]) @ grey @ weights(left, grey.shape[1]).T


@pytest.mark.parametrize(
    ("left", "top", "scale"), [(10, 5, 1), (3.4, 7.7, 1.37), (-9.5, 20, 2.25), (30, -4, 4), (60.2, 50.1, 3)]
)
def test_averages_by_area(rng, left, top, scale):
    photo = rng.integers(0, 256, (90, 110, 3), dtype=np.uint8)
    patch = cut_grey(photo, float(left), float(top), float(scale), 20)
    assert np.abs(patch - plainly(photo, left, top, scale, 20)).max() < 1.5


def test_enlarged_patches_are_interpolated():
    ramp = np.broadcast_to(np.arange(0, 200, 4, dtype=np.uint8)[None, :, None], (40, 50, 3))
    patch = cut_grey(ramp, 10.0, 5.0, 0.25, 40)
    # The photo's value at the point x is 4 (x - 1/2).
    x = 10 + (np.arange(40) + 0.5) * 0.25
    np.testing.assert_allclose(patch, np.broadcast_to(4 * (x - 0.5), (40, 40)), atol=0.51)


def test_wide_squares_are_sampled(rng):
    photo = rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)
    scale = 12.0
    places = np.floor(np.arange(20)[:, None] * scale + (np.arange(MOST_SAMPLES) + 0.5) * scale / MOST_SAMPLES)
    rows = places.astype(int)
    grey = photo.astype(float).mean(axis=2)
    expected = grey[rows[:, None, :, None] + 7, rows[None, :, None, :] + 31].mean(axis=(2, 3))
    assert np.abs(cut_grey(photo, 31.0, 7.0, scale, 20) - expected).max() <= 0.51


def test_what_lies_beyond_the_photo_repeats_its_edge(rng):
    photo = rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)
    padded = np.pad(photo, ((40, 40), (40, 40), (0, 0)), mode="edge")
    for scale in (0.4, 1.7, 6.0):
        one, other = cut_grey(photo, -12.0, -7.0, scale, 24), cut_grey(padded, 28.0, 33.0, scale, 24)
        np.testing.assert_array_equal(one, other)
