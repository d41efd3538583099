"""Our optimiser as a method: analysis by synthesis, started from a network's answer (Section 8.1)."""

from __future__ import annotations

from typing import Final

from inversefacenet.crop import FaceCrop
from inversefacenet.fitting import FitOptions, fit
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from training.evaluation.methods import Method

OPTIMISER: Final = "our optimiser"


def optimiser_method(model: MorphableModel, start: Method, options: FitOptions | None = None) -> Method:
    """Return the optimiser that starts where another method ends."""

    def method(crop: FaceCrop) -> Parameters:
        return fit(model, crop, start(crop), options).parameters

    return method
