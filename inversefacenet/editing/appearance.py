"""How much brighter or darker each point of the face becomes, and what hidden points look like.

The photo's colour times the new shading and reflectance over the old (the ratio image of Liu et al. 2001, the
relighting of Wen et al. 2003): whatever the model doesn't know, wrinkles, beard or make-up, stays.

Convention:
    All of it is linear and per vertex. A ratio is taken of guarded values (`guarded`), limited where model
    and photo disagree, and smoothed in its logarithm, so that lids that lie a pixel off don't show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32

from inversefacenet.editing.lights import LUMINANCE, mean_irradiance
from inversefacenet.editing.mesh_kernels import shade, smoothed, spread
from inversefacenet.editing.sampling_view import PhotoSamples
from inversefacenet.editing.surface import Surface, Surfaces, links_of
from inversefacenet.errors import LandmarkError
from inversefacenet.morphable_model import MOUTH_PART
from inversefacenet.parameters import Parameters

_DARKEST: Final = 0.07  # irradiance never falls below this share of its mean
_LEAST_REFLECTANCE: Final = 0.008
_FREE_RATIO: Final = 2.5  # brightened by more than this, detail and noise are held back
_LARGEST_RATIO: Final = 4.5
_SMALLEST_RATIO: Final = 1 / 12
_AGREEMENT: Final = 1.6  # photo and model may differ by this factor before the ratio is limited
_BURNT: Final = (0.6, 0.95)  # linear values between which a colour counts more and more as burnt out
_SMOOTHINGS: Final = 6
_SPREADINGS: Final = 120
_MOUTH: Final = 0.35  # light that reaches the mouth's interior: the model knows no shadows
_DISAGREEMENT: Final = (0.3, 3.0)  # what hidden parts may differ from the model by, like the seen ones


@dataclass(frozen=True, eq=False)
class Appearance:
    """What an edit does to colours.

    Attributes:
        ratio: Factor on the photo's linear RGB, per vertex.
        fill: Linear RGB of parts that the photo doesn't show.
    """

    ratio: Float32[np.ndarray, "vertices 3"]
    fill: Float32[np.ndarray, "vertices 3"]


class Appearances:
    """The colours of one photo's face, present and edited."""

    def __init__(
        self, surfaces: Surfaces, present: Surface, parameters: Parameters, samples: PhotoSamples
    ) -> None:
        """Compare the face model's present colours with the photo's.

        Args:
            surfaces: Makes reflectances.
            present: The surface as it lies in the photo.
            parameters: The present parameters.
            samples: What the photo shows of each vertex.
        """
        model = surfaces.model
        self._surfaces = surfaces
        self._starts, self._links = links_of(model)
        self._colours = self._guarded_colours(present, parameters)
        inside = model.vertex_part == model.part_names.index(MOUTH_PART)
        self._mouth: Bool[np.ndarray, "vertices"] = inside
        with_photo = np.clip(samples.colours / self._colours, *_DISAGREEMENT).astype(np.float32)
        known = (samples.seen > 0.5) & ~inside
        self._disagreement = spread(with_photo, known, self._starts, self._links, _SPREADINGS)
        middle = np.median(with_photo[known], axis=0) if known.any() else np.ones(3)
        self._disagreement[inside] = _MOUTH * np.minimum(middle, 1.2)
        self._disagreement = smoothed(self._disagreement, self._starts, self._links, 2)
        self._low = samples.colours * (samples.seen[:, None]) + self._disagreement * self._colours * (
            1 - samples.seen[:, None]
        )

    def edited(self, surface: Surface, parameters: Parameters) -> Appearance:
        """Return what an edit does.

        Raises:
            LandmarkError: If the parameters are so large that the face has no finite colours.
        """
        new = self._guarded_colours(surface, parameters)
        old, photo = self._colours, self._low
        ratio = np.maximum(new / old, _SMALLEST_RATIO)
        room = _LARGEST_RATIO - _FREE_RATIO
        beyond = np.maximum(ratio - _FREE_RATIO, 0)
        ratio = np.minimum(ratio, _FREE_RATIO) + room * (1 - np.exp(-beyond / room))
        # Where the model says "dark" of bright skin, or the other way round, the full ratio would burn the
        # photo out or blacken it: what comes out may leave the model's colour no farther than it does now.
        most = np.maximum(photo, _AGREEMENT * new) / photo
        least = np.minimum(photo, new / _AGREEMENT) / photo
        ratio = np.where(ratio > 1, np.minimum(ratio, np.maximum(most, 1)), ratio)
        ratio = np.where(ratio < 1, np.maximum(ratio, np.minimum(least, 1)), ratio)
        ratio = _with_hue(ratio, photo, new)
        if (np.abs(ratio - 1) > 1e-6).any():
            logarithm = np.log(ratio).astype(np.float32)
            ratio = np.exp(smoothed(logarithm, self._starts, self._links, _SMOOTHINGS))
        else:
            ratio = np.ones_like(ratio)
        fill = (new * self._disagreement).astype(np.float32)
        if not (np.isfinite(ratio).all() and np.isfinite(fill).all()):
            raise LandmarkError("The parameters are so large that the face has no finite colours.")
        return Appearance(ratio.astype(np.float32), fill)

    def _guarded_colours(self, surface: Surface, parameters: Parameters) -> Float32[np.ndarray, "vertices 3"]:
        light = shade(surface.lit_normals, parameters.illumination)
        floor = _DARKEST * np.maximum(mean_irradiance(parameters.illumination), 0.02)
        reflectance = self._surfaces.reflectance(parameters)
        reflectance = guarded(reflectance, np.float32(_LEAST_REFLECTANCE) * np.ones(3, np.float32))
        return (reflectance * guarded(light, floor)).astype(np.float32)


def _with_hue(
    ratio: Float[np.ndarray, "vertices 3"],
    photo: Float[np.ndarray, "vertices 3"],
    new: Float[np.ndarray, "vertices 3"],
) -> Float[np.ndarray, "vertices 3"]:
    """Give skin that the photo burnt out the model's hue when it is darkened; it would become grey."""
    clipped = np.clip((photo.max(axis=1) - _BURNT[0]) / (_BURNT[1] - _BURNT[0]), 0, 1)
    darkened = photo * ratio
    brightness = darkened @ LUMINANCE / (photo @ LUMINANCE)
    share = clipped * np.clip(1.5 * (1 - brightness), 0, 1)
    hued = new * (darkened @ LUMINANCE / (new @ LUMINANCE))[:, None]
    return ratio + share[:, None] * (hued / photo - ratio)


def guarded(
    values: Float[np.ndarray, "*shape 3"], floor: Float[np.ndarray, "3"]
) -> Float32[np.ndarray, "*shape 3"]:
    """Bend values smoothly to a floor: themselves from twice the floor up, the floor from 0 down."""
    positive = np.maximum(values, 0)
    return np.where(values >= 2 * floor, values, floor + positive * positive / (4 * floor)).astype(np.float32)
