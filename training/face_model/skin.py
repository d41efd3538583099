"""Colour of skin from its pigments: melanin over blood, and a little light from the bare surface.

Convention:
    Reflectance is linear RGB in [0, 1] of the sRGB primaries under D65. Pigment amounts are
    dimensionless: melanin 0 is skin without any; haemoglobin and carotene 0 are the average of
    people, negative amounts are less than that.
    Worked values: melanin 0.4 (fair) is reflectance (0.552, 0.337, 0.241); melanin 2.5 (deep brown) is
    (0.087, 0.054, 0.041).

The model is the usual two layers (Tsumura et al. 2003; Claridge et al. 2003): light that comes back from
the dermis crosses the epidermis twice, and melanin there absorbs by the Beer-Lambert law, haemoglobin in
the dermis likewise. Two facts keep dark skin brown and not orange. Melanin's absorption spectrum is
flattened by its packing into granules, so the effective absorbances of the three channels differ by far
less than the (wavelength)^-3.3 of a solution. And the skin's surface scatters about 2% unchanged by any
pigment, which is most of what one sees of the darkest skin: it tends to a neutral dark brown.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float

SURFACE: Final = np.array([0.022, 0.022, 0.022])
"""Diffuse light from the surface itself."""

DERMIS: Final = np.array([0.79, 0.487, 0.348])
"""What comes back from a dermis with average blood below no melanin."""

MELANIN: Final = np.array([1.0, 1.09, 1.16])
"""Absorbance of a unit of epidermal melanin, twice crossed, relative to red."""

HAEMOGLOBIN: Final = np.array([0.10, 1.0, 0.72])
"""Absorbance of a unit of blood; red light hardly sees it."""

CAROTENE: Final = np.array([0.0, 0.10, 1.0])
"""Absorbance of a unit of carotene (and of the yellow of pheomelanin)."""

LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722])
"""Relative luminance of linear sRGB (IEC 61966-2-1)."""

_XYZ: Final = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE: Final = np.array([0.95047, 1.0, 1.08883])
_MELANIN_RANGE: Final = np.linspace(0.0, 8.0, 4001)


def skin_reflectance(
    melanin: Float[np.ndarray, "*points"],
    haemoglobin: Float[np.ndarray, "*points"],
    carotene: Float[np.ndarray, "*points"],
) -> Float[np.ndarray, "*points 3"]:
    """Return the linear RGB reflectance of skin.

    Args:
        melanin: Amount in the epidermis, at least 0.
        haemoglobin: Amount in the dermis, relative to the average.
        carotene: Amount relative to the average.
    """
    absorbance = (
        np.multiply.outer(np.asarray(melanin), MELANIN)
        + np.multiply.outer(np.asarray(haemoglobin), HAEMOGLOBIN)
        + np.multiply.outer(np.asarray(carotene), CAROTENE)
    )
    return SURFACE + DERMIS * np.exp(-absorbance)


def melanin_of_luminance(luminance: Float[np.ndarray, "*points"]) -> Float[np.ndarray, "*points"]:
    """Return the melanin that gives skin of average blood a relative luminance.

    Args:
        luminance: Relative luminance of the reflectance; values out of reach get the nearest in reach.
    """
    zero = np.zeros_like(_MELANIN_RANGE)
    reached = skin_reflectance(_MELANIN_RANGE, zero, zero) @ LUMINANCE
    return np.asarray(np.interp(luminance, reached[::-1], _MELANIN_RANGE[::-1]))


def cielab(reflectance: Float[np.ndarray, "*points 3"]) -> Float[np.ndarray, "*points 3"]:
    """Return CIE L*, a*, b* (D65) of linear RGB reflectance."""
    relative = np.maximum(reflectance @ _XYZ.T / _WHITE, 0)
    cut = 6 / 29
    f = np.where(relative > cut**3, np.cbrt(relative), relative / (3 * cut * cut) + 4 / 29)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1
    )


def individual_typology_angle(reflectance: Float[np.ndarray, "*points 3"]) -> Float[np.ndarray, "*points"]:
    """Return the individual typology angle in degrees (Chardon et al. 1991).

    Above 55 is very light, 41 light, 28 intermediate, 10 tan, -30 brown, below that dark: roughly
    Fitzpatrick's types I to VI.
    """
    lab = cielab(reflectance)
    return np.degrees(np.arctan2(lab[..., 0] - 50, lab[..., 2]))
