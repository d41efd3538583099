"""Videos of rendered faces, and stand-ins that find and answer them with noise of a known size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inversefacenet.errors import NoFaceError
from inversefacenet.landmarks import Face
from inversefacenet.parameters import Parameters
from inversefacenet.reconstruction import Reconstructor
from inversefacenet.rendering import render
from inversefacenet.tracking.motion import face_width

HEIGHT, WIDTH, SIDE = 200, 260, 120
NOISE = 0.6  # of landmarks, pixels
PARAMETER_NOISE = 0.02


@dataclass
class Scene:
    """One frame.

    Attributes:
        image: The picture.
        landmarks: Where the landmarks truly are; None without a face.
        parameters: The true face; None likewise.
    """

    image: np.ndarray
    landmarks: np.ndarray | None
    parameters: Parameters | None


def empty(level=30):
    return Scene(np.full((HEIGHT, WIDTH, 3), level, np.uint8), None, None)


def scene(model, parameters, left=60.0, top=30.0, level=30):
    """Draw a face into a picture; its place is rounded for the pixels, not for the landmarks."""
    rendering = render(model, parameters, SIDE)
    shown = empty(level)
    x, y = round(left), round(top)
    region = shown.image[y : y + SIDE, x : x + SIDE]
    region[rendering.mask] = rendering.image[rendering.mask]
    shown.landmarks = rendering.landmarks + np.array([left, top], np.float32)
    shown.parameters = parameters
    return shown


def person(seed, spread=0.4):
    """A face's shape and skin."""
    rng = np.random.default_rng(seed)
    theta = Parameters.neutral().vector()
    theta[3:131] = spread * rng.normal(size=128)
    theta[195:323] = spread * rng.normal(size=128)
    return theta


def turned(theta, yaw=0.0, mouth=0.0):
    theta = theta.copy()
    theta[0] = yaw
    theta[131] = mouth
    return Parameters.from_vector(theta)


class Tripod:
    """Detector and network for scenes: finds what is there, with noise; remembers what it was asked."""

    name = "tripod"
    digest = "ab" * 32

    def __init__(self, seed=0, noise=NOISE, parameter_noise=PARAMETER_NOISE):
        self._rng = np.random.default_rng(seed)
        self._noise, self._parameter_noise = noise, parameter_noise
        self.scene = empty()
        self.searched = self.followed = 0

    def detect(self, image, *, faces="largest", minimum_size=None, limit=None):
        self.searched += 1
        if self.scene.landmarks is None:
            raise NoFaceError("No face was found.")
        points = self._seen()
        return [Face(box_around(points), 1.5, points, 0.004)]

    def face_at(self, image, box, score=float("nan"), roll=0.0):
        self.followed += 1
        width = box[2] - box[0]
        centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        if self.scene.landmarks is not None:
            points = self._seen()
            if np.linalg.norm(points[17:].mean(axis=0) - centre) < 0.4 * width:
                return Face(box, score, points, 0.004)
        # As a predictor does where there is no face: something, somewhere.
        points = centre + 0.3 * width * self._rng.normal(size=(68, 2))
        return Face(box, score, points.astype(np.float32), 0.2)

    def infer(self, crops, *, timeout=None):
        theta = self.scene.parameters.vector()
        noise = self._parameter_noise * self._rng.normal(size=(len(crops), 350))
        noise[:, 323:] *= 0.3  # light is told the most exactly
        return (theta + noise).astype(np.float32)

    def _seen(self):
        noise = self._noise * self._rng.normal(size=(68, 2))
        return (self.scene.landmarks + noise).astype(np.float32)


def box_around(points):
    centre, half = points[17:].mean(axis=0), face_width(points) / 2
    return tuple(float(edge) for edge in (*(centre - half), *(centre + half)))


def run(tracker, tripod, scenes, rate=30.0, start=0.0):
    """Track scenes; returns their results."""
    found = []
    for number, one in enumerate(scenes):
        tripod.scene = one
        found.append(tracker.track(one.image, start + number / rate))
    return found


def make(model, **options):
    """A tracker, and the stand-in behind it; every answer is believed unless told otherwise."""
    from inversefacenet.tracking import Tracker, TrackingOptions

    tripod = Tripod()
    reconstructor = Reconstructor(tripod, tripod, model)
    return Tracker(reconstructor, TrackingOptions(**{"least_confidence": 0.0, **options})), tripod
