"""Who is seen: shape and skin as means over a person's frames, which settle; and the light to go with them.

Convention:
    A frame counts with the square of its confidence. With w the frame's weight and W the sum of all, the mean
    moves by w / W of the way; W grows to a limit, so that the gain falls to a small rest.
    Worked value: three frames of confidence 1 count alike, each a third.

A photo tells skin times light. Where a frame's answer says darker skin in brighter light than the mean, the
light is scaled with it, so that the face stays as bright as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64

from inversefacenet.parameters import Parameters

if TYPE_CHECKING:
    from inversefacenet.morphable_model import MorphableModel

_DARKEST = 0.02  # mean linear reflectance of a face: darker than any skin
_LEAST_WEIGHT = 1e-3  # so that a first frame of no confidence is a mean, too


@dataclass(frozen=True, eq=False)
class Identity:
    """What is known of one person.

    Attributes:
        shape: Mean shape coefficients.
        reflectance: Mean reflectance coefficients.
        weight: The sum of the frames' weights, at most the limit.
        person: Number of the person in the video, from 1.
        strange: How many frames in a row looked like somebody else.
    """

    shape: Float64[np.ndarray, "128"]
    reflectance: Float64[np.ndarray, "128"]
    weight: float
    person: int = 1
    strange: int = 0

    @classmethod
    def of(cls, parameters: Parameters, confidence: float, person: int = 1) -> Identity:
        """Begin with one frame's answer."""
        return cls(
            parameters.shape.astype(np.float64),
            parameters.reflectance.astype(np.float64),
            _weight(confidence),
            person,
        )

    def distance(self, parameters: Parameters) -> float:
        """Return the root mean squared difference of an answer's shape and skin, in standard deviations."""
        difference = np.concatenate(
            [parameters.shape - self.shape, parameters.reflectance - self.reflectance]
        )
        return float(np.sqrt(np.mean(difference**2)))

    def settled(self, parameters: Parameters, confidence: float, memory: float) -> Identity:
        """Take in one more frame of the same person.

        Args:
            parameters: The network's answer.
            confidence: How sure it is, 0 to 1.
            memory: Limit of the weight.
        """
        weight = _weight(confidence)
        total = min(self.weight + weight, memory)
        gain = weight / total
        return Identity(
            self.shape + gain * (parameters.shape - self.shape),
            self.reflectance + gain * (parameters.reflectance - self.reflectance),
            total,
            self.person,
        )


@dataclass(frozen=True, eq=False)
class SkinTone:
    """A face model's mean colour as a function of its reflectance coefficients.

    Attributes:
        mean: Linear RGB of the mean face, averaged over the painted region.
        slopes: Its change by each coefficient.
    """

    mean: Float64[np.ndarray, "3"]
    slopes: Float64[np.ndarray, "3 128"]

    @classmethod
    def of(cls, model: MorphableModel) -> SkinTone:
        """Average a face model's reflectance, which is linear in the coefficients (Eq. 3)."""
        painted = model.painted_vertices
        basis = model.reflectance_basis.reshape(model.vertex_count, 3, -1)[painted].mean(axis=0)
        mean = model.mean_reflectance[painted].mean(axis=0).astype(np.float64)
        return cls(mean, basis.astype(np.float64) * model.reflectance_sigma)

    def colour(self, reflectance: Float[np.ndarray, "128"]) -> Float64[np.ndarray, "3"]:
        """Return the mean linear RGB of a face."""
        return np.maximum(self.mean + self.slopes @ reflectance, _DARKEST)

    def relit(self, parameters: Parameters, identity: Identity) -> Parameters:
        """Scale an answer's light by how much brighter its own skin is than the person's."""
        gain = self.colour(parameters.reflectance) / self.colour(identity.reflectance)
        return replace(parameters, illumination=(parameters.illumination * gain).astype(np.float32))


def _weight(confidence: float) -> float:
    # NaN, where nobody can tell, counts as sure.
    return max(confidence**2, _LEAST_WEIGHT) if confidence == confidence else 1.0
