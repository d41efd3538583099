"""Calibrate the confidence of answers: ``python -m training.calibrate --photos FOLDER``.

Good faces are the clean faces of ordinary photos, as they are and after something harmless; failures are made
of the same photos (`training.failures`), so no photo needs a label. A logistic regression with a ridge is
fitted to the measures of `inversefacenet.evidence`, and its log-odds are brought to probabilities by Platt's
scaling on persons that the regression hasn't seen. In the mixture that the probabilities refer to, one
reconstruction in four is a failure, and all kinds of a family are equally frequent.

Whether it will know failures that nobody thought of is estimated by leaving out kinds: the AUC of a kind is
that of a regression which has seen neither this kind nor these persons. ``report`` measures a calibration on
labelled photos: see `training.confidence_report`. The last line sums up as ``name=value``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from inversefacenet.confidence import ConfidenceModel, Regression, probability, sides
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.evidence import DETECTION, EVIDENCE
from training.calibration_samples import GOOD, Sample, Sampler, make_samples
from training.evaluation.photos import find_photos
from training.failures import FAILURES
from training.logistic import Bin, area_under_curve, calibration_error, fit_logistic, reliability

OUTPUT: Final = Path("inversefacenet/assets/confidence.json")
PHOTOS: Final = 240
SEED: Final = 20180618
FAILED_SHARE: Final = 0.25
"""Share of failures in the mixture that the probabilities refer to."""

_FAMILY_SHARE: Final = {"occlusions": 0.4, "profiles": 0.25, "wrong places": 0.25, "imaging": 0.1}
_PLAIN_SHARE: Final = 0.6  # of good faces
_RIDGE: Final = 0.05
_FOLDS: Final = 5
_SD_FLOOR: Final = 1e-3


@dataclass(frozen=True)
class Table:
    """Samples as arrays.

    Attributes:
        values: The measures, a row a sample.
        names: Of the measures.
        good: Whether the reconstruction is usable.
        family: Of the failure.
        kind: What was done to the photo.
        fold: Persons are spread over folds.
        weights: How much each sample counts.
    """

    values: Float64[np.ndarray, "samples measures"]
    names: tuple[str, ...]
    good: Bool[np.ndarray, "samples"]
    family: np.ndarray
    kind: np.ndarray
    fold: Int64[np.ndarray, "samples"]
    weights: Float64[np.ndarray, "samples"]

    def columns(self, names: Sequence[str]) -> Float64[np.ndarray, "samples chosen"]:
        """Return some of the measures."""
        return self.values[:, [self.names.index(name) for name in names]]


def tabulate(samples: Sequence[Sample]) -> Table:
    """Bring samples into arrays, with the weights of the mixture.

    Raises:
        InputError: If there are too few good faces or failures.
    """
    good = np.array([sample.good for sample in samples], bool)
    if min(int(good.sum()), int((~good).sum())) < 2 * _FOLDS:
        raise InputError(f"{int(good.sum())} good faces and {int((~good).sum())} failures are too few.")
    family = np.array([sample.family for sample in samples])
    kind = np.array([sample.kind for sample in samples])
    persons = sorted({sample.person for sample in samples})
    folds = dict(zip(persons, np.random.default_rng(SEED).permutation(len(persons)) % _FOLDS, strict=True))
    weights = np.zeros(len(samples))
    for name in np.unique(family):
        for one in np.unique(kind[family == name]):
            chosen = (family == name) & (kind == one)
            kinds = len(np.unique(kind[family == name]))
            if name != GOOD:
                share = FAILED_SHARE * _FAMILY_SHARE[str(name)] / kinds
            elif one == "plain":
                share = (1 - FAILED_SHARE) * _PLAIN_SHARE
            else:
                share = (1 - FAILED_SHARE) * (1 - _PLAIN_SHARE) / max(kinds - 1, 1)
            weights[chosen] = share / chosen.sum()
    return Table(
        np.array([[sample.measures[name] for name in EVIDENCE] for sample in samples], np.float64),
        EVIDENCE,
        good,
        family,
        kind,
        np.array([folds[sample.person] for sample in samples], np.int64),
        weights,
    )


def fit(table: Table, names: tuple[str, ...], chosen: Bool[np.ndarray, "samples"]) -> Regression:
    """Fit a regression to some of the samples; its log-odds are not calibrated yet."""
    values, weights = table.columns(names)[chosen], table.weights[chosen]
    # Good faces say what is usual: half of failures' measures are anywhere.
    usual = values[table.good[chosen]]
    centre = np.median(usual, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(usual - centre), axis=0), _SD_FLOOR)
    spread = np.maximum(spread, 0.5 * usual.std(axis=0))
    slopes, bias = fit_logistic(sides(values, centre, spread), table.good[chosen], weights, _RIDGE)
    below, above = np.split(slopes, 2)
    return Regression(names, centre, spread, below, above, bias)


def held_out(table: Table, names: tuple[str, ...]) -> Float64[np.ndarray, "samples"]:
    """Return log-odds of all samples, each by a regression that hasn't seen its person."""
    odds = np.zeros(len(table.good))
    for fold in range(_FOLDS):
        inside = table.fold == fold
        odds[inside] = fit(table, names, ~inside).log_odds(table.columns(names)[inside])
    return odds


