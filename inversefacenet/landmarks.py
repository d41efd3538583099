"""Faces and their 68 landmarks in a photo of any size, by dlib.

Convention:
    Coordinates are continuous photo pixels, x right, y down, pixel centres at half integers: dlib's integer
    index (x, y) is the point (x + 0.5, y + 0.5). The landmarks are in iBUG order. A box is (left, top, right,
    bottom), edges not centres; it reaches about from brows to chin.
    Worked value: a landmark that dlib puts on the photo's first pixel, index (0, 0), is given as (0.5, 0.5).

How a photo is searched: dlib's frontal detector (histograms of oriented gradients, HOG) finds faces of 80
pixels and more, in time proportional to the pixels. So it gets copies of the photo of bounded area, coarse
first, and a finer one only while no face was found, or while the faces found are so small that there may be
smaller ones. Where two such copies hold no face, dlib's convolutional detector looks at a small copy: it
finds faces in profile, rolled by up to 100 degrees, or half covered, at some 4 microseconds a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from PIL import Image

from inversefacenet.crop import check_landmarks
from inversefacenet.dlib_models import DlibModels, import_dlib
from inversefacenet.errors import ImageError, LandmarkError, NoFaceError
from inversefacenet.face_patch import Box, FacePatch, overlap, rotation, square
from inversefacenet.stages import stage

MINIMUM_SIZE = 20.0
"""Faces narrower than this many photo pixels are not looked for: too little to reconstruct from."""


@dataclass(frozen=True)
class _Search:
    """One copy of the photo to look at.

    Attributes:
        area: Pixels of the copy.
        threshold: Least HOG margin; higher where more windows give more chances of a false face.
        when_none: Only where nothing was found so far; never to find more.
        convolutional: By the convolutional detector.
    """

    area: float
    threshold: float = 0.0
    when_none: bool = False
    convolutional: bool = False


_SEARCHES = (
    _Search(area=200_000),
    _Search(area=600_000),
    _Search(area=100_000, when_none=True, convolutional=True),
    _Search(area=1_800_000, threshold=0.1),
    _Search(area=6_000_000, threshold=0.3, when_none=True),
)
_WINDOW = 80.0  # the narrowest face that the HOG detector finds, in pixels of the searched copy
_CLEAR = 0.25  # HOG margin below which a detection beside others is more often a pattern than a face
_ENLARGEMENT = 4.0  # no photo is enlarged by more than this

# Medians over photos where both find the same face: the HOG detector's box against the convolutional one
# (shift of the centre and width, in the latter's widths).
_TO_FRONTAL_BOX = (0.03, 0.09, 1.04)

_ROLLS = tuple(math.radians(degrees) for degrees in (0, -30, 30, -60, 60, -90, 90))
_UPRIGHT = math.radians(5)  # a roll that the predictor doesn't mind
_FACE_WIDTH = 200.0  # box width on the patch that landmarks are predicted on, pixels
# Moves of the box, in box widths, whose predictions are averaged: the error falls by 6%, jitter more.
_MOVES = ((0.0, 0.0), (0.03, 0.0), (-0.03, 0.0), (0.0, 0.03), (0.0, -0.03))


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


@dataclass(frozen=True)
class _Found:
    box: Box
    score: float
    roll: float = 0.0

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]


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
    """

    def __init__(
        self,
        *,
        minimum_size: float = MINIMUM_SIZE,
        hard_faces: bool = True,
        predictor: str | Path | None = None,
    ) -> None:
        self.minimum_size = minimum_size
        self.hard_faces = hard_faces
        self._models = DlibModels(None if predictor is None else Path(predictor))

    def load(self) -> None:
        """Load now what would be loaded for this thread's first photo.

        Raises:
            MissingDependencyError: dlib or its weights are not installed.
            InputError: The predictor's file can't be read, or isn't one.
        """
        self._models.frontal()
        self._models.predictor()
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
            faces: "largest" stops at the coarsest copy that shows a face, and predicts the landmarks of
                the largest one alone.
            minimum_size: Overrides the detector's own limit for this photo.
            limit: Keep the largest faces only, at most so many.

        Returns:
            At least one face, ordered by the area of the box, largest first.

        Raises:
            NoFaceError: There is none; the message says what may help.
            ImageError: The array is not an 8-bit RGB image.
            MissingDependencyError: dlib or its weights are not installed.
        """
        _check(image)
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
            return [Face(one.box, one.score, *self._align(image, one.box, one.roll)) for one in found]

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
        _check(image)
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
        return Face(whole, score, *self._align(image, whole, roll if abs(roll) > _UPRIGHT else 0.0))

    def search(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        *,
        faces: Literal["largest", "all"] = "all",
        minimum_size: float = MINIMUM_SIZE,
    ) -> list[_Found]:
        """Search copy after copy for faces, without their landmarks; the list may be empty."""
        height, width = image.shape[:2]
        source = Image.fromarray(image)
        found: list[_Found] = []
        finest = 0.0
        for search in _SEARCHES:
            if found and (search.when_none or faces == "largest"):
                continue
            if search.convolutional:
                if self.hard_faces:
                    found = self._find_hard(image, _copy(source, search.area))
                continue
            if found and min(one.width for one in found) * finest > 2 * _WINDOW:
                break  # all are large: much smaller ones are unlikely
            if finest * minimum_size >= _WINDOW:
                break
            scale = _scale(source, search.area)
            if scale < 1.2 * finest:
                break  # enlarged to the limit already
            finest = scale
            copy = _copy(source, search.area)
            x, y = width / copy.shape[1], height / copy.shape[0]
            boxes, scores, _ = self._models.frontal().run(copy, 0, search.threshold)
            for box, score in zip(boxes, scores, strict=True):
                # dlib's rectangles name their last pixel; its far edge is one further.
                edges = (box.left() * x, box.top() * y, (box.right() + 1) * x, (box.bottom() + 1) * y)
                found.append(_Found(edges, float(score)))
            found = _credible(_distinct(found))
        return [one for one in found if one.width >= minimum_size]

    def _find_hard(
        self, image: UInt8[np.ndarray, "height width 3"], copy: UInt8[np.ndarray, "rows columns 3"]
    ) -> list[_Found]:
        """Find faces with the convolutional detector, each at the roll that makes it look most frontal."""
        if min(copy.shape[:2]) < _WINDOW / 2:
            return []  # no room for a face, and the network refuses slivers
        x, y = image.shape[1] / copy.shape[1], image.shape[0] / copy.shape[0]
        dx, dy, size = _TO_FRONTAL_BOX
        found = []
        for detection in self._models.convolutional()(copy, 0):
            r = detection.rect
            width = (r.right() + 1 - r.left()) * x
            centre = np.array([(r.left() + r.right() + 1) * x / 2, (r.top() + r.bottom() + 1) * y / 2])
            patch = FacePatch.cut(image, square(centre, size * width), 100.0)
            candidates = []
            for roll in _ROLLS:
                shift = rotation(roll) @ [dx, dy]
                turned = patch.turned(roll, patch.centre + shift * patch.width / size, patch.width)
                box = square(centre + shift * width, size * width)
                candidates.append(_Found(box, self._frontal_margin(turned), roll))
            upright, best = candidates[0], max(candidates, key=lambda one: one.score)
            # A profile looks frontal at no roll: then upright is the best guess.
            found.append(best if best.score > max(upright.score + 0.2, -0.5) else upright)
        return _distinct(found)

    def _frontal_margin(self, patch: FacePatch) -> float:
        """Return how much the patch's own face looks like a frontal one; -1 is not at all."""
        boxes, scores, _ = self._models.frontal().run(patch.pixels, 0, -1.0)
        own = square(patch.centre, patch.width)
        margins = [
            float(score)
            for box, score in zip(boxes, scores, strict=True)
            if overlap(own, (box.left(), box.top(), box.right() + 1, box.bottom() + 1)) > 0.35
        ]
        return max(margins, default=-1.0)

    def _align(
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
            if abs(turn) > _UPRIGHT:
                patch = patch.turned(turn, centre, width)
                centre = patch.centre
            elif abs(ratio - 1) < 0.05:
                break
        predicted = np.stack([self._predict(patch, centre, width, move) for move in _MOVES])
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


def _scale(source: Image.Image, area: float) -> float:
    return min(_ENLARGEMENT, math.sqrt(area / (source.width * source.height)))


def _copy(source: Image.Image, area: float) -> UInt8[np.ndarray, "rows columns 3"]:
    """Scale the photo to about `area` pixels, or to the limit of enlargement."""
    scale = _scale(source, area)
    size = (max(1, round(source.width * scale)), max(1, round(source.height * scale)))
    resample = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(source.resize(size, resample, reducing_gap=2.0))


def _distinct(faces: list[_Found]) -> list[_Found]:
    """Keep the best score of boxes that share a third of their union."""
    kept: list[_Found] = []
    for face in sorted(faces, key=lambda one: one.score, reverse=True):
        if all(overlap(face.box, other.box) < 1 / 3 for other in kept):
            kept.append(face)
    return kept


def _credible(faces: list[_Found]) -> list[_Found]:
    """Drop weak detections (badges, patterns) beside clear ones; of weak ones alone keep the best."""
    best = max((one.score for one in faces), default=0.0)
    return [one for one in faces if one.score >= min(best, _CLEAR)]


def _check(image: UInt8[np.ndarray, "height width 3"]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(
            f"Expected an 8-bit RGB photo, uint8 [height, width, 3]; got {image.dtype} {list(image.shape)}."
        )
