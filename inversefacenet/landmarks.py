"""Faces and their 68 landmarks in a photo of any size, by dlib.

Convention:
    Coordinates are continuous photo pixels, x right, y down, pixel centres at half integers: dlib's integer
    index (x, y) is the point (x + 0.5, y + 0.5). The landmarks are in iBUG order. A box is (left, top, right,
    bottom), edges not centres; it reaches about from brows to chin.
    Worked value: a landmark that dlib puts on the photo's first pixel, index (0, 0), is given as (0.5, 0.5).

How a photo is searched: a small network proposes faces, dlib's frontal detector confirms them on patches
(`inversefacenet.proposal_search`). Where it confirms none, or ONNX Runtime isn't installed, dlib's detectors
search copies of the photo (`inversefacenet.face_search`), which takes ten times as long and more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, UInt8

from inversefacenet.crop import check_landmarks
from inversefacenet.dlib_models import DlibModels
from inversefacenet.errors import LandmarkError, NoFaceError
from inversefacenet.face_patch import Box
from inversefacenet.face_search import CopySearch, Found
from inversefacenet.forest_alignment import ForestAligner
from inversefacenet.landmark_alignment import UPRIGHT, Aligner
from inversefacenet.photo_array import check_photo
from inversefacenet.proposal_search import ProposalSearch
from inversefacenet.stages import stage

MINIMUM_SIZE = 20.0
"""Faces narrower than this many photo pixels are not looked for: too little to reconstruct from."""


@dataclass(frozen=True)
class Face:
    """A face found in a photo.

    Attributes:
        box: (left, top, right, bottom) in photo pixels; may reach beyond the photo.
        score: Margin of the frontal detector, -1 to about 3. Below 0 only for faces in profile, strongly
            turned or covered, whose landmarks are doubtful. NaN where no detector was asked.
        landmarks: The 68 iBUG points in photo pixels; may lie outside the photo where the face is cut off.
        spread: How far the predictions for slightly moved boxes lie apart, their standard deviation in face
            widths: about 0.005 of clear faces, more of profiles, covered faces and what is none. NaN where
            nothing was predicted.
    """

    box: Box
    score: float
    landmarks: Float32[np.ndarray, "68 2"]
    spread: float = math.nan

    @classmethod
    def known(cls, landmarks: Float[np.ndarray, "68 2"]) -> Face:
        """Make a face of landmarks that somebody else has found; its box is theirs."""
        points = check_landmarks(landmarks)
        left, top, right, bottom = (float(edge) for edge in (*points.min(axis=0), *points.max(axis=0)))
        return cls((left, top, right, bottom), math.nan, points)

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


class FaceDetector:
    """Finds faces and their landmarks with dlib.

    One object may serve all threads: each gets dlib detectors of its own, since those are not thread-safe.
    The HOG detector lets other threads run meanwhile; the convolutional one holds the interpreter for some
    0.4 seconds.

    Args:
        minimum_size: Faces narrower than this many photo pixels are not looked for.
        hard_faces: Use the convolutional detector where the other finds nothing.
        predictor: Another predictor of 68 landmarks than the usual one, whose training data, 300-W, exclude
            commercial use: "open" for the one that comes with this package, or a file, packed or in dlib's
            format; see `docs/landmarks.md`.
        proposals: Ask for faces first where a small network proposes them. Without, every photo is searched
            as a whole: ten times as long and more, for the same faces.
    """

    def __init__(
        self,
        *,
        minimum_size: float = MINIMUM_SIZE,
        hard_faces: bool = True,
        predictor: str | Path | None = None,
        proposals: bool = True,
    ) -> None:
        self.minimum_size = minimum_size
        self.hard_faces = hard_faces
        self._models = DlibModels(None if predictor is None else Path(predictor))
        self._aligner: Aligner = ForestAligner(self._models.forest)
        self._copies = CopySearch(self._models, hard_faces=hard_faces)
        self._proposed = ProposalSearch(self._models) if proposals else None

    def load(self) -> None:
        """Load now what would be loaded for this thread's first photo.

        Raises:
            MissingDependencyError: dlib or its weights are not installed.
            InputError: The predictor's file can't be read, or isn't one.
        """
        self._models.frontal()
        if self._proposed is not None:
            self._proposed.load()
        self._aligner.load()
        if self.hard_faces:
            self._models.convolutional()

    def detect(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        *,
        faces: Literal["largest", "all"] = "all",
        minimum_size: float | None = None,
        limit: int | None = None,
    ) -> list[Face]:
        """Find the faces of a photo of any size in bounded time.

        Args:
            image: 8-bit sRGB photo, upright.
            faces: "largest" need not find other faces, and predicts the landmarks of the largest one alone.
            minimum_size: Overrides the detector's own limit for this photo.
            limit: Keep the largest faces only, at most so many.

        Returns:
            At least one face, ordered by the area of the box, largest first.

        Raises:
            NoFaceError: There is none; the message says what may help.
            ImageError: The array is not an 8-bit RGB image.
            MissingDependencyError: dlib or its weights are not installed.
        """
        check_photo(image)
        least = self.minimum_size if minimum_size is None else minimum_size
        with stage("detect"):
            found = self.search(image, faces=faces, minimum_size=least)
        if not found:
            raise NoFaceError(
                "No face was found. Use a photo in which the face is upright, turned to the camera, evenly "
                "lit and uncovered; if it is small in the photo, crop the photo to the head and shoulders."
            )
        found.sort(key=lambda one: one.width, reverse=True)
        found = found[: 1 if faces == "largest" else limit]
        with stage("landmarks"):
            return [Face(one.box, one.score, *self._aligner.align(image, one.box, one.roll)) for one in found]

    def landmarks_only(
        self, image: UInt8[np.ndarray, "height width 3"], box: Sequence[float] | Float[np.ndarray, "4"]
    ) -> Float32[np.ndarray, "68 2"]:
        """Predict the landmarks of a face whose box is known, as from the last frame of a video.

        Args:
            image: 8-bit sRGB photo.
            box: (left, top, right, bottom) in photo pixels, about as `detect` gives.

        Returns:
            The 68 points in photo pixels.

        Raises:
            LandmarkError: The box is not four finite numbers with an area inside the photo.
            ImageError: The array is not an 8-bit RGB image.
            MissingDependencyError: dlib or its weights are not installed.
        """
        return self.face_at(image, box).landmarks

    def face_at(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        box: Sequence[float] | Float[np.ndarray, "4"],
        score: float = math.nan,
        roll: float = 0.0,
    ) -> Face:
        """Return the face in a box, as `landmarks_only`, together with the landmarks' spread.

        Args:
            image: 8-bit sRGB photo.
            box: (left, top, right, bottom) in photo pixels, about as `detect` gives.
            score: The detector's, if one was asked.
            roll: By how many radians the face is rolled clockwise, if that is known.
        """
        check_photo(image)
        height, width = image.shape[:2]
        numbers = [float(value) for value in box]
        if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
            raise LandmarkError(f"A face box is (left, top, right, bottom), four numbers; got {numbers}.")
        left, top, right, bottom = numbers
        inside = (min(right, width) - max(left, 0.0), min(bottom, height) - max(top, 0.0))
        # A box far larger than the photo can't be a face's, and would only be resampled to nothing.
        if min(inside) < 2 or max(right - left, bottom - top) > 4 * max(width, height):
            raise LandmarkError(f"The face box {numbers} doesn't fit into the {width} x {height} photo.")
        whole = (left, top, right, bottom)
        return Face(whole, score, *self._aligner.align(image, whole, roll if abs(roll) > UPRIGHT else 0.0))

    def search(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        *,
        faces: Literal["largest", "all"] = "all",
        minimum_size: float = MINIMUM_SIZE,
    ) -> list[Found]:
        """Search for faces, without their landmarks; the list may be empty.

        Args:
            image: 8-bit sRGB photo.
            faces: "largest" need not find others than the largest one.
            minimum_size: Narrower faces, in photo pixels, are left out.
        """
        if self._proposed is not None:
            found = self._proposed.search(image, faces=faces, minimum_size=minimum_size)
            if found:
                return found
        return self._copies.search(image, faces=faces, minimum_size=minimum_size)
