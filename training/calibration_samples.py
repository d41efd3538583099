"""Good faces and failures to calibrate the confidence with, made from photographs without any labels.

Each photo's largest face gives up to four samples: itself, the same after something harmless, and two
failures (`training.failures`), reconstructed as the service would. Photos whose largest face is doubtful from
the start, in profile or found by the search for hard faces alone, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.dlib_models import DlibModels
from inversefacenet.errors import InverseFaceNetError, NoFaceError
from inversefacenet.evidence import evidence
from inversefacenet.face_patch import Box, FacePatch, overlap, square
from inversefacenet.image import load_photo
from inversefacenet.landmarks import Face, FaceDetector
from inversefacenet.reconstruction import Reconstruction, Reconstructor
from training.failures import FAILURES, HARMLESS, Case, Subject

GOOD: Final = "good"

_FAMILY_ORDER: Final = (0, 1, 0, 2, 0, 1, 2, 3)  # of the failures that photos get in turn
_STEADY_YAW: Final = math.radians(40)
_WEAK: Final = (-1.0, 0.35)  # margins of patterns that are taken for faces; above it may be one
_SAME: Final = 1 / 3


@dataclass(frozen=True)
class Sample:
    """One reconstruction and what is known of it.

    Attributes:
        family: `GOOD`, or the failure's family.
        kind: What was done to the photo; "plain" is nothing.
        person: Whose photo it was: cross-validation never has a person on both sides.
        measures: The evidence.
    """

    family: str
    kind: str
    person: str
    measures: dict[str, float]

    @property
    def good(self) -> bool:
        """Whether the reconstruction is usable."""
        return self.family == GOOD


class Sampler:
    """Makes samples of photos."""

    def __init__(self, network: Path | None, seed: int) -> None:
        """Load detector, network and face model.

        Args:
            network: The network's file; by default the fast one.
            seed: Together with a photo's number it decides all that is random.
        """
        self._detector = FaceDetector(hard_faces=False)
        self._models = DlibModels()
        self._reconstructor = Reconstructor(self._detector, OnnxBackend(network, threads=1))
        self._seed = seed

    @property
    def digests(self) -> tuple[str, str]:
        """SHA-256 of the network's and of the face model's file."""
        return self._reconstructor.backend.digest, self._reconstructor.model.digest

    def samples(self, path: Path, number: int) -> list[Sample]:
        """Return the samples of a photo; none if it can't be read or shows no clean face."""
        generator = np.random.default_rng([self._seed, number])
        person = path.parent.name
        try:
            image = load_photo(path)
            (first,) = self._reconstructor.reconstruct(image)
        except InverseFaceNetError:
            return []
        if first.face.score < 0 or abs(float(first.parameters.rotation[0])) > _STEADY_YAW:
            return []
        subject = Subject(image, first.face, first.parameters, first.photo_placement, first.model)
        found = [Sample(GOOD, "plain", person, _measures(first))]
        for family, kind in kinds_of(number):
            maker = HARMLESS[kind] if family == GOOD else FAILURES[family][kind]
            try:
                case = maker(subject, generator)
                face = self._locate(case, generator, strict=family == GOOD)
                (made,) = self._reconstructor.reconstruct_faces(case.image, [face])
            except InverseFaceNetError:
                continue  # such a photo gets an error, not an answer
            found.append(Sample(family, kind, person, _measures(made)))
        return found

    def _locate(self, case: Case, generator: np.random.Generator, *, strict: bool) -> Face:
        """Find the face, or what is taken for one, as the service's detector would.

        Raises:
            NoFaceError: If there is none; with `strict`, if it isn't where the face is.
        """
        if case.faceless:
            return self._pattern(case.image)
        if case.box is not None:
            # The detector saw no face here; its score must not be what gives such boxes away.
            score = generator.normal(1.5, 0.6) if generator.random() < 0.5 else generator.uniform(-1, 0.5)
            return self._detector.face_at(case.image, case.box, float(score))
        try:
            (face,) = self._detector.detect(case.image, faces="largest")
        except NoFaceError:
            if strict or case.known is None:
                raise
            return self._hard_face(case.image, case.known, generator)
        if strict and case.known is not None and overlap(face.box, case.known) < _SAME:
            raise NoFaceError("The detector found another face.")
        return face

    def _hard_face(
        self, image: UInt8[np.ndarray, "height width 3"], known: Box, generator: np.random.Generator
    ) -> Face:
        """Stand in for the convolutional detector, which finds most such faces, but takes half a second."""
        size = known[2] - known[0]
        centre = np.array([(known[0] + known[2]) / 2, (known[1] + known[3]) / 2])
        centre = centre + generator.normal(0, 0.05 * size, 2)
        box = square(centre, size * float(np.exp(generator.normal(0, 0.08))))
        patch = FacePatch.cut(image, box, 100.0)
        own = square(patch.centre, patch.width)
        boxes, scores, _ = self._models.frontal().run(patch.pixels, 0, -1.0)
        margins = [
            float(score)
            for one, score in zip(boxes, scores, strict=True)
            if overlap(own, (one.left(), one.top(), one.right() + 1, one.bottom() + 1)) > _SAME
        ]
        return self._detector.face_at(image, box, max(margins, default=-1.0))

    def _pattern(self, image: UInt8[np.ndarray, "height width 3"]) -> Face:
        """Return what looks most like a face where there is none.

        Raises:
            NoFaceError: If nothing does, or something looks so much like one that it may be one.
        """
        height, width = image.shape[:2]
        doubled = np.asarray(Image.fromarray(image).resize((2 * width, 2 * height)))
        boxes, scores, _ = self._models.frontal().run(doubled, 0, _WEAK[0])
        if not len(boxes) or max(scores) > _WEAK[1]:
            raise NoFaceError("Nothing looks like a face, but isn't one.")
        best = int(np.argmax(scores))
        one = boxes[best]
        box = (one.left() / 2, one.top() / 2, (one.right() + 1) / 2, (one.bottom() + 1) / 2)
        return self._detector.face_at(image, box, float(scores[best]))