def platt(table: Table, odds: Float64[np.ndarray, "samples"]) -> tuple[float, float]:
    """Return the factor and the shift that make log-odds those of the mixture (Platt 1999)."""
    slope, bias = fit_logistic(odds[:, None], table.good, table.weights, 1e-6)
    return float(slope[0]), bias


def unseen_auc(
    table: Table, names: tuple[str, ...], left_out: Bool[np.ndarray, "samples"]
) -> tuple[float, float]:
    """Return AUC and mean log-odds of failures of which the regression has seen none, nor the persons."""
    odds = np.full(len(table.good), np.nan)
    asked = left_out | table.good
    for fold in range(_FOLDS):
        inside = asked & (table.fold == fold)
        if inside.any():
            regression = fit(table, names, ~left_out & (table.fold != fold))
            odds[inside] = regression.log_odds(table.columns(names)[inside])
    auc = area_under_curve(odds[asked], table.good[asked], table.weights[asked])
    return auc, float(odds[left_out].mean())


@dataclass(frozen=True)
class Outcome:
    """A calibrated regression and what cross-validation says of it.

    Attributes:
        regression: With calibrated log-odds.
        auc: Over persons that it hasn't seen.
        error: Expected calibration error, likewise.
        curve: The reliability curve, likewise.
        kinds: AUC by kind of failure, when the kind is left out.
        families: The same of whole families.
    """

    regression: Regression
    auc: float
    error: float
    curve: list[Bin]
    kinds: dict[str, float]
    families: dict[str, float]

    def figures(self) -> dict[str, Any]:
        """Return the figures, ready for JSON."""
        return {
            "auc": round(self.auc, 4),
            "calibration_error": round(self.error, 4),
            "auc_of_unseen_kinds": {name: round(value, 4) for name, value in self.kinds.items()},
            "auc_of_unseen_families": {name: round(value, 4) for name, value in self.families.items()},
            "reliability": [
                [round(one.confidence, 3), round(one.good, 3), round(one.share, 3)] for one in self.curve
            ],
        }


def calibrate(table: Table, names: tuple[str, ...]) -> Outcome:
    """Fit a regression to all samples, calibrate it, and cross-validate both."""
    odds = held_out(table, names)
    scale, shift = platt(table, odds)
    confidence = np.asarray(probability(scale * odds + shift))
    curve = reliability(confidence, table.good, table.weights)
    raw = fit(table, names, np.ones(len(table.good), bool))
    regression = Regression(
        names, raw.centre, raw.spread, scale * raw.below, scale * raw.above, scale * raw.bias + shift
    )
    kinds, families = {}, {}
    for family in FAILURES:
        inside = table.family == family
        if inside.any() and not (inside | table.good).all():
            families[family], _ = unseen_auc(table, names, inside)
        for kind in FAILURES[family]:
            inside = (table.family == family) & (table.kind == kind)
            if inside.any():
                kinds[kind], _ = unseen_auc(table, names, inside)
    auc = area_under_curve(odds, table.good, table.weights)
    return Outcome(regression, auc, calibration_error(curve), curve, kinds, families)


