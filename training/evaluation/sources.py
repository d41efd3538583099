"""Where the photometric error comes from: groups of the network's answer replaced by the fit's.

The network's face and our optimiser's fit of the same photo are mixed group by group, all sixteen ways, and
each mixture is rendered and measured. That gives three readings of a group: the error of the network's face
with that group of the fit; the error of the fit with that group of the network; and its Shapley value, the
mean of what replacing it helps over all orders in which the groups can be replaced, so that the values add
up to the whole gap between network and fit (Shapley 1953). Light and reflectance explain the same pixels, so
that one of them replaced alone harms: read their sum. What is to be gained by a group alone, with the rest of
the network's answer held, is said by fitting that group to the photo (`refit`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import Final

import numpy as np
from jaxtyping import Float, Float64

from inversefacenet.camera import Placement
from inversefacenet.crop import FaceCrop, crop_face, landmarks66
from inversefacenet.fitting import FitOptions
from inversefacenet.fitting import fit as refine
from inversefacenet.metrics import measure, photometric_error
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import EXPRESSION, ILLUMINATION, REFLECTANCE, ROTATION, SHAPE, Parameters
from inversefacenet.rendering import Rendering, render
from training.evaluation.intervals import Bootstrap
from training.evaluation.methods import Method
from training.evaluation.photos import Sample
from training.evaluation.result import FIT, Row, markdown, show

SOURCES: Final[Mapping[str, tuple[slice, ...]]] = {
    "pose": (ROTATION,),
    "geometry": (SHAPE, EXPRESSION),
    "reflectance": (REFLECTANCE,),
    "light": (ILLUMINATION,),
}

_PAIRS: Final = (("pose", "geometry"), ("reflectance", "light"))
_CROP: Final = "crop"
_PLACEMENT: Final = "placement"
_VISIBLE: Final = "visible"
_REFITTED: Final[Mapping[str, tuple[str, ...]]] = {
    "pose": ("rotation",),
    "pose and geometry": ("rotation", "shape", "expression"),
    "light": ("illumination",),
    "reflectance and light": ("reflectance", "illumination"),
}
"""Groups that are fitted to the photo with the others held, as `inversefacenet.fitting` names them."""


@dataclass(frozen=True)
class ErrorSources:
    """Mixes one network's answers with the fits; faces without a fit give no figures.

    Attributes:
        model: The face model.
        name: The network's name among the methods.
        method: The network.
        refit: Fit some groups of the answer to the photo besides, the others held; takes seconds a face.
    """

    model: MorphableModel
    name: str
    method: Method
    refit: bool = False

    def __call__(self, sample: Sample, answers: Mapping[str, Parameters]) -> Row:
        """Return the photometric error of each mixture, by the groups that are the fit's."""
        if FIT not in answers:
            return {}
        answer, fit = answers[self.name], answers[FIT]
        row = {
            key(taken): self._error(sample.crop, mixture(answer, fit, taken))
            for count in range(len(SOURCES) + 1)
            for taken in combinations(SOURCES, count)
        }
        rendering = render(self.model, answer)
        row[_VISIBLE] = measure(sample.crop, rendering).photometric_visible
        placement = least_squares_placement(rendering, sample.crop.landmarks)
        row[_PLACEMENT] = self._error(sample.crop, answer, placement)
        row[_CROP] = self._error_of_fitted_crop(sample.crop, fit)
        for label, free in _REFITTED.items() if self.refit else ():
            refitted = refine(self.model, sample.crop, answer, FitOptions(free=free))
            row[_refitted(label)] = self._error(sample.crop, refitted.parameters)
        return row

    def _error(self, crop: FaceCrop, face: Parameters, placement: Placement | None = None) -> float:
        picture = render(self.model, face, placement=placement).image
        return photometric_error(crop.unmasked, picture, crop.mask)

    def _error_of_fitted_crop(self, crop: FaceCrop, fit: Parameters) -> float:
        """Cut the face out where the fit's landmarks lie, ask again, and place the answer there."""
        again = crop_face(crop.unmasked, render(self.model, fit).landmarks)
        answer = self.method(again)
        back = render(self.model, answer).placement.then(again.placement.inverse())
        return self._error(crop, answer, back)


