"""Lighter and darker skin.

Subtracting one colour from all of a face, as a reflectance direction does, leaves holes where it was dark
and turns it grey. Melanin multiplies: it takes the same share of what is there, of blue a little more than
of red. So a change of tone is a factor per channel on the skin, and the coefficients are those that come
nearest to it.

Convention:
    One unit of tone changes the painted skin's mean luminance by as much as one standard deviation of the
    model's main direction does. Eyes and the mouth's interior keep their colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64

from inversefacenet.editing.lights import LUMINANCE
from inversefacenet.morphable_model import MOUTH_PART, MorphableModel

TONES: Final = (0.25, 2.2)
"""Least and largest mean luminance that a change of tone leads to, as multiples of the model's mean skin."""

LARGEST_COEFFICIENT: Final = 8.0
"""Standard deviations that edits of identity and skin together reach."""

# Darkened by a factor f in luminance, a channel is darkened by f to this power: the mean of light and of dark
# skin's published colours leads to these.
_MELANIN: Final = (0.9, 1.02, 1.1)
_NOT_SKIN: Final = ("eye", MOUTH_PART)


@dataclass(frozen=True, eq=False)
class _Scaling:
    """How coefficients change when one channel of the skin is scaled: (factor - 1) (offset + matrix c)."""

    offset: Float64[np.ndarray, "3 128"]
    matrix: Float64[np.ndarray, "3 128 128"]
    mean: float
    direction: Float64[np.ndarray, "128"]


def change_tone(
    model: MorphableModel, reflectance: Float32[np.ndarray, "128"], tone: float
) -> Float32[np.ndarray, "128"]:
    """Make skin lighter or darker.

    Args:
        model: The face model.
        reflectance: The present coefficients.
        tone: Lighter (positive) or darker, in standard deviations of the model's main direction. The change
            ends at `TONES`: a face that was taken for nearly black doesn't become a hole.
    """
    scaling = _scaling(model)
    now = scaling.mean + float(reflectance @ scaling.direction)
    if tone == 0 or now <= 0:
        return reflectance
    darkest, lightest = min(now, TONES[0] * scaling.mean), max(now, TONES[1] * scaling.mean)
    factor = min(max(now + tone * abs(float(scaling.direction[0])), darkest), lightest) / now
    gains = np.power(factor, _MELANIN) - 1
    toned = reflectance + gains @ (scaling.offset + scaling.matrix @ reflectance.astype(np.float64))
    limit = np.maximum(LARGEST_COEFFICIENT, np.abs(reflectance))
    return np.clip(toned, -limit, limit).astype(np.float32)


@lru_cache(maxsize=2)
def _scaling(model: MorphableModel) -> _Scaling:
    directions = model.reflectance_directions.astype(np.float64)
    mean = model.mean_reflectance.astype(np.float64)
    skin = ~np.isin(np.array(model.part_names)[model.vertex_part], _NOT_SKIN)
    unweighted = directions / np.maximum(model.reflectance_sigma.astype(np.float64) ** 2, 1e-12)[:, None]
    offsets, matrices = [], []
    for channel in range(3):
        one = np.zeros((model.vertex_count, 3), bool)
        one[skin, channel] = True
        coordinates = one.ravel()
        part = unweighted[:, coordinates]
        offsets.append(part @ mean.ravel()[coordinates])
        matrices.append(part @ directions[:, coordinates].T)
    painted, weights = model.painted_vertices, LUMINANCE
    return _Scaling(
        np.stack(offsets),
        np.stack(matrices),
        float(mean[painted].mean(axis=0) @ weights),
        directions.reshape(len(directions), -1, 3)[:, painted].mean(axis=1) @ weights,
    )