def spread_over(folder: Path, count: int) -> list[Path]:
    """Return so many photos of a folder, at equal distances in order of name.

    Raises:
        InputError: If there are none.
    """
    paths = find_photos(folder)
    return [paths[int(index)] for index in np.linspace(0, len(paths) - 1, min(count, len(paths)))]


def run(options: argparse.Namespace) -> str:
    """Calibrate, write the file, and return the last line."""
    started = time.perf_counter()
    paths = spread_over(options.photos, options.limit)
    samples: list[Sample] = []
    for done, found in enumerate(
        make_samples(paths, options.network, options.seed, options.workers), start=1
    ):
        samples += found
        if sys.stderr.isatty() or done % 50 == 0:
            end = "\n" if done % 50 == 0 or done == len(paths) else "\r"
            print(f"{done} of {len(paths)} photos", end=end, file=sys.stderr, flush=True)
    table = tabulate(samples)
    detected = calibrate(table, EVIDENCE)
    given = calibrate(table, tuple(name for name in EVIDENCE if name not in DETECTION))
    network, face_model = Sampler(options.network, options.seed).digests
    model = ConfidenceModel(detected.regression, given.regression, network, face_model)
    counts = {"photos": len(paths), "good": int(table.good.sum()), "failed": int((~table.good).sum())}
    document = model.to_dict() | {
        "samples": counts | {"seed": options.seed, "failed_share": FAILED_SHARE},
        "figures": {"detected": detected.figures(), "given": given.figures()},
    }
    options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    _print(detected, given, table)
    worst = min(detected.kinds, key=detected.kinds.__getitem__)
    return (
        " ".join(f"{name}={value}" for name, value in counts.items())
        + f" auc={detected.auc:.4f} auc_given={given.auc:.4f}"
        + f" unseen_kinds={np.mean(list(detected.kinds.values())):.4f}"
        + f" worst_kind={worst}:{detected.kinds[worst]:.4f} calibration_error={detected.error:.4f}"
        + f" seconds={time.perf_counter() - started:.1f}"
    )


def _print(detected: Outcome, given: Outcome, table: Table) -> None:
    print("| left out | n | AUC, detected faces | AUC, landmarks given |\n|---|---|---|---|")
    for family, kinds in FAILURES.items():
        inside = table.family == family
        if family in detected.families:
            auc, other = detected.families[family], given.families[family]
            print(f"| all {family} | {inside.sum()} | {auc:.3f} | {other:.3f} |")
        for kind in kinds:
            if kind in detected.kinds:
                count = int((inside & (table.kind == kind)).sum())
                print(f"| {kind} | {count} | {detected.kinds[kind]:.3f} | {given.kinds[kind]:.3f} |")
    print("\n| confidence | share that is good | share of samples |\n|---|---|---|")
    for one in detected.curve:
        print(f"| {one.confidence:.3f} | {one.good:.3f} | {one.share:.3f} |")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["report"]:
        from training.confidence_report import main as report

        return report(given[1:])
    parser = argparse.ArgumentParser(
        prog="python -m training.calibrate",
        description="Calibrate the confidence of answers for a network; 'report' instead measures it.",
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos, one folder a person")
    parser.add_argument("--limit", type=int, default=PHOTOS, help="photos to use (default: %(default)s)")
    parser.add_argument(
        "--network", type=Path, default=Path("reference"), help="ONNX file (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=1, help="processes; the result is the same")
    try:
        print(run(parser.parse_args(given)))
    except (InverseFaceNetError, OSError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
