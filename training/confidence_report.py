"""How well a calibration tells good faces from failures on labelled photos it has never seen.

``python -m training.calibrate report --photos FOLDER --tags tags.csv``. The tags are a CSV file with a
header, whose column `file` names a photo and whose column `tags` (or `tag`) says what it shows, separated by
spaces, commas or semicolons. What counts as a failure was fixed before any result was seen (`FAILED_TAGS`); a
photo with tags of both kinds is a failure, and one without any of them is listed apart and not counted.

The largest face of each photo counts: it is what the service answers with by default. All faces together are
reported beside it. A photo without any detected face gets an error instead of an answer; it is listed apart.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.confidence import ConfidenceModel
from inversefacenet.errors import InputError, InverseFaceNetError, MissingDependencyError
from inversefacenet.image import load_photo
from inversefacenet.reconstruction import Reconstructor
from inversefacenet.verdicts import verdict
from training.logistic import area_under_curve, bootstrap_interval, calibration_error, reliability

FAILED_TAGS: Final = frozenset(("mask", "occl_hand", "profile", "nonface"))
"""Covered, seen from the side, or no face at all: the reconstruction can't be used."""

GOOD_TAGS: Final = frozenset(
    ("beard", "child", "darkskin", "expr", "frontal", "glasses", "mono", "multi", "old")
)
"""Unusual, but the network should manage: to reject these would be an error. Paintings, crowds of small
faces, hats, faces that are tilted, turned up or badly lit, and damaged files are neither: they are listed."""

_SEED: Final = 20180618


@dataclass(frozen=True)
class JudgedFace:
    """One detected face of a labelled photo.

    Attributes:
        name: The photo.
        number: Which of its faces, the largest being 1.
        tags: What the photo shows.
        good: Whether the reconstruction should be usable; None where the tags don't say.
        confidence: The answer's.
        score: The detector's.
    """

    name: str
    number: int
    tags: tuple[str, ...]
    good: bool | None
    confidence: float
    score: float


def label_of(tags: Sequence[str]) -> bool | None:
    """Return whether a photo with these tags should be reconstructed well; None if they don't say."""
    if FAILED_TAGS.intersection(tags):
        return False
    return True if GOOD_TAGS.intersection(tags) else None


