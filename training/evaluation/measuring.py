"""Methods measured on photographs, and on rendered faces whose truth is known (Section 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Float32

from inversefacenet.camera import rotation_matrix
from inversefacenet.crop import FaceCrop
from inversefacenet.errors import InputError
from inversefacenet.metrics import geometric_error, geometric_error_aligned, measure, rotation_error
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import PARAMETER_COUNT, Parameters
from inversefacenet.reconstruction import Detector
from inversefacenet.rendering import render
from inversefacenet.sampling import DISTRIBUTIONS
from training.evaluation.fits import Fits, Key, check_same_faces
from training.evaluation.methods import Method
from training.evaluation.people import Rule
from training.evaluation.photos import Sample, find_photos, progress, read_samples
from training.evaluation.result import FIT, Evaluation, Row
from training.rendered import rendered_crop

TEST_SEED: Final = 20180618
"""Seed of the rendered test sets."""

Observer = Callable[[Sample, Mapping[str, Parameters]], Row]
"""Looks at a face and all methods' answers (the fit's among them) and returns more figures."""


def evaluate_photos(
    folder: Path,
    model: MorphableModel,
    methods: Mapping[str, Method],
    detector: Detector,
    *,
    faces: Literal["all", "largest"] = "all",
    fits: Fits | None = None,
    observers: Mapping[str, Observer] | None = None,
    limit: int | None = None,
    rule: Rule = "auto",
    fitted_only: bool = False,
) -> Evaluation:
    """Measure the methods on the faces of a folder's photographs.

    Args:
        folder: Photographs, at any depth.
        model: The face model.
        methods: What is measured.
        detector: Finds the faces.
        faces: Which of a photograph's faces count.
        fits: Our optimiser's answers: the reference of the geometric errors, and a method of its own.
        observers: More figures of each face.
        limit: No more than so many photographs, spread evenly over the folder.
        rule: How persons are told apart, for the intervals.
        fitted_only: Leave out faces that have no fit.

    Raises:
        InputError: If the folder holds no photograph, no photograph shows a face, or the fits are of others.
    """
    paths = find_photos(folder, limit)
    wanted = set(fits.parameters) if fits is not None and fitted_only else None
    if wanted is not None:
        named = {name for name, _ in wanted}
        paths = [path for path in paths if path.relative_to(folder).as_posix() in named]

    def work(path: Path) -> tuple[str, list[_Measured]]:
        samples, reason = read_samples(folder, path, detector, faces)
        samples = [one for one in samples if wanted is None or (one.name, one.number) in wanted]
        found = [_measure(model, sample, methods, fits, observers or {}) for sample in samples]
        return reason and f"{path.relative_to(folder).as_posix()} ({reason})", found

    failed: list[str] = []
    measured: list[_Measured] = []
    with ThreadPoolExecutor() as pool:
        for failure, found in progress(pool.map(work, paths), len(paths)):
            failed += [failure] if failure else []
            measured += found
    if not measured:
        raise InputError(f"No photograph in {folder} shows a face that the detector finds.")
    if fits is not None:
        check_same_faces(fits, {one.key: one.rows[FIT]["photometric"] for one in measured if one.fitted})
    return _gathered(measured, failed, rule)


class _Measured:
    """One face: each method's answer and figures."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.fitted = False
        self.answers: dict[str, Parameters] = {}
        self.rows: dict[str, Row] = {}
        self.observed: dict[str, Row] = {}


def _measure(
    model: MorphableModel,
    sample: Sample,
    methods: Mapping[str, Method],
    fits: Fits | None,
    observers: Mapping[str, Observer],
) -> _Measured:
    one = _Measured((sample.name, sample.number))
    one.answers = {name: method(sample.crop) for name, method in methods.items()}
    fit = fits.parameters.get(one.key) if fits is not None else None
    for name, answer in one.answers.items():
        one.rows[name] = measure(sample.crop, render(model, answer)).to_dict()
        if fit is not None:
            one.rows[name] = against(model, answer, fit) | one.rows[name]
    if fit is not None:
        one.fitted = True
        one.answers[FIT] = fit
        one.rows[FIT] = measure(sample.crop, render(model, fit)).to_dict()
    elif fits is not None:
        one.rows[FIT] = {}
    one.observed = {name: observe(sample, one.answers) for name, observe in observers.items()}
    return one


