"""New parameters around what the network sees in photographs (Kim et al. 2018, Eq. 9 and Section 7.2).

Convention:
    The paper writes N(0, 0.05) and calls sigma^2 the variance (Eq. 9); whether the number is the variance
    or the standard deviation is left open. `meaning` chooses; "variance" is the reading of Eq. 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Float32

from inversefacenet.parameters import EXPRESSION, ILLUMINATION, REFLECTANCE, ROTATION, SHAPE

Meaning = Literal["variance", "standard-deviation"]


@dataclass(frozen=True)
class Perturbation:
    """How far new faces lie from the estimates that they are drawn around.

    Attributes:
        angle: Half the range of a uniform change of each angle, in degrees.
        shape: Spread of shape coefficients.
        expression: Spread of expression coefficients.
        reflectance: Spread of reflectance coefficients.
        light: Spread of light coefficients.
        meaning: Whether the spreads are variances or standard deviations.
        copies: New vectors for each estimate.
        by_error: Scale each face's variances by its photometric error's square over the mean's: the
            adaptive variance that Section 7.2 mentions and leaves out.
    """

    angle: float = 5.0
    shape: float = 0.05
    expression: float = 0.1
    reflectance: float = 0.2
    light: float = 0.02
    meaning: Meaning = "variance"
    copies: int = 2
    by_error: bool = False

    def spread(self) -> Float32[np.ndarray, "350"]:
        """Return the standard deviation of each parameter; 0 for the angles, which are uniform."""
        spread = np.zeros(350, np.float32)
        for group, value in (
            (SHAPE, self.shape),
            (EXPRESSION, self.expression),
            (REFLECTANCE, self.reflectance),
            (ILLUMINATION, self.light),
        ):
            spread[group] = np.sqrt(value) if self.meaning == "variance" else value
        return spread

    def around(
        self,
        theta: Float[np.ndarray, "photos 350"],
        rng: np.random.Generator,
        errors: Float[np.ndarray, "photos"] | None = None,
    ) -> Float32[np.ndarray, "vectors 350"]:
        """Draw new parameters around estimates, copy after copy.

        Args:
            theta: The network's answers to the photographs.
            rng: Source of randomness: the same state gives the same vectors.
            errors: Photometric errors of the answers; used, and needed, with `by_error`.

        Raises:
            ValueError: If errors are needed and not given.
        """
        factor = np.ones((len(theta), 1))
        if self.by_error:
            if errors is None:
                raise ValueError("Spreads scaled by the error need the photometric errors.")
            # Bounded, so that one photograph that failed altogether doesn't fill the corpus with noise.
            factor = np.clip(errors / max(float(errors.mean()), 1e-6), 0.5, MOST_SCALED)[:, None]
        parts = []
        for _ in range(self.copies):
            noise = rng.normal(0, 1, theta.shape) * self.spread()
            limit = np.radians(self.angle)
            noise[:, ROTATION] = rng.uniform(-limit, limit, (len(theta), 3))
            parts.append(theta + factor * noise)
        return np.concatenate(parts).astype(np.float32)


MOST_SCALED: Final = 2.0
"""Largest factor on a face's spread when it follows the photometric error."""
