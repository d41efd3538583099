"""The 68 landmarks of a face whose box is known: what can predict them, and dlib's way.

Convention:
    As in `inversefacenet.landmarks`. An aligner's spread is how far its answers for slightly moved boxes lie
    apart, their standard deviation in face widths.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from inversefacenet.dlib_models import DlibModels, import_dlib
from inversefacenet.face_patch import Box, FacePatch

UPRIGHT: Final = math.radians(5)
"""A roll that dlib's predictor doesn't mind."""

MOVES: Final = ((0.0, 0.0), (0.03, 0.0), (-0.03, 0.0), (0.0, 0.03), (0.0, -0.03))
"""Of the box, in its widths: predictions are averaged over them. The error falls by 6%, jitter more."""

_FACE_WIDTH: Final = 200.0  # box width on the patch that landmarks are predicted on, pixels


class Aligner(Protocol):
    """Finds the landmarks of a face in a box; one object serves all threads."""

    def load(self) -> None:
        """Load now what would be loaded for the first face.

        Raises:
            MissingDependencyError: Something it needs isn't installed.
            InputError: Its file can't be read, or is something else.
        """
        ...

    def align(
        self, image: UInt8[np.ndarray, "height width 3"], box: Box, roll: float
    ) -> tuple[Float32[np.ndarray, "68 2"], float]:
        """Return the landmarks of a face, in photo pixels, and their spread.

        Args:
            image: The photo.
            box: The face, as the frontal detector frames it; must overlap the photo.
            roll: By how many radians it is rolled clockwise, as far as that is known.
        """
        ...


class DlibAligner:
    """dlib's predictor, asked several times.

    Args:
        models: Whose predictor it is.
    """

    def __init__(self, models: DlibModels) -> None:
        self._models = models

    def load(self) -> None:
        """Load the predictor; see `Aligner.load`."""
        self._models.predictor()

    def align(
        self, image: UInt8[np.ndarray, "height width 3"], box: Box, roll: float
    ) -> tuple[Float32[np.ndarray, "68 2"], float]:
        """Predict landmarks, and their spread, on a patch in which the face is upright and centred.

        dlib's regression knows faces as its own detector frames them. Up to two coarse predictions bring the
        patch to that form; the answer is the mean over slightly moved boxes.
        """
        patch = FacePatch.cut(image, box, _FACE_WIDTH)
        if roll:
            patch = patch.turned(roll, patch.centre, patch.width)
        centre, width = patch.centre, patch.width
        expected = self._models.predictor().inner_radius
        for _ in range(2):
            points = self._predict(patch, centre, width)
            eyes = points[42:48].mean(0) - points[36:42].mean(0)
            turn = math.atan2(eyes[1], eyes[0])
            centre = points[17:].mean(0)
            radius = math.sqrt(((points[17:] - centre) ** 2).sum(1).mean())
            # Half way (in the logarithm): profiles are narrower than their boxes, and this is a first guess.
            ratio = min(max(math.sqrt(radius / expected / width), 0.8), 1.25)
            width *= ratio
            if abs(turn) > UPRIGHT:
                patch = patch.turned(turn, centre, width)
                centre = patch.centre
            elif abs(ratio - 1) < 0.05:
                break
        predicted = np.stack([self._predict(patch, centre, width, move) for move in MOVES])
        mean = predicted.mean(axis=0)
        spread = math.sqrt(float(((predicted - mean) ** 2).sum(axis=2).mean())) / width
        return patch.to_photo(mean).astype(np.float32), spread

    def _predict(
        self,
        patch: FacePatch,
        centre: Float64[np.ndarray, "2"],
        width: float,
        move: tuple[float, float] = (0.0, 0.0),
    ) -> Float64[np.ndarray, "68 2"]:
        """Predict landmarks from one box, in continuous patch pixels."""
        left, top = centre + (np.array(move) - 0.5) * width
        rectangle = import_dlib().rectangle(
            round(left), round(top), round(left + width) - 1, round(top + width) - 1
        )
        shape = self._models.predictor().predict(patch.pixels, rectangle)
        return np.array([(point.x, point.y) for point in shape.parts()], np.float64) + 0.5
