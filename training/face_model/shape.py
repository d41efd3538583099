"""The shape basis: sampled MakeHuman heads, aligned, and their principal directions.

Heads are mixtures of race, gender, age, weight, muscle and proportions with 139 local parameters of
head, forehead, brows, eyes, nose, mouth, chin, cheeks and asymmetry on top. All samples are products of
a weight matrix with the targets mapped to the template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Float64

from training.face_model.expression import Rig, fix_signs
from training.face_model.lips import close_lips
from training.face_model.makehuman import (
    Macro,
    load_base_mesh,
    load_macro_target,
    load_targets,
    macro_weights,
)
from training.face_model.template import SKIN, Template

SHAPE_COUNT: Final = 128

SPREAD: Final = {
    "head": 0.14,
    "forehead": 0.16,
    "eyebrows": 0.20,
    "eyes": 0.26,
    "nose": 0.20,
    "mouth": 0.20,
    "chin": 0.15,
    "cheek": 0.20,
    "neck": 0.20,
    "asym": 0.10,
}
"""Standard deviations of local parameters by folder: half as much again gives caricatures."""

ONE_SIDED_SPREAD: Final = 0.2
"""Standard deviation of parameters without an opposite: head forms such as ``head-oval``."""

SIDE_SPREAD: Final = 0.25
"""How much the left and right parameters of a pair differ, as a share of the pair's deviation."""

FINE_PARAMETERS: Final = {"mouth-trans-in": 0.3, "nose-trans-in": 0.3}
"""Factors on parameters that move a whole feature off the middle."""

LEFT_OUT: Final = re.compile(r"head-trans|head-back|asym-ear|asymm-|neck-(?!double)|measure-neck")
"""Parameters of what the template lacks, and those that rigid alignment takes out again."""

SIGNED_ENDINGS: Final = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
    ("l", "r"),
)

ALIGNMENT_STEPS: Final = 3


@dataclass(frozen=True)
class Parameter:
    """A signed local parameter: weight t >= 0 applies `positive`, t < 0 applies -t of `negative`."""

    folder: str
    negative: str | None
    positive: str


@dataclass(frozen=True)
class ShapeBasis:
    """Principal shape directions.

    Attributes:
        mean: Mean face, lips closed, centred on its skin's centroid, in millimetres.
        basis: Orthonormal directions.
        sigma: Standard deviation along each, in millimetres.
        variance: All variances, largest first, in square millimetres.
    """

    mean: Float32[np.ndarray, "vertices 3"]
    basis: Float32[np.ndarray, "coordinates 128"]
    sigma: Float32[np.ndarray, "128"]
    variance: Float64[np.ndarray, " samples"]


def local_parameters(targets: dict[str, list[str]]) -> list[Parameter]:
    """Pair the targets of each folder into signed parameters, leaving out unwanted ones.

    Args:
        targets: Target names by folder.
    """
    parameters = []
    for folder, names in targets.items():
        wanted = [name for name in names if not LEFT_OUT.match(name)]
        negatives = {}
        for name in wanted:
            stem, _, ending = name.rpartition("-")
            for low, high in SIGNED_ENDINGS:
                if ending == low and f"{stem}-{high}" in wanted:
                    negatives[f"{stem}-{high}"] = name
        alone = set(wanted) - set(negatives.values())
        parameters += [Parameter(folder, negatives.get(name), name) for name in wanted if name in alone]
    return parameters


def sample_macro(rng: np.random.Generator, count: int) -> Macro:
    """Draw people: all races and mixtures, both sexes, 20 to 85 years, mostly of average build."""
    return Macro(
        race=rng.dirichlet([0.55] * 3, count),
        gender=rng.beta(0.4, 0.4, count),
        age=0.42 + 0.53 * rng.beta(1.2, 2.2, count),
        muscle=np.clip(rng.normal(0.5, 0.17, count), 0, 1),
        weight=np.clip(rng.normal(0.52, 0.2, count), 0, 1),
        proportions=np.clip(rng.normal(0.6, 0.2, count), 0, 1),
    )


