"""A photo with a clean face, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from inversefacenet.camera import Placement
from inversefacenet.face_patch import Box
from inversefacenet.landmarks import Face
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters

Photo = UInt8[np.ndarray, "height width 3"]
Generator = np.random.Generator


@dataclass(frozen=True)
class Subject:
    """A photo whose largest face is clean.

    Attributes:
        image: The photo.
        face: Its largest face.
        parameters: The network's answer.
        placement: Image plane to photo pixels, for this answer.
        model: The face model.
    """

    image: Photo
    face: Face
    parameters: Parameters
    placement: Placement
    model: MorphableModel

    @property
    def unit(self) -> float:
        """Distance of the outer eye corners in photo pixels."""
        return float(np.linalg.norm(self.face.landmarks[45] - self.face.landmarks[36]))

    def at(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Take points of the face's own frame to photo pixels."""
        marks = self.face.landmarks.astype(np.float64)
        origin = (marks[36:42].mean(axis=0) + marks[42:48].mean(axis=0)) / 2
        across = marks[45] - marks[36]
        down = np.array([-across[1], across[0]])
        return [(float(x), float(y)) for x, y in (origin + u * across + v * down for u, v in points)]

    def skin(self) -> Float[np.ndarray, "3"]:
        """Return the colour of the cheeks, 8-bit sRGB."""
        height, width = self.image.shape[:2]
        colours = []
        for x, y in self.at([(-0.3, 0.45), (0.3, 0.45), (0.0, 0.35)]):
            column, row = min(max(int(x), 2), width - 3), min(max(int(y), 2), height - 3)
            colours.append(self.image[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3).mean(axis=0))
        return np.median(colours, axis=0)


@dataclass(frozen=True)
class Case:
    """A photo to reconstruct.

    Attributes:
        image: The photo.
        box: Where a face is claimed to be; None asks the detector.
        known: Where the face really is; None if there is none.
        faceless: The photo holds no large face; a detector with a lower threshold is asked for what looks
            most like one.
    """

    image: Photo
    box: Box | None = None
    known: Box | None = None
    faceless: bool = False


Maker = Callable[[Subject, Generator], Case]
