"""Colour differences at pixels and their derivatives by all 350 parameters.

A sample is a point of the surface, seen by a pixel. As the parameters change, it changes its colour and
moves over the photo, so its residual is colour(theta) - photo(position(theta)), in levels. Positions lead
through the placement, the projection and the rotation to the geometry; colours through sRGB and irradiance
to the normals, and from there to the geometry around. Which triangle a pixel sees is held.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float

from inversefacenet.colour import srgb_encode
from inversefacenet.fitting.placing import Motion
from inversefacenet.fitting.posed import GEOMETRY, POSE, PosedFace
from inversefacenet.fitting.samples import Samples, position_rows
from inversefacenet.fitting.shading import encoding_slopes, normal_velocities
from inversefacenet.fitting.view import LEVELS
from inversefacenet.parameters import ILLUMINATION, PARAMETER_COUNT, REFLECTANCE, ROTATION

_CHUNK: Final = 512
"""Samples whose directions are gathered at once: they stay in the cache."""


def colours(face: PosedFace, samples: Samples) -> Float[np.ndarray, "samples 3"]:
    """Return the samples' colours in levels."""
    linear = np.einsum("sk,skc->sc", samples.weights, face.colours[samples.corners])
    return LEVELS * srgb_encode(linear)


def jacobian(
    face: PosedFace,
    moved: Motion,
    samples: Samples,
    gradient: Float[np.ndarray, "samples 3 2"],
    weights: Float[np.ndarray, "samples"],
) -> Float[np.ndarray, "samples 3 350"]:
    """Return the derivatives of the samples' residuals, times their weights.

    Args:
        face: The face.
        moved: Its landmarks' and placement's derivatives.
        samples: Points of the surface.
        gradient: The photo's derivatives where the samples lie, in levels per pixel.
        weights: A factor for each sample.
    """
    result = np.empty((len(samples.corners), 3, PARAMETER_COUNT), face.vertices.dtype)
    vertices, local = np.unique(samples.corners, return_inverse=True)
    local = local.reshape(samples.corners.shape)
    by_shape, by_turn = normal_velocities(face, moved.turns, vertices)
    pull = (-gradient * weights[:, None, None]).astype(result.dtype)
    by_skin, by_light = _shares(face, samples, weights)
    _fill_light(result, face, samples, by_light)
    for first in range(0, len(result), _CHUNK):
        part = slice(first, first + _CHUNK)
        corners, rows = samples.corners[part], result[part]
        rows[:, :, POSE] = position_rows(face, moved, samples.part(part), pull[part])
        skin, shade, turn = face.directions.reflectance[corners], by_shape[local[part]], by_turn[local[part]]
        rows[:, :, REFLECTANCE] = by_skin[part, :, 0, None] * skin[:, 0]
        for corner in range(3):
            share = by_light[part, :, corner, None]
            rows[:, :, GEOMETRY] += share * shade[:, corner]
            rows[:, :, ROTATION] += share * turn[:, corner]
            if corner:
                rows[:, :, REFLECTANCE] += by_skin[part, :, corner, None] * skin[:, corner]
    return result


def _shares(
    face: PosedFace, samples: Samples, weights: Float[np.ndarray, "samples"]
) -> tuple[Float[np.ndarray, "samples 3 3"], Float[np.ndarray, "samples 3 3"]]:
    """Return each channel's derivative by each corner's reflectance, and by its irradiance."""
    light = np.maximum(face.light, 0)
    linear = np.einsum("sk,skc->sc", samples.weights, (face.reflectance * light)[samples.corners])
    slope = (LEVELS * encoding_slopes(linear) * weights[:, None])[:, :, None] * samples.weights[:, None]
    lit = (face.light > 0) * face.reflectance
    turned = (np.swapaxes(values[samples.corners], 1, 2) for values in (light, lit))
    by_skin, by_light = ((slope * values).astype(face.vertices.dtype) for values in turned)
    return by_skin, by_light


def _fill_light(
    result: Float[np.ndarray, "samples 3 350"],
    face: PosedFace,
    samples: Samples,
    by_light: Float[np.ndarray, "samples 3 3"],
) -> None:
    """Write the columns of the light: a channel's level depends on that channel's coefficients alone."""
    result[:, :, ILLUMINATION] = 0
    values = by_light @ face.harmonics[samples.corners]
    for channel in range(3):
        result[:, channel, ILLUMINATION.start + channel :: 3] = values[:, channel]
