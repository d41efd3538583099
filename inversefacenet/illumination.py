"""Light as second-order spherical harmonics (Kim et al. 2018, Eq. 4).

Convention:
    The nine functions are the orthonormal real spherical harmonics divided by the constant one, of the
    unit normal (x, y, z) in camera axes (x right, y up, z to the viewer), in the order
    1, √3 y, √3 z, √3 x, √15 xy, √15 yz, (√5/2)(3z² - 1), √15 xz, (√15/2)(x² - y²).
    The coefficients are of irradiance: the cosine kernel is in them. Negative irradiance is 0.
    Worked values: of the normal (0, 0, 1) the functions are (1, 0, √3, 0, 0, 0, √5, 0, 0).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float

SQRT3: Final = 3.0**0.5
SQRT5: Final = 5.0**0.5
SQRT15: Final = 15.0**0.5
BASIS_COUNT: Final = 9


def sh_basis(normals: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 9"]:
    """Evaluate the nine basis functions.

    Args:
        normals: Unit normals in camera axes.

    Returns:
        The functions H_1 ... H_9 of each normal (Kim et al. 2018, Eq. 4).
    """
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    return np.stack(
        [
            np.ones_like(x),
            SQRT3 * y,
            SQRT3 * z,
            SQRT3 * x,
            SQRT15 * x * y,
            SQRT15 * y * z,
            SQRT5 / 2 * (3 * z * z - 1),
            SQRT15 * x * z,
            SQRT15 / 2 * (x * x - y * y),
        ],
        axis=-1,
    )


def irradiance(
    normals: Float[np.ndarray, "*batch 3"], coefficients: Float[np.ndarray, "9 3"]
) -> Float[np.ndarray, "*batch 3"]:
    """Return the RGB irradiance at surface points (Kim et al. 2018, Eq. 4).

    Args:
        normals: Unit normals in camera axes.
        coefficients: Irradiance coefficients, an RGB row per basis function.

    Returns:
        Linear RGB irradiance, at least 0. White paper in irradiance 1 is linear 1.
    """
    return np.maximum(sh_basis(normals) @ coefficients, 0)
