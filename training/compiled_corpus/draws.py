"""What is random of a batch of faces: drawn by NumPy, once for all, in a fixed order.

Distributions are those of `training.augmentation`, `training.occluders` and `training.degradations`; only
that resolution and chroma subsampling are drawn for each face, where torch shares them in small groups.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt32

from training.augmentation_options import AugmentationOptions, DegradationOptions, OccluderOptions
from training.compiled_corpus import backgrounds, occluding


@dataclass(frozen=True)
class Degradations:
    """What a camera and a file do to each picture.

    Attributes:
        side: Pixels on a side that the picture has meanwhile.
        sigma: Standard deviation of the blur in those pixels, 0 for none.
        length: Length of the motion in those pixels, 0 for none.
        angle: Its direction in radians.
        read: Variance of the noise that doesn't depend on brightness.
        shot: Variance, at white, of the noise that grows with brightness.
        seed: What decides the noise of each pixel.
        quality: JPEG's quality, 0 for no JPEG.
        subsample: Whether JPEG halves the colours' resolution.
    """

    side: Int64[np.ndarray, "faces"]
    sigma: Float64[np.ndarray, "faces"]
    length: Float64[np.ndarray, "faces"]
    angle: Float64[np.ndarray, "faces"]
    read: Float32[np.ndarray, "faces"]
    shot: Float32[np.ndarray, "faces"]
    seed: UInt32[np.ndarray, "faces"]
    quality: Float64[np.ndarray, "faces"]
    subsample: Bool[np.ndarray, "faces"]


@dataclass(frozen=True)
class PictureDraws:
    """Everything random that happens to the pictures of a batch.

    Attributes:
        gains: Of the linear channels.
        exponent: Of the tone curve.
        background: Uniform and normal numbers of each face's background.
        background_normal: Normal numbers.
        first: The first of each face's occluders; they are laid in order, as far as the next face's first.
        kinds: Which occluder: the number of its field in `OccluderOptions`.
        uniform: Uniform numbers of each occluder.
        normal: Normal numbers of each occluder.
        degradations: What comes last.
    """

    gains: Float32[np.ndarray, "faces 3"]
    exponent: Float32[np.ndarray, "faces"]
    background: Float32[np.ndarray, "faces uniform"]
    background_normal: Float32[np.ndarray, "faces normal"]
    first: Int64[np.ndarray, "faces_and_end"]
    kinds: Int64[np.ndarray, "occluders"]
    uniform: Float32[np.ndarray, "occluders some"]
    normal: Float32[np.ndarray, "occluders more"]
    degradations: Degradations


def draw_landmark_noise(
    rng: np.random.Generator, count: int, deviation: float, jaw_factor: float = 2.0
) -> Float32[np.ndarray, "faces 68 2"]:
    """Draw errors like a landmark detector's (`training.augmentation.draw_landmark_noise`).

    Args:
        rng: Source of randomness.
        count: Number of faces.
        deviation: Standard deviation of a point's error per coordinate, in pixels, off the jaw.
        jaw_factor: By how much more the jaw's points move.
    """
    noise = rng.standard_normal((count, 68, 2), np.float32) * np.float32(deviation)
    jaw = np.pad(noise[:, :17], ((0, 0), (2, 2), (0, 0)), mode="edge")
    mean = sum(jaw[:, i : i + 17] for i in range(5)) / 5
    # The mean of five has a root-five smaller deviation, which is restored.
    noise[:, :17] = mean * (5**0.5 * jaw_factor)
    shared = rng.standard_normal((count, 1, 2), np.float32) * np.float32(deviation / 3)
    return noise + shared


def draw_pictures(
    rng: np.random.Generator, count: int, size: int, options: AugmentationOptions
) -> PictureDraws:
    """Draw what happens to the pictures of a batch.

    Args:
        rng: Source of randomness.
        count: Number of faces.
        size: Side of the pictures in pixels.
        options: What is done to them.
    """
    exposure = rng.standard_normal((count, 1)) * options.exposure
    gains = np.exp(exposure + rng.standard_normal((count, 3)) * options.white_balance)
    exponent = np.exp(rng.standard_normal(count) * options.tone)
    background = rng.random((count, backgrounds.UNIFORM), np.float32)
    background_normal = rng.standard_normal((count, backgrounds.NORMAL), np.float32)
    shares = np.array([getattr(options.occluders, field.name) for field in fields(OccluderOptions)])
    chosen, kinds = np.nonzero(rng.random((count, len(shares))) < shares)
    return PictureDraws(
        gains=gains.astype(np.float32),
        exponent=exponent.astype(np.float32),
        background=background,
        background_normal=background_normal,
        first=np.searchsorted(chosen, np.arange(count + 1)),
        kinds=kinds,
        uniform=rng.random((len(chosen), occluding.UNIFORM), np.float32),
        normal=rng.standard_normal((len(chosen), occluding.NORMAL), np.float32),
        degradations=_draw_degradations(rng, count, size, options.degradations),
    )


def _draw_degradations(
    rng: np.random.Generator, count: int, size: int, options: DegradationOptions
) -> Degradations:
    unit = size / 240
    low, high = (bound * unit for bound in options.resolution)
    smaller = np.rint(rng.uniform(low, high, count)).astype(np.int64)
    side = np.where(rng.random(count) < options.resolution_probability, smaller, size)
    pixels = side / size * unit
    sigma = rng.uniform(*options.blur_sigma, count) * (rng.random(count) < options.blur_probability)
    length = rng.uniform(*options.motion_length, count) * (rng.random(count) < options.motion_probability)
    angle = rng.uniform(0, np.pi, count)
    noisy = rng.random(count) < options.noise_probability
    read, shot = (
        (rng.uniform(0, limit, count) * noisy) ** 2 for limit in (options.read_noise, options.shot_noise)
    )
    quality = rng.uniform(*options.jpeg_quality, count) * (rng.random(count) < options.jpeg_probability)
    return Degradations(
        side=np.minimum(side, size),
        sigma=sigma * pixels,
        length=length * pixels,
        angle=angle,
        read=read.astype(np.float32),
        shot=shot.astype(np.float32),
        seed=rng.integers(0, 2**32, count, np.uint32),
        quality=quality,
        subsample=rng.random(count) < 0.8,
    )