def read_tags(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the tags by photo.

    Raises:
        InputError: If the file can't be read or lacks a column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from error
    columns = {name.strip().lower(): name for name in (rows[0] if rows else {})}
    photo = next((columns[name] for name in ("file", "name", "photo", "image") if name in columns), None)
    tags = next((columns[name] for name in ("tags", "tag") if name in columns), None)
    if photo is None or tags is None:
        raise InputError(f"{path} needs the columns 'file' and 'tags'.")
    return {
        row[photo]: tuple(tag for tag in re.split(r"[\s,;|+]+", row[tags].strip().lower()) if tag)
        for row in rows
    }


def judge(
    folder: Path, tags: dict[str, tuple[str, ...]], network: Path | None
) -> tuple[list[JudgedFace], list[tuple[str, str]]]:
    """Reconstruct all faces of the labelled photos.

    Returns:
        The faces, and the photos without an answer with what was wrong.
    """
    reconstructor = Reconstructor(backend=OnnxBackend(network, threads=1))
    calibrated = ConfidenceModel.for_network(reconstructor.backend.digest).calibrated_for(
        reconstructor.backend.digest, reconstructor.model.digest
    )
    if not calibrated:
        print("note: the confidence was calibrated for another network", file=sys.stderr)
    faces: list[JudgedFace] = []
    unanswered = []
    for name, words in tags.items():
        try:
            found = reconstructor.reconstruct(load_photo(folder / name), "all")
        except (InverseFaceNetError, OSError) as error:
            unanswered.append((name, getattr(error, "slug", "file-system")))
            continue
        faces += [
            JudgedFace(name, number, words, label_of(words), one.confidence, float(one.face.score))
            for number, one in enumerate(found, start=1)
        ]
    return faces, unanswered


def plot(
    scores: Float64[np.ndarray, "faces"], good: Bool[np.ndarray, "faces"], title: str, path: Path
) -> None:
    """Draw the ROC curve and the reliability curve.

    Raises:
        MissingDependencyError: Matplotlib isn't installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("The plot needs Matplotlib: pip install matplotlib.") from error
    figure = Figure(figsize=(9, 4.2))
    roc, curve = figure.subplots(1, 2)
    thresholds = np.concatenate([[np.inf], np.unique(scores)[::-1]])
    true = [float((scores[good] >= one).mean()) for one in thresholds]
    false = [float((scores[~good] >= one).mean()) for one in thresholds]
    roc.step(false, true, where="post")
    roc.plot([0, 1], [0, 1], ":", color="grey")
    roc.set(xlabel="failures taken for good", ylabel="good faces taken for good", title=title)
    bins = reliability(scores, good, np.ones(len(scores)), 5)
    curve.plot([one.confidence for one in bins], [one.good for one in bins], "o-")
    curve.plot([0, 1], [0, 1], ":", color="grey")
    curve.set(xlabel="confidence", ylabel="share that is good", title="Reliability")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(str(path), dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.calibrate report",
        description="Measure on labelled photos how well the confidence tells good faces from failures.",
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of the photos")
    parser.add_argument("--tags", type=Path, required=True, help="CSV file with the columns file and tags")
    parser.add_argument(
        "--network", type=Path, default=Path("reference"), help="ONNX file (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=Path("out/confidence"), help="folder of the plot")
    options = parser.parse_args(arguments)
    try:
        faces, unanswered = judge(options.photos, read_tags(options.tags), options.network)
        print(_report(faces, unanswered, options.output))
    except InverseFaceNetError as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 1
    return 0


def _report(faces: list[JudgedFace], unanswered: list[tuple[str, str]], output: Path) -> str:
    print("| photo | face | tags | counts as | score | confidence | verdict |\n|---|---|---|---|---|---|---|")
    for face in faces:
        label = {True: "good", False: "failed", None: "-"}[face.good]
        print(
            f"| {face.name} | {face.number} | {' '.join(face.tags)} | {label} | {face.score:.2f} | "
            f"{face.confidence:.3f} | {verdict(face.confidence)} |"
        )
    for name, what in unanswered:
        print(f"no answer: {name} ({what})")
    largest = [face for face in faces if face.number == 1]
    print(
        "\n| tag | faces | mean confidence | lowest | highest | good | doubtful | failed |\n"
        + "|---" * 8
        + "|"
    )
    for tag in sorted({tag for face in largest for tag in face.tags}):
        values = [face.confidence for face in largest if tag in face.tags]
        words = [verdict(value) for value in values]
        shares = " | ".join(str(words.count(word)) for word in ("good", "doubtful", "failed"))
        span = f"{np.mean(values):.3f} | {min(values):.3f} | {max(values):.3f}"
        print(f"| {tag} | {len(values)} | {span} | {shares} |")
    summary = []
    for name, chosen in (("largest", largest), ("all", faces)):
        counted = [face for face in chosen if face.good is not None]
        good = np.array([face.good for face in counted], bool)
        if not good.any() or good.all():
            raise InputError("The tags name no good faces, or no failures: there is nothing to tell apart.")
        scores = np.array([face.confidence for face in counted], np.float64)
        low, high = bootstrap_interval(scores, good, _SEED)
        auc = area_under_curve(scores, good)
        prefix = "" if name == "largest" else "all_"
        summary.append(f"{prefix}auc={auc:.4f} {prefix}auc_low={low:.4f} {prefix}auc_high={high:.4f}")
        if name == "largest":
            curve = reliability(scores, good, np.ones(len(scores)), 5)
            words = [verdict(value) for value in scores]
            counts = {
                f"{label}_called_{word}": sum(
                    w == word and g == (label == "good") for w, g in zip(words, good, strict=True)
                )
                for label in ("good", "failed")
                for word in ("good", "doubtful", "failed")
            }
            sizes = f"good={int(good.sum())} failed={int((~good).sum())} unanswered={len(unanswered)} "
            summary.insert(0, sizes + " ".join(f"{key}={value}" for key, value in counts.items()))
            summary.append(f"calibration_error={calibration_error(curve):.4f}")
            plot(scores, good, f"ROC, AUC {auc:.3f}", output / "roc.png")
    return " ".join(summary)


if __name__ == "__main__":
    raise SystemExit(main())