def key(taken: Sequence[str]) -> str:
    """Return the name of the mixture in which these groups are the fit's."""
    return "+".join(name for name in SOURCES if name in taken)


def _refitted(label: str) -> str:
    return f"refitted {label}"


def mixture(answer: Parameters, fit: Parameters, taken: Sequence[str]) -> Parameters:
    """Return the answer with some groups replaced by the fit's."""
    vector, other = answer.vector(), fit.vector()
    for name in taken:
        for group in SOURCES[name]:
            vector[group] = other[group]
    return Parameters.from_vector(vector)


def least_squares_placement(rendering: Rendering, landmarks: Float[np.ndarray, "68 2"]) -> Placement:
    """Return the scale and shift that bring the model's 66 points nearest to a crop's."""
    plane = rendering.placement.inverse()
    source = plane.apply(landmarks66(rendering.landmarks).astype(np.float64))
    target = landmarks66(landmarks).astype(np.float64)
    middle, wanted = source.mean(axis=0), target.mean(axis=0)
    scale = float(((source - middle) * (target - wanted)).sum() / ((source - middle) ** 2).sum())
    shift = wanted - scale * middle
    return Placement(scale, (float(shift[0]), float(shift[1])))


def shapley_values(
    errors: Mapping[str, Float[np.ndarray, " faces"]],
) -> dict[str, Float64[np.ndarray, " faces"]]:
    """Return how much of the gap between network and fit each group takes, per face.

    Args:
        errors: The error of each mixture by `key`.
    """
    names, size = list(SOURCES), len(SOURCES)
    values: dict[str, Float64[np.ndarray, " faces"]] = {}
    for name in names:
        others = [other for other in names if other != name]
        total = np.zeros_like(errors[key(())], np.float64)
        for count in range(size):
            weight = factorial(count) * factorial(size - count - 1) / factorial(size)
            for taken in combinations(others, count):
                total = total + weight * (errors[key(taken)] - errors[key((*taken, name))])
        values[name] = total
    return values


def source_table(rows: Sequence[Row], name: str, bootstrap: Bootstrap) -> str:
    """Return where a network's photometric error comes from, as a Markdown table.

    Args:
        rows: What `ErrorSources` gave for each face.
        name: The network's name.
        bootstrap: Draws of the same faces.
    """
    figures = dict.fromkeys(figure for row in rows for figure in row)
    errors = {f: np.array([row.get(f, np.nan) for row in rows], np.float64) for f in figures}
    plain, fitted = errors[key(())], errors[key(tuple(SOURCES))]
    shares = shapley_values(errors)

    def line(label: str, taken: tuple[str, ...], share: Float[np.ndarray, " faces"]) -> list[str]:
        kept = tuple(group for group in SOURCES if group not in taken)
        replaced, opposite = errors[key(taken)], errors[key(kept)]
        return [
            label,
            show(bootstrap.interval(replaced)),
            show(bootstrap.difference(replaced, plain), sign=True),
            show(bootstrap.difference(opposite, fitted), sign=True),
            show(bootstrap.interval(share)),
        ]

    lines = [[name, show(bootstrap.interval(plain)), "", "", ""]]
    lines += [line(f"{group} of the fit", (group,), shares[group]) for group in SOURCES]
    lines += [line(f"{a} and {b} of the fit", (a, b), shares[a] + shares[b]) for a, b in _PAIRS]
    lines.append(line("all of the fit", tuple(SOURCES), plain - fitted))
    for label, figure in (
        (f"{name}, crop cut where the fit's landmarks lie", _CROP),
        (f"{name}, placed on the detected landmarks by least squares", _PLACEMENT),
        (f"{name}, covered pixels alone", _VISIBLE),
        *((f"{name}, {label} fitted to the photo", _refitted(label)) for label in _REFITTED),
    ):
        if figure not in errors:
            continue
        apart = show(bootstrap.difference(errors[figure], plain), sign=True)
        lines.append([label, show(bootstrap.interval(errors[figure])), apart, "", ""])
    head = ["with", "photometric [95% interval]", "change", "the fit loses by the network's", "Shapley value"]
    return markdown(head, lines)