def _gathered(measured: Sequence[_Measured], failed: list[str], rule: Rule) -> Evaluation:
    unknown = np.full(PARAMETER_COUNT, np.nan, np.float32)
    methods = list(measured[0].rows)
    answers: dict[str, Float32[np.ndarray, "faces 350"]] = {
        method: np.stack(
            [one.answers[method].vector() if method in one.answers else unknown for one in measured]
        )
        for method in methods
    }
    return Evaluation(
        rows={method: [one.rows[method] for one in measured] for method in methods},
        failed=failed,
        names=[one.key[0] for one in measured],
        numbers=[one.key[1] for one in measured],
        answers=answers,
        observed={name: [one.observed[name] for one in measured] for name in measured[0].observed},
        rule=rule,
    )


def evaluate_rendered(
    distribution: str, count: int, model: MorphableModel, methods: Mapping[str, Method]
) -> Evaluation:
    """Measure the methods on rendered faces whose parameters are known."""
    thetas = DISTRIBUTIONS[distribution].sample(np.random.default_rng(TEST_SEED), count, model)
    return evaluate_truths(thetas, [f"{distribution} {i}" for i in range(count)], model, methods)


def evaluate_truths(
    thetas: Float[np.ndarray, "faces 350"],
    names: list[str],
    model: MorphableModel,
    methods: Mapping[str, Method],
    rule: Rule = "photo",
) -> Evaluation:
    """Render faces and measure the methods on them; names and rule tell what belongs together."""

    def work(theta: Float[np.ndarray, "350"]) -> dict[str, tuple[Parameters, Row]]:
        truth = Parameters.from_vector(theta)
        crop = rendered_crop(model, truth)
        answers = {name: method(crop) for name, method in methods.items()}
        return {name: (answer, compare(model, crop, truth, answer)) for name, answer in answers.items()}

    with ThreadPoolExecutor() as pool:
        found = list(progress(pool.map(work, thetas), len(thetas)))
    return Evaluation(
        rows={name: [one[name][1] for one in found] for name in methods},
        failed=[],
        names=names,
        numbers=[0] * len(names),
        answers={name: np.stack([one[name][0].vector() for one in found]) for name in methods},
        rule=rule,
    )


def against(model: MorphableModel, answer: Parameters, truth: Parameters) -> Row:
    """Return the geometric error in mm over the painted region, as it is and rigidly aligned."""
    painted = model.painted_vertices
    first, second = (model.geometry(p.shape, p.expression)[painted] for p in (answer, truth))
    return {
        "geometric": geometric_error(first, second),
        "geometric_aligned": geometric_error_aligned(first, second),
    }


def compare(model: MorphableModel, crop: FaceCrop, truth: Parameters, answer: Parameters) -> Row:
    """Return all that can be measured where the truth is known.

    Geometric error in mm and rotation in degrees; reflectance is RMS of linear reflectance over the painted
    region, light RMS of coefficients; then what can be measured on any crop.
    """
    painted = model.painted_vertices
    geometry = [model.geometry(p.shape, p.expression)[painted] for p in (answer, truth)]
    skin = [model.reflectance(p.reflectance)[painted] for p in (answer, truth)]
    return {
        "geometric": geometric_error(geometry[0], geometry[1]),
        "rotation": rotation_error(rotation_matrix(answer.rotation), rotation_matrix(truth.rotation)),
        "reflectance": float(np.sqrt(((skin[0] - skin[1]) ** 2).mean())),
        "light": float(np.sqrt(((answer.illumination - truth.illumination) ** 2).mean())),
        **measure(crop, render(model, answer)).to_dict(),
    }
