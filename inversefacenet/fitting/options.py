"""What a fit may be told: weights, how long, what may change."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inversefacenet.errors import InputError
from inversefacenet.parameters import GROUPS


@dataclass(frozen=True)
class FitOptions:
    """Weights of the energy's terms, and the effort.

    Attributes:
        iterations: Most steps that are taken.
        pixels: How many pixels of the photo each step looks at; the energy itself counts all.
        photometric: Weight of the mean squared colour difference (levels of 255, squared).
        landmark: Weight of the 66 points' mean squared distance (crop pixels, squared).
        coverage: Weight of the pull on the silhouette to pixels of the face region that the mesh leaves bare.
        shape: Weight of the squared shape coefficients, which count standard deviations.
        expression: The same of the expression.
        reflectance: The same of the skin's reflectance.
        light: Weight of the light's squared departure from constant light.
        tint: Weight of the squared departure of the light's channels from their mean.
        level: Weight of the squared departure of its mean level from `parameters.AMBIENT_LEVEL`: bright light
            on dark skin looks like dim light on bright skin.
        robust: Scale in levels from which on a pixel counts less and less (Geman and McClure 1985), for faces
            behind hands, hair or masks; None counts all alike, as the photometric measure does.
        tolerance: Relative decrease of the energy below which the fit has converged.
        free: The parameter groups that may change.
        seed: Of the choice of pixels.
    """

    iterations: int = 10
    pixels: int = 2000
    photometric: float = 1.0
    landmark: float = 5.0
    coverage: float = 1.0
    shape: float = 0.4
    expression: float = 0.4
    reflectance: float = 0.3
    light: float = 4.0
    tint: float = 20.0
    level: float = 20.0
    robust: float | None = None
    tolerance: float = 1e-3
    free: tuple[str, ...] = tuple(GROUPS)
    seed: int = 0

    def __post_init__(self) -> None:
        terms = ("photometric", "landmark", "coverage", "shape", "expression", "reflectance")
        for name in (*terms, "light", "tint", "level", "tolerance"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"A fit's '{name}' must be a finite number of at least 0, not {value}.")
        if self.iterations < 0 or self.pixels < 1:
            raise InputError("A fit needs at least one pixel and no negative number of iterations.")
        if self.robust is not None and not (math.isfinite(self.robust) and self.robust > 0):
            raise InputError("A fit's 'robust' must be a scale in levels above 0, or nothing.")
        if not set(self.free) <= set(GROUPS):
            raise InputError(f"A fit's 'free' names groups of parameters: {', '.join(GROUPS)}.")
