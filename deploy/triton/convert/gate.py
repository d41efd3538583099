"""The gate: a plan that doesn't answer as the network does never goes live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from jaxtyping import Float32

from deploy.triton.convert.errors import ConversionError
from deploy.triton.convert.plans import Precision
from inversefacenet.parameters import GROUPS

# The largest difference that any number of any face may have from ONNX Runtime's answer in 32 bits.
# Rotation in radians, shape, expression and reflectance in standard deviations, light in its own units.
#
# fp16: rounding weights and activations to 16 bits moves the shipped network's answers by at most 4e-4 rad,
# 1.7e-3 standard deviations and 9e-4 of light on rendered faces; the limits are three to four times that,
# and a twentieth of the network's own error. A gain of 1% on the input, swapped colour channels or noise of
# 1% on the weights all lie beyond them.
# fp32: another order of summation alone; it is what the service promises between its backends.
TOLERANCES: Final[Mapping[Precision, Mapping[str, float]]] = {
    Precision.FP16: {
        "rotation": 1.5e-3,
        "shape": 6e-3,
        "expression": 6e-3,
        "reflectance": 6e-3,
        "illumination": 3e-3,
    },
    Precision.FP32: dict.fromkeys(GROUPS, 1e-4),
}

_DISTINCT: Final = 10.0


@dataclass(frozen=True)
class Comparison:
    """How far a plan is from the network.

    Attributes:
        precision: The plan's precision.
        largest: Largest difference of each group of parameters, over all faces and batch sizes.
        tolerance: The limit of each group.
        batches: The batch sizes that were compared.
        offences: What is wrong with the plan, in words; empty if it may go live.
    """

    precision: Precision
    largest: Mapping[str, float]
    tolerance: Mapping[str, float]
    batches: tuple[int, ...]
    offences: tuple[str, ...] = field(default=())

    @property
    def accepted(self) -> bool:
        """Return whether the plan may go live."""
        return not self.offences

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; a difference that isn't finite is written as null."""
        return {
            "accepted": self.accepted,
            "largest_difference": {
                name: value if np.isfinite(value) else None for name, value in self.largest.items()
            },
            "tolerance": dict(self.tolerance),
            "batches": list(self.batches),
            "offences": list(self.offences),
        }


def check_reference(reference: Float32[np.ndarray, "faces 350"]) -> None:
    """Make sure that the faces can tell a good plan from a bad one.

    Raises:
        ConversionError: If the network's answers aren't finite, or hardly differ between the faces.
    """
    if len(reference) < 2 or not np.isfinite(reference).all():
        raise ConversionError("The network's own answers aren't finite: the ONNX file is damaged.")
    for name, group in GROUPS.items():
        spread = float(np.ptp(reference[:, group], axis=0).max())
        if spread < _DISTINCT * TOLERANCES[Precision.FP16][name]:
            raise ConversionError(
                f"The network's answers to the test faces hardly differ in {name}: they would let any plan "
                "pass. Render the faces again, or mend the network."
            )


def compare(
    precision: Precision,
    pairs: Mapping[int, tuple[Float32[np.ndarray, "..."], Float32[np.ndarray, "..."]]],
) -> Comparison:
    """Hold a plan's answers against the network's.

    Args:
        precision: The plan's precision; it sets the tolerances.
        pairs: By batch size, the plan's answers and ONNX Runtime's for the same crops, each [n, 350].

    Returns:
        The differences, and all offences.
    """
    tolerance = TOLERANCES[precision]
    largest = dict.fromkeys(GROUPS, 0.0)
    offences = []
    for size, (answers, reference) in pairs.items():
        if answers.shape != reference.shape:
            offences.append(f"batch of {size}: {answers.shape} numbers instead of {reference.shape}")
            largest = dict.fromkeys(GROUPS, float("inf"))
            continue
        if not np.isfinite(answers).all():
            offences.append(f"batch of {size}: numbers that aren't finite")
        for name, group in GROUPS.items():
            gap = np.abs(answers[:, group].astype(np.float64) - reference[:, group])
            difference = float(np.where(np.isfinite(gap), gap, np.inf).max())
            largest[name] = max(largest[name], difference)
            if difference > tolerance[name]:
                offences.append(
                    f"batch of {size}: {name} is off by {difference:.3g}, allowed are {tolerance[name]:.3g}"
                )
    return Comparison(precision, largest, tolerance, tuple(pairs), tuple(offences))