def kinds_of(number: int) -> list[tuple[str, str]]:
    """Return family and kind of what is done to the photo of a number: all kinds come in turn."""
    harmless = list(HARMLESS)
    chosen = [(GOOD, harmless[number % len(harmless)])]
    families = list(FAILURES)
    for place in (2 * number, 2 * number + 1):
        family = families[_FAMILY_ORDER[place % len(_FAMILY_ORDER)]]
        rounds, within = divmod(place, len(_FAMILY_ORDER))
        share = _FAMILY_ORDER.count(families.index(family))
        earlier = _FAMILY_ORDER[:within].count(families.index(family))
        kinds = list(FAILURES[family])
        chosen.append((family, kinds[(rounds * share + earlier) % len(kinds)]))
    return chosen


def make_samples(
    paths: Sequence[Path], network: Path | None, seed: int, workers: int
) -> Iterator[list[Sample]]:
    """Yield the samples of each photo, in order; the same whatever the number of workers."""
    if workers == 1:
        sampler = Sampler(network, seed)
        yield from (sampler.samples(path, number) for number, path in enumerate(paths))
        return
    with ProcessPoolExecutor(workers, initializer=_start, initargs=(network, seed)) as pool:
        yield from pool.map(_work, paths, range(len(paths)), chunksize=4)


_SAMPLERS: dict[str, Sampler] = {}


def _start(network: Path | None, seed: int) -> None:
    _SAMPLERS["own"] = Sampler(network, seed)


def _work(path: Path, number: int) -> list[Sample]:
    return _SAMPLERS["own"].samples(path, number)


def _measures(reconstruction: Reconstruction) -> dict[str, float]:
    one = reconstruction
    return evidence(one.face, one.crop, one.rendering, one.quality)
