"""Focus and motion blur by one kernel of 11 x 11 taps (`training.degradations.blur`)."""

from __future__ import annotations

from typing import Any, Final, no_type_check

import numpy as np

from inversefacenet.compilation import compiled
from training.compiled_corpus.arithmetic import ZERO

TAPS: Final = 11
_REACH: Final = TAPS // 2


@compiled
@no_type_check
def blur_kernel(sigma: Any, length: Any, angle: Any) -> Any:
    """Return a Gaussian of focus, drawn out along a direction by motion.

    Args:
        sigma: The Gaussian's standard deviation in pixels.
        length: Length of the motion in pixels.
        angle: Its direction in radians.
    """
    # 0.1 px in place of 0 leaves the centre tap alone. Uniform motion of length l has variance l^2 / 12.
    focus = max(sigma * sigma, 0.01)
    motion = focus + length * length / 12
    c, s = np.cos(angle), np.sin(angle)
    kernel = np.empty((TAPS, TAPS), np.float32)
    total = 0.0
    for i in range(TAPS):
        for j in range(TAPS):
            x, y = j - _REACH, i - _REACH
            along, across = c * x + s * y, c * y - s * x
            value = np.exp(-along * along / (2 * motion) - across * across / (2 * focus))
            kernel[i, j] = value
            total += value
    for i in range(TAPS):
        for j in range(TAPS):
            kernel[i, j] = np.float32(kernel[i, j] / total)
    return kernel


@compiled
@no_type_check
def blur(picture: Any, kernel: Any) -> None:
    """Blur planes in place; beyond the border the border's pixels repeat."""
    size = picture.shape[1]
    padded = np.empty((size + TAPS - 1, size + TAPS - 1), np.float32)
    for plane in range(picture.shape[0]):
        own = picture[plane]
        for y in range(size + TAPS - 1):
            source, line = own[min(max(y - _REACH, 0), size - 1)], padded[y]
            for x in range(_REACH):
                line[x] = source[0]
                line[size + _REACH + x] = source[size - 1]
            for x in range(size):
                line[_REACH + x] = source[x]
        for y in range(size):
            target = own[y]
            for x in range(size):
                target[x] = ZERO
            for i in range(TAPS):
                k0, k1, k2, k3 = kernel[i, 0], kernel[i, 1], kernel[i, 2], kernel[i, 3]
                k4, k5, k6, k7 = kernel[i, 4], kernel[i, 5], kernel[i, 6], kernel[i, 7]
                k8, k9, k10 = kernel[i, 8], kernel[i, 9], kernel[i, 10]
                line = padded[y + i]
                for x in range(size):
                    near = k4 * line[x + 4] + k5 * line[x + 5] + k6 * line[x + 6]
                    left = k0 * line[x] + k1 * line[x + 1] + k2 * line[x + 2] + k3 * line[x + 3]
                    right = k7 * line[x + 7] + k8 * line[x + 8] + k9 * line[x + 9] + k10 * line[x + 10]
                    target[x] += near + (left + right)