def sample_local(
    rng: np.random.Generator, count: int, parameters: list[Parameter]
) -> Float64[np.ndarray, "count parameters"]:
    """Draw the local parameters; the two sides of the face are nearly alike."""
    columns: list[Float64[np.ndarray, " count"]] = []
    pairs: dict[str, Float64[np.ndarray, " count"]] = {}
    for parameter in parameters:
        spread = SPREAD[parameter.folder]
        stem = parameter.positive.rpartition("-")[0]
        if parameter.positive[:2] in ("l-", "r-"):
            if stem[2:] not in pairs:
                pairs[stem[2:]] = rng.normal(0, spread, count)
            column = pairs[stem[2:]] + rng.normal(0, SIDE_SPREAD * spread, count)
        elif parameter.negative is None:
            column = np.maximum(0, rng.normal(0, ONE_SIDED_SPREAD, count))
        else:
            column = rng.normal(0, spread, count) * FINE_PARAMETERS.get(parameter.negative, 1.0)
        columns.append(np.clip(column, -1, 1))
    return np.stack(columns, axis=1)


def sample_heads(
    template: Template, rng: np.random.Generator, count: int
) -> Float32[np.ndarray, "count coordinates"]:
    """Draw heads on the template, in millimetres and MakeHuman's axes."""
    macro = macro_weights(sample_macro(rng, count))
    folders = {folder: load_targets(f"mpfb2/targets/{folder}") for folder in SPREAD}
    parameters = local_parameters({folder: list(targets) for folder, targets in folders.items()})
    local = sample_local(rng, count, parameters)
    weights = list(macro.values())
    targets = [load_macro_target(name) for name in macro]
    for parameter, column in zip(parameters, local.T, strict=True):
        weights.append(np.maximum(column, 0))
        targets.append(folders[parameter.folder][parameter.positive])
        if parameter.negative is not None:
            weights.append(np.maximum(-column, 0))
            targets.append(folders[parameter.folder][parameter.negative])
    mapped = np.stack([template.displacement(target).ravel() for target in targets]).astype(np.float32)
    heads = np.stack(weights, axis=1).astype(np.float32) @ mapped
    heads += template.displacement(load_base_mesh().vertices).ravel().astype(np.float32)
    return heads


def align(
    heads: Float32[np.ndarray, "count vertices 3"],
    reference: Float[np.ndarray, "vertices 3"],
    chosen: np.ndarray,
) -> Float32[np.ndarray, "count vertices 3"]:
    """Align each head rigidly, without scale, to a reference on the chosen vertices (Kabsch 1976)."""
    source = heads[:, chosen].mean(axis=1)
    goal = reference[chosen].mean(axis=0)
    covariance = np.einsum("nvi,vj->nij", heads[:, chosen] - source[:, None], reference[chosen] - goal)
    u, _, vt = np.linalg.svd(covariance.astype(np.float64))
    flip = np.ones((len(heads), 1, 3))
    flip[:, 0, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = ((u * flip) @ vt).astype(np.float32)
    return np.asarray((heads - source[:, None]) @ rotation + goal.astype(np.float32))


def build_shape(template: Template, rig: Rig, seed: int, samples: int) -> ShapeBasis:
    """Sample heads and find their principal directions.

    Args:
        template: The mesh.
        rig: Its jaw closes the lips of each sample.
        seed: Seed of the sampled heads.
        samples: Number of sampled heads.
    """
    rng = np.random.default_rng(seed)
    heads = close_lips(sample_heads(template, rng, samples), template, rig).reshape(samples, -1, 3)
    skin = template.vertex_part == SKIN
    reference = heads.mean(axis=0)
    for _ in range(ALIGNMENT_STEPS):
        heads = align(heads, reference, skin)
        reference = heads.mean(axis=0)
    mean = heads.mean(axis=0, dtype=np.float64)
    table = (heads - mean.astype(np.float32)).reshape(samples, -1)
    basis, variance = principal_directions(table, SHAPE_COUNT)
    return ShapeBasis(
        mean=(mean - mean[skin].mean(axis=0)).astype(np.float32),
        basis=basis.astype(np.float32),
        sigma=np.sqrt(variance[:SHAPE_COUNT]).astype(np.float32),
        variance=variance,
    )


def principal_directions(
    centred: Float32[np.ndarray, "samples coordinates"], count: int
) -> tuple[Float64[np.ndarray, "coordinates count"], Float64[np.ndarray, " samples"]]:
    """Return the leading principal directions and all variances, by the samples' Gram matrix.

    With fewer samples than coordinates the Gram matrix has the covariance's nonzero spectrum.
    """
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1]
    combination = vectors[:, :count] / np.sqrt(np.maximum(values[:count], 1e-12))
    basis = (centred.T @ combination.astype(np.float32)).astype(np.float64)
    orthonormal, _ = np.linalg.qr(basis)
    return fix_signs(orthonormal), values / (len(centred) - 1)
