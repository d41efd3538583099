"""The whole photo beside the sum of its stages, for photos of several sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from benchmarks.photos import (
    Example,
    decoder_floor,
    detector_floors,
    photo_call,
    photo_steps,
    prepare,
    resized_jpeg,
)
from benchmarks.timing import Harness, Timing
from inversefacenet.errors import NoFaceError
from inversefacenet.landmarks import FaceDetector
from inversefacenet.reconstruction import Reconstructor

_PHOTO = "photo"


@dataclass(frozen=True)
class Whole:
    """Times of a photo, of the stages it consists of and of two of their floors, all from the same rounds.

    Attributes:
        size: Width and height in pixels.
        photo: From bytes to parameters and quality.
        steps: The stages by name.
        floors: Floors by the name of their stage.
    """

    size: tuple[int, int]
    photo: Timing
    steps: Mapping[str, Timing]
    floors: Mapping[str, Timing]

    @property
    def sum_of_steps(self) -> float:
        """Sum of the stages' medians, in seconds."""
        return sum(step.median for step in self.steps.values())

    @property
    def ratio(self) -> float:
        """Median time of the photo over the sum of its stages' medians."""
        return self.photo.median / self.sum_of_steps


def time_whole(
    example: Example, reconstructor: Reconstructor, detector: FaceDetector, harness: Harness
) -> Whole:
    """Time a photo, its stages and the floors of decoding and detection in turn."""
    steps = photo_steps(example, reconstructor, detector)
    limited, *_ = detector_floors(example.image).values()
    floors = {"decode": decoder_floor(example.content), "detect": limited}
    timings = harness.alternate(
        {
            _PHOTO: photo_call(example, reconstructor),
            **steps,
            **{f"floor of {name}": floor for name, floor in floors.items()},
        }
    )
    height, width = example.image.shape[:2]
    return Whole(
        (width, height),
        timings[_PHOTO],
        {name: timings[name] for name in steps},
        {name: timings[f"floor of {name}"] for name in floors},
    )


def time_sizes(
    image: UInt8[np.ndarray, "height width 3"],
    sides: Sequence[int],
    reconstructor: Reconstructor,
    detector: FaceDetector,
    harness: Harness,
) -> Iterator[tuple[int, Whole | None]]:
    """Time a photo scaled to squares and stored as JPEG; None where no face is found."""
    for side in sides:
        try:
            example = prepare(resized_jpeg(image, side), reconstructor)
        except NoFaceError:
            yield side, None
            continue
        yield side, time_whole(example, reconstructor, detector, harness)
