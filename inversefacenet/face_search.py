"""Search of a photo's copies, coarse ones first, by dlib's detectors.

Convention:
    Boxes are in continuous photo pixels. Worked value: a detection of dlib's from index 0 to 79 across the
    copy of a photo that was scaled to a half is 160 photo pixels wide, from 0 to 160.

dlib's frontal detector (histograms of oriented gradients, HOG) finds faces of 80 pixels and more, in time
proportional to the pixels. So it gets copies of the photo of bounded area, coarse first, and a finer one only
while no face was found, or while the faces found are so small that there may be smaller ones. Where two such
copies hold no face, dlib's convolutional detector looks at a small copy: it finds faces in profile, rolled by
up to 100 degrees, or half covered, at some 4 microseconds a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from inversefacenet.dlib_models import DlibModels
from inversefacenet.face_patch import Box, FacePatch, overlap, rotation, square


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
WINDOW: Final = 80.0
"""The narrowest face that the HOG detector finds, in pixels of the searched copy."""

CLEAR: Final = 0.25
"""HOG margin below which a detection beside others is more often a pattern than a face."""

_ENLARGEMENT = 4.0  # no photo is enlarged by more than this

# Medians over photos where both find the same face: the HOG detector's box against the convolutional one
# (shift of the centre and width, in the latter's widths).
_TO_FRONTAL_BOX = (0.03, 0.09, 1.04)

_ROLLS = tuple(math.radians(degrees) for degrees in (0, -30, 30, -60, 60, -90, 90))


@dataclass(frozen=True)
class Found:
    """A face found in a photo.

    Attributes:
        box: (left, top, right, bottom) in photo pixels.
        score: Margin of the frontal detector.
        roll: By how many radians the face is rolled clockwise, if that is known.
    """

    box: Box
    score: float
    roll: float = 0.0

    @property
    def width(self) -> float:
        """Width of the box."""
        return self.box[2] - self.box[0]


class CopySearch:
    """Searches copy after copy for faces.

    Args:
        models: dlib's detectors.
        hard_faces: Use the convolutional detector where the other finds nothing.
    """

    def __init__(self, models: DlibModels, *, hard_faces: bool = True) -> None:
        self._models = models
        self.hard_faces = hard_faces

    def search(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        *,
        faces: Literal["largest", "all"],
        minimum_size: float,
    ) -> list[Found]:
        """Return the faces of a photo; the list may be empty.

        Args:
            image: 8-bit sRGB photo.
            faces: "largest" stops at the coarsest copy that shows a face.
            minimum_size: Narrower faces, in photo pixels, are left out.
        """
        height, width = image.shape[:2]
        source = Image.fromarray(image)
        found: list[Found] = []
        finest = 0.0
        for search in _SEARCHES:
            if found and (search.when_none or faces == "largest"):
                continue
            if search.convolutional:
                if self.hard_faces:
                    found = self._find_hard(image, _copy(source, search.area))
                continue
            if found and min(one.width for one in found) * finest > 2 * WINDOW:
                break  # all are large: much smaller ones are unlikely
            if finest * minimum_size >= WINDOW:
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
                found.append(Found(edges, float(score)))
            found = credible(distinct(found))
        return [one for one in found if one.width >= minimum_size]

    def _find_hard(
        self, image: UInt8[np.ndarray, "height width 3"], copy: UInt8[np.ndarray, "rows columns 3"]
    ) -> list[Found]:
        """Find faces with the convolutional detector, each at the roll that makes it look most frontal."""
        if min(copy.shape[:2]) < WINDOW / 2:
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
                candidates.append(Found(box, self._frontal_margin(turned), roll))
            upright, best = candidates[0], max(candidates, key=lambda one: one.score)
            # A profile looks frontal at no roll: then upright is the best guess.
            found.append(best if best.score > max(upright.score + 0.2, -0.5) else upright)
        return distinct(found)

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


def _scale(source: Image.Image, area: float) -> float:
    return min(_ENLARGEMENT, math.sqrt(area / (source.width * source.height)))


def _copy(source: Image.Image, area: float) -> UInt8[np.ndarray, "rows columns 3"]:
    """Scale the photo to about `area` pixels, or to the limit of enlargement."""
    scale = _scale(source, area)
    size = (max(1, round(source.width * scale)), max(1, round(source.height * scale)))
    resample = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(source.resize(size, resample, reducing_gap=2.0))


def distinct(faces: list[Found]) -> list[Found]:
    """Keep the best score of boxes that share a third of their union."""
    kept: list[Found] = []
    for face in sorted(faces, key=lambda one: one.score, reverse=True):
        if all(overlap(face.box, other.box) < 1 / 3 for other in kept):
            kept.append(face)
    return kept


def credible(faces: list[Found]) -> list[Found]:
    """Drop weak detections (badges, patterns) beside clear ones; of weak ones alone keep the best."""
    best = max((one.score for one in faces), default=0.0)
    return [one for one in faces if one.score >= min(best, CLEAR)]
