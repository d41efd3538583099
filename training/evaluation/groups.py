"""Errors by group: labels that came with the photos, and skin tone measured in them.

Skin tone is the individual typology angle, ITA = atan((L* - 50) / b*) in degrees (Chardon et al. 1991), of
the median colour of both cheeks. A photo's light and exposure are in it, so it sorts photos roughly and says
nothing certain of a person; where fits are given, the angle of the fit's reflectance, from which light is
taken away, stands beside it. Nothing here guesses anybody's age or sex.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from jaxtyping import Float

from inversefacenet.camera import CROP_SIZE
from inversefacenet.colour import srgb_decode
from inversefacenet.crop import fill_polygon
from inversefacenet.errors import InputError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from training.evaluation.intervals import Bootstrap
from training.evaluation.photos import Sample
from training.evaluation.result import FIT, Evaluation, Row, markdown, show

PHOTO_ANGLE: Final = "ita_photo"
FIT_ANGLE: Final = "ita_fit"

TONES: Final = (
    ("very light", 55.0),
    ("light", 41.0),
    ("intermediate", 28.0),
    ("tan", 10.0),
    ("brown", -30.0),
    ("dark", -90.1),
)
"""Names and the angle above which each begins (Chardon et al. 1991; Del Bino and Bernerd 2013)."""

# Below the lower lids, beside nose and mouth corner, inside the jaw: in iBUG order, each cheek in turn.
_CHEEKS: Final = ((2, 41, 31, 48, 4), (14, 46, 35, 54, 12))
_SHRUNK: Final = 0.6
_THIRDS: Final = ("lightest third", "middle third", "darkest third")
_LEAST_CHROMA: Final = 3.0
_TO_XYZ: Final = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


@dataclass(frozen=True)
class SkinTone:
    """Measures the typology angle of a face in the photo, and of its fit's reflectance."""

    model: MorphableModel

    def __call__(self, sample: Sample, answers: Mapping[str, Parameters]) -> Row:
        """Return the angles in degrees; NaN where the photo is without colour."""
        row = {PHOTO_ANGLE: photo_angle(sample)}
        if FIT in answers:
            skin = self.model.reflectance(answers[FIT].reflectance)[self.model.painted_vertices]
            row[FIT_ANGLE] = typology_angle(np.median(np.clip(skin, 0, 1), axis=0).astype(np.float64))
        return row


def photo_angle(sample: Sample) -> float:
    """Return the typology angle of the cheeks as the photo shows them."""
    seen = np.zeros((CROP_SIZE, CROP_SIZE), bool)
    for cheek in _CHEEKS:
        corners = sample.crop.landmarks[list(cheek)].astype(np.float64)
        middle = corners.mean(axis=0)
        seen |= fill_polygon(middle + _SHRUNK * (corners - middle), CROP_SIZE)
    pixels = sample.crop.unmasked[seen & sample.crop.mask]
    if not len(pixels):
        return float("nan")
    return typology_angle(srgb_decode(np.median(pixels, axis=0) / 255))


def typology_angle(linear: Float[np.ndarray, "3"]) -> float:
    """Return the individual typology angle in degrees of a linear sRGB colour, in CIELAB under D65.

    Greys have none: NaN.
    """
    ratio = (_TO_XYZ @ linear) / _TO_XYZ.sum(axis=1)
    cube = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness, a, b = 116 * cube[1] - 16, 500 * (cube[0] - cube[1]), 200 * (cube[1] - cube[2])
    if np.hypot(a, b) < _LEAST_CHROMA:
        return float("nan")
    # Bluish light makes b* negative; atan2 would leave the scale's range then.
    return float(np.degrees(np.arctan2(lightness - 50, max(float(b), 1e-6))))


def skin_groups(evaluation: Evaluation, observed: str, figure: str) -> dict[str, list[int]]:
    """Return the faces of each skin tone, lightest first; tones without a face are left out.

    Photos go by the scale. Fits go by thirds: how bright skin is and how strong the light, only their product
    is seen, so that a fit's angles can be compared with each other alone.
    """
    known = {
        index: row[figure]
        for index, row in enumerate(evaluation.observed[observed])
        if np.isfinite(row.get(figure, np.nan))
    }
    if figure == FIT_ANGLE:
        order = sorted(known, key=lambda index: -known[index])
        parts = np.array_split(np.array(order, int), len(_THIRDS))
        groups = {name: part.tolist() for name, part in zip(_THIRDS, parts, strict=True)}
    else:
        groups = {name: [] for name, _ in TONES}
        for index, angle in known.items():
            groups[next(name for name, least in TONES if angle > least)].append(index)
    return {name: indices for name, indices in groups.items() if indices}


def read_tags(path: Path) -> dict[str, dict[str, str]]:
    """Read labels: a CSV file whose column ``file`` names photos and whose other columns label them.

    Returns:
        For each column the label of each photo.

    Raises:
        InputError: If it can't be read or has no such columns.
    """
    try:
        with path.open(newline="") as stream:
            lines = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The labels in {path} can't be read: {error}.") from error
    columns = [column for column in (lines[0] if lines else {}) if column and column != "file"]
    if not columns or "file" not in lines[0]:
        raise InputError(f"{path} must have a column 'file' and a column of labels beside it.")
    return {column: {line["file"]: line[column] for line in lines if line[column]} for column in columns}


def tag_groups(names: Sequence[str], labels: Mapping[str, str]) -> dict[str, list[int]]:
    """Return the faces of each label, in order of label; photos are found by path or by file name."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        label = labels.get(name) or labels.get(PurePosixPath(name).name)
        if label:
            groups.setdefault(label, []).append(index)
    return dict(sorted(groups.items()))


def group_table(
    evaluation: Evaluation,
    method: str,
    groups: Mapping[str, Sequence[int]],
    figures: Sequence[str],
    title: str,
) -> str:
    """Return a method's figures in each group with confidence intervals, as a Markdown table."""
    people, _ = evaluation.people()
    lines = []
    for name, indices in groups.items():
        bootstrap = Bootstrap([people[i] for i in indices])
        cells = [show(bootstrap.interval(evaluation.values(method, f)[list(indices)])) for f in figures]
        lines.append([name, str(len(indices)), str(bootstrap.cluster_count), *cells])
    return markdown([f"{method}, by {title}", "faces", "persons", *figures], lines)
