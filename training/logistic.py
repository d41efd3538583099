"""Logistic regression and the figures of a classifier: AUC, reliability, calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float64

_STEPS: Final = 50
_ENOUGH: Final = 1e-8


def fit_logistic(
    values: Float[np.ndarray, "samples measures"],
    good: Bool[np.ndarray, "samples"],
    weights: Float[np.ndarray, "samples"],
    ridge: float,
) -> tuple[Float64[np.ndarray, "measures"], float]:
    """Fit by Newton's method (iteratively reweighted least squares) with a ridge on all but the bias.

    Args:
        values: Standardised measures.
        good: The class.
        weights: How much each sample counts; they are brought to a sum of 1.
        ridge: Half of it times the squared length of the weights is added to the mean log loss.

    Returns:
        Log-odds per unit of each measure, and the bias.
    """
    x = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    share = weights / weights.sum()
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-9
    w = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -50, 50)))
        gradient = x.T @ (share * (p - good)) + penalty * w
        hessian = (x * (share * p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        # Far from the optimum a full step may overshoot.
        step *= min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))
        w -= step
        if float(np.abs(step).max()) < _ENOUGH:
            break
    return w[:-1], float(w[-1])


def area_under_curve(
    scores: Float[np.ndarray, "samples"],
    good: Bool[np.ndarray, "samples"],
    weights: Float[np.ndarray, "samples"] | None = None,
) -> float:
    """Return the share of pairs, one good and one failed, that the scores put in the right order.

    A tie counts half. NaN if a class is empty.
    """
    w = np.ones(len(scores)) if weights is None else weights
    if not good.any() or good.all():
        return float("nan")
    g, f, wg, wf = scores[good], scores[~good], w[good], w[~good]
    order = np.argsort(f)
    f, cumulated = f[order], np.concatenate([[0.0], np.cumsum(wf[order])])
    below = cumulated[np.searchsorted(f, g, "left")]
    upto = cumulated[np.searchsorted(f, g, "right")]
    return float((wg * (below + upto) / 2).sum() / (wg.sum() * wf.sum()))


def bootstrap_interval(
    scores: Float[np.ndarray, "samples"], good: Bool[np.ndarray, "samples"], seed: int, rounds: int = 2000
) -> tuple[float, float]:
    """Return the 95% interval of the AUC: both classes drawn anew, with replacement."""
    generator = np.random.default_rng(seed)
    g, f = scores[good], scores[~good]
    found = []
    for _ in range(rounds):
        drawn = np.concatenate([generator.choice(g, len(g)), generator.choice(f, len(f))])
        found.append(area_under_curve(drawn, np.arange(len(drawn)) < len(g)))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Bin:
    """Samples of about one confidence.

    Attributes:
        confidence: Their mean confidence.
        good: Share of them that is good.
        share: Their share of all samples.
    """

    confidence: float
    good: float
    share: float


def reliability(
    confidence: Float[np.ndarray, "samples"],
    good: Bool[np.ndarray, "samples"],
    weights: Float[np.ndarray, "samples"],
    bins: int = 10,
) -> list[Bin]:
    """Return the reliability curve: bins of equal width that hold samples."""
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    curve = []
    for number in range(bins):
        chosen = index == number
        weight = weights[chosen]
        if weight.sum() > 0:
            mean = float(np.average(confidence[chosen], weights=weight))
            share = float(np.average(good[chosen], weights=weight))
            curve.append(Bin(mean, share, float(weight.sum() / weights.sum())))
    return curve


def calibration_error(curve: list[Bin]) -> float:
    """Return the expected calibration error: the mean distance of the curve from the diagonal."""
    return sum(one.share * abs(one.confidence - one.good) for one in curve)
