"""How far a reconstruction can be trusted: a probability from what is known without the truth.

A network answers whatever it is shown: a hand before the mouth, a profile, a pattern that the detector took
for a face. What such answers have in common can be measured (`inversefacenet.evidence`): landmarks that the
model can't follow, regions that it can't explain, a detector that hesitated. `ConfidenceModel` turns these
measures into the probability that the reconstruction is usable, by a logistic regression that
`training.calibrate` fitted to photographs with failures made on purpose.

Convention:
    A confidence is in [0, 1]; NaN where the photo's landmarks are not known. `inversefacenet.verdicts` has it
    in a word.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import Float, Float64

from inversefacenet.errors import InputError
from inversefacenet.evidence import DETECTION, EVIDENCE, evidence
from inversefacenet.verdicts import verdict

if TYPE_CHECKING:
    from inversefacenet.crop import FaceCrop
    from inversefacenet.landmarks import Face
    from inversefacenet.metrics import Quality
    from inversefacenet.rendering import Rendering

FORMAT_VERSION: Final = 1
_ASSETS: Final = Path(__file__).resolve().parent / "assets"
SHIPPED: Final = (_ASSETS / "confidence.json", _ASSETS / "fast" / "confidence.json")
"""Calibrations that come with the package: for the reference, for the fast network."""


_COLUMNS: Final = ("centre", "spread", "below", "above")
_FARTHEST: Final = 3.0  # standard deviations: no single measure decides, however odd it is


@dataclass(frozen=True, eq=False)
class Regression:
    """A logistic regression on standardised, bounded measures, with a slope on each side of the usual.

    Attributes:
        names: The measures, of `inversefacenet.evidence.EVIDENCE`.
        centre: What is 0 of each: what good faces usually have.
        spread: What is 1 of each.
        below: Log-odds per unit below the centre.
        above: Log-odds per unit above it.
        bias: Log-odds at the centre.
    """

    names: tuple[str, ...]
    centre: Float64[np.ndarray, "measures"]
    spread: Float64[np.ndarray, "measures"]
    below: Float64[np.ndarray, "measures"]
    above: Float64[np.ndarray, "measures"]
    bias: float

    def log_odds(self, values: Float[np.ndarray, "*batch measures"]) -> Float64[np.ndarray, "*batch"]:
        """Return the log-odds that reconstructions with these measures are usable."""
        terms = sides(values, self.centre, self.spread)
        return np.asarray(terms @ np.concatenate([self.below, self.above]) + self.bias)


def sides(
    values: Float[np.ndarray, "*batch measures"],
    centre: Float64[np.ndarray, "measures"],
    spread: Float64[np.ndarray, "measures"],
) -> Float64[np.ndarray, "*batch sides"]:
    """Return how far measures lie below the usual, then how far above it, at most 3 of their units."""
    units = np.clip((values - centre) / spread, -_FARTHEST, _FARTHEST)
    return np.concatenate([np.minimum(units, 0), np.maximum(units, 0)], axis=-1)


@dataclass(frozen=True, eq=False)
class ConfidenceModel:
    """What turns measures into a confidence.

    Attributes:
        detected: For faces that the detector found.
        given: For faces whose landmarks the caller knew: no detector was asked.
        network: SHA-256 of the network's file that it was calibrated for.
        face_model: SHA-256 of the face model's file likewise.
    """

    detected: Regression
    given: Regression
    network: str
    face_model: str

    @classmethod
    def load(cls, path: Path) -> ConfidenceModel:
        """Read what `training.calibrate` wrote.

        Raises:
            InputError: If it can't be read or is no such file.
        """
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise InputError(f"The confidence {path.name} can't be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path.name} holds no calibrated confidence: make one with python -m training.calibrate."
            ) from error

    @classmethod
    @lru_cache(maxsize=8)
    def for_network(cls, digest: str) -> ConfidenceModel:
        """Read the one that ships for a network; for a network without one, the reference's.

        Args:
            digest: SHA-256 of the network's file.
        """
        shipped = [cls.load(path) for path in SHIPPED]
        return next((one for one in shipped if one.network == digest), shipped[0])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ConfidenceModel:
        """Read what `to_dict` gave.

        Raises:
            ValueError: If the format or a measure is unknown.
            KeyError: If a member is missing.
        """
        if values["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {values['format_version']} is not {FORMAT_VERSION}")
        found = {}
        for name in ("detected", "given"):
            tree = values[name]
            if unknown := set(tree["measures"]) - set(EVIDENCE):
                raise ValueError(f"unknown measures {sorted(unknown)}")
            centre, spread, below, above = (
                np.array([row[column] for row in tree["measures"].values()], np.float64)
                for column in _COLUMNS
            )
            found[name] = Regression(
                tuple(tree["measures"]), centre, spread, below, above, float(tree["bias"])
            )
        return cls(found["detected"], found["given"], str(values["network"]), str(values["face_model"]))

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads, ready for JSON."""
        return {
            "format_version": FORMAT_VERSION,
            "network": self.network,
            "face_model": self.face_model,
            "detected": _tree(self.detected),
            "given": _tree(self.given),
        }

    def calibrated_for(self, network: str, face_model: str) -> bool:
        """Say whether it was calibrated for this network and this face model, named by their digests.

        With others it still tells better reconstructions from worse, but is no probability.
        """
        return bool(network) and (network, face_model) == (self.network, self.face_model)

    def confidence(
        self,
        face: Face,
        crop: FaceCrop,
        rendering: Rendering,
        quality: Quality,
    ) -> float:
        """Return the probability that a reconstruction is usable.

        Args:
            face: What was found in the photo.
            crop: What the network saw.
            rendering: What it answered, in the crop's frame.
            quality: How well that explains the crop.

        Returns:
            A number in [0, 1]; NaN where the crop's landmarks are not known.
        """
        if not np.isfinite(crop.landmarks).all():
            return math.nan
        measures = evidence(face, crop, rendering, quality)
        asked = all(math.isfinite(measures[name]) for name in DETECTION)
        regression = self.detected if asked else self.given
        values = np.array([measures[name] for name in regression.names])
        return float(probability(regression.log_odds(values)))


def probability(log_odds: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Return the logistic function."""
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -50, 50))))


def quality_block(quality: Quality, confidence: float) -> dict[str, float | str]:
    """Return the quality block of an answer: what could be measured, by name, then confidence and verdict."""
    block: dict[str, float | str] = {
        name: value for name, value in quality.to_dict().items() if not math.isnan(value)
    }
    word = verdict(confidence)
    if word is not None:
        block |= {"confidence": confidence, "verdict": word}
    return block


def _tree(regression: Regression) -> dict[str, Any]:
    columns = [getattr(regression, column) for column in _COLUMNS]
    return {
        "bias": round(regression.bias, 6),
        "measures": {
            name: {
                column: round(float(values[row]), 6) for column, values in zip(_COLUMNS, columns, strict=True)
            }
            for row, name in enumerate(regression.names)
        },
    }
