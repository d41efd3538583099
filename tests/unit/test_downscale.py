"""The picture that the proposal network looks at, beside plain averages."""

import numpy as np
import pytest

from inversefacenet.downscale import MOST_SAMPLES, box_average


def plainly(photo: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Every picture pixel by itself: the mean over the samples of its box."""

    def samples(length: int, count: int, n: int) -> list[int]:
        first, size = n * length // count, max((n + 1) * length // count - n * length // count, 1)
        taken = min(size, MOST_SAMPLES)
        return [first + (2 * i + 1) * size // (2 * taken) for i in range(taken)]

    picture = np.empty((3, rows, columns), np.uint8)
    for row in range(rows):
        for column in range(columns):
            box = photo[np.ix_(samples(photo.shape[0], rows, row), samples(photo.shape[1], columns, column))]
            picture[:, row, column] = np.floor(box.reshape(-1, 3).mean(axis=0) + 0.5)
    return picture


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((64, 96), (16, 32)),
        ((50, 70), (16, 16)),
        ((333, 97), (48, 16)),
        ((20, 30), (32, 48)),
        ((16, 16), (16, 16)),
    ],
)
def test_the_same_as_plain_averages(rng, shape, size):
    photo = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    difference = box_average(photo, *size).astype(int) - plainly(photo, *size)
    assert np.abs(difference).max() <= 1  # of a half's rounding
    assert (difference != 0).mean() < 0.02


def test_whole_boxes_are_averaged_exactly(rng):
    photo = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    sums = photo.reshape(10, 4, 15, 4, 3).sum(axis=(1, 3), dtype=int)
    np.testing.assert_array_equal(box_average(photo, 10, 15), ((sums + 8) // 16).transpose(2, 0, 1))


def test_views_are_read_as_they_lie(rng):
    photo = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    views = {
        "rows apart": photo[::2],
        "upside down": photo[::-1],
        "part": photo[5:25, 7:47],
        "mirrored": photo[:, ::-1],
        "columns apart": photo[:, ::2],
        "channels turned": photo[..., ::-1],
    }
    for name, view in views.items():
        expected = box_average(np.ascontiguousarray(view), 16, 16)
        np.testing.assert_array_equal(box_average(view, 16, 16), expected, err_msg=name)
    photo.flags.writeable = False
    assert box_average(photo, 16, 16).shape == (3, 16, 16)


def test_worked_value():
    photo = np.array([[10, 20], [30, 41]], np.uint8)[..., None].repeat(3, axis=2)
    assert box_average(photo, 1, 1).ravel().tolist() == [25, 25, 25]
