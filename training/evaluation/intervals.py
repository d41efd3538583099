"""Confidence intervals by bootstrap, over persons where several faces show the same one.

Convention:
    Percentile intervals of the mean (Efron 1979), 95%, of a fixed seed. What is drawn, with replacement,
    is clusters: all faces of a person come or stay away together, since they are no independent
    observations. The mean of a draw is over its faces, so its clusters weigh as much as they have faces.
    Figures that are NaN (not known for that face) are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float64

SEED: Final = 20180618
RESAMPLES: Final = 5000
LEVEL: Final = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        mean: Mean over all faces whose figure is known; NaN if there are none.
        low: Lower end; NaN where there is but one cluster, which can't say how far others lie.
        high: Upper end; NaN likewise.
        count: Number of those faces.
    """

    mean: float
    low: float
    high: float
    count: int

    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


class Bootstrap:
    """Draws clusters of faces once and gives the intervals of any figure of those faces."""

    def __init__(self, clusters: Sequence[str], resamples: int = RESAMPLES, seed: int = SEED) -> None:
        """Draw.

        Args:
            clusters: Each face's cluster, such as its person's name.
            resamples: Number of draws.
            seed: Seed of the draws.
        """
        names, self._cluster = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
        self.cluster_count = len(names)
        rng = np.random.default_rng(seed)
        shares = np.full(self.cluster_count, 1 / max(self.cluster_count, 1))
        # How often each cluster is drawn: all that the mean of a draw depends on.
        self._times = rng.multinomial(self.cluster_count, shares, size=resamples).astype(np.float32)

    def interval(self, values: Float[np.ndarray, " faces"]) -> Interval:
        """Return a figure's mean over faces with its interval."""
        known = np.isfinite(values)
        if not known.any():
            return Interval(float("nan"), float("nan"), float("nan"), 0)
        if len(set(self._cluster[known].tolist())) < 2:
            return Interval(float(values[known].mean()), float("nan"), float("nan"), int(known.sum()))
        means = self._means(np.where(known, values, 0), known.astype(np.float64))
        low, high = np.nanquantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(float(values[known].mean()), float(low), float(high), int(known.sum()))

    def difference(
        self, values: Float[np.ndarray, " faces"], reference: Float[np.ndarray, " faces"]
    ) -> Interval:
        """Return the mean of values less reference, face by face, with its interval."""
        return self.interval(np.asarray(values, np.float64) - reference)

    def _means(
        self, values: Float[np.ndarray, " faces"], weights: Float64[np.ndarray, " faces"]
    ) -> Float64[np.ndarray, " resamples"]:
        sums = np.bincount(self._cluster, values * weights, self.cluster_count)
        counts = np.bincount(self._cluster, weights, self.cluster_count)
        # A draw may hold no face whose figure is known.
        drawn = self._times @ counts
        return np.divide(self._times @ sums, drawn, out=np.full(len(drawn), np.nan), where=drawn > 0)
