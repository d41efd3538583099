"""The expression basis: rig units, and the principal directions of random expressions.

The units are the 51 face units of the CC0 Face Units pack and MakeHuman's 34 expression units, averaged
over its three races. The basis is an uncentred PCA of sampled expressions, so that theta_e = 0 is the
neutral face and each unit stays a fixed vector of coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64

from inversefacenet.rig import sample_units
from training.face_model.makehuman import RACES, load_targets
from training.face_model.template import EYE, Template

EXPRESSION_COUNT: Final = 64
LEFT_OUT: Final = ("tongueOut",)
"""Face units of parts that the template lacks."""


@dataclass(frozen=True)
class Rig:
    """Named expression units.

    Attributes:
        names: Face units by their own names, MakeHuman's with the prefix ``mh:``.
        displacements: What weight 1 of each unit adds to the stacked coordinates, in millimetres.
    """

    names: tuple[str, ...]
    displacements: Float32[np.ndarray, "units coordinates"]

    def unit(self, name: str) -> Float32[np.ndarray, "vertices 3"]:
        """Return one unit's displacement of each vertex."""
        return self.displacements[self.names.index(name)].reshape(-1, 3)


@dataclass(frozen=True)
class ExpressionBasis:
    """Principal expression directions.

    Attributes:
        basis: Orthonormal directions.
        sigma: Root mean square coordinate along each, in millimetres.
        variance: All second moments, largest first, in square millimetres.
        unit_coefficients: Each unit's projection, in sigmas.
    """

    basis: Float32[np.ndarray, "coordinates 64"]
    sigma: Float32[np.ndarray, "64"]
    variance: Float64[np.ndarray, " units"]
    unit_coefficients: Float32[np.ndarray, "units 64"]


def load_rig(template: Template) -> Rig:
    """Map all expression units to the template."""
    units = {
        name: target
        for name, target in load_targets("faceunits01/targets/faceunits").items()
        if name not in LEFT_OUT
    }
    folder = "mpfb2/targets/expression/units"
    by_race = [load_targets(f"{folder}/{race}") for race in RACES]
    for name in by_race[0]:
        units[f"mh:{name}"] = np.mean([targets[name] for targets in by_race], axis=0)
    displacements = {name: template.displacement(target) for name, target in units.items()}
    for name, displacement in displacements.items():
        if name.startswith("eyeLook"):
            _turn_eyeballs(template, displacement)
    stacked = [displacement.ravel() for displacement in displacements.values()]
    return Rig(tuple(units), np.array(stacked, np.float32))


def _turn_eyeballs(template: Template, displacement: Float64[np.ndarray, "vertices 3"]) -> None:
    """Let a gaze unit turn each eyeball about its centre, by as much as the pupil moves.

    The unit turns it about a point behind, which opens a gap between the ball and the corner of the lids.
    """
    for sign in (-1, 1):
        ball = np.flatnonzero((template.vertex_part == EYE) & (template.vertices[:, 0] * sign > 0))
        offset = template.vertices[ball] - sphere_centre(template.vertices[ball])
        pupil = int(offset[:, 2].argmax())
        before = offset[pupil] / np.linalg.norm(offset[pupil])
        after = offset[pupil] + displacement[ball[pupil]]
        after /= np.linalg.norm(after)
        axis = np.cross(before, after)
        sine = np.linalg.norm(axis)
        if sine < 1e-6:
            continue
        axis /= sine
        # Rodrigues' formula less the identity.
        across = np.cross(axis, offset)
        displacement[ball] = sine * across + (1 - before @ after) * np.cross(axis, across)


def sphere_centre(points: Float64[np.ndarray, "points 3"]) -> Float64[np.ndarray, " 3"]:
    """Return the centre of the sphere that fits points best in least squares."""
    system = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    return np.asarray(np.linalg.lstsq(system, (points**2).sum(axis=1))[0][:3])


def build_expression(rig: Rig, seed: int, samples: int) -> ExpressionBasis:
    """Find the principal directions of random expressions.

    The second moment of ``weights @ displacements`` has the factor ``root @ displacements`` with
    root' root the weights' own second moment, which is only as large as the rig.

    Args:
        rig: The units.
        seed: Seed of the sampled weights.
        samples: Number of sampled expressions.
    """
    weights = sample_units(np.random.default_rng(seed), samples, rig.names).astype(np.float64)
    moment, vectors = np.linalg.eigh(weights.T @ weights / samples)
    root = np.sqrt(np.clip(moment, 0, None))[:, None] * vectors.T
    _, singular, rows = np.linalg.svd(root @ rig.displacements, full_matrices=False)
    basis = fix_signs(rows[:EXPRESSION_COUNT].T)
    sigma = singular[:EXPRESSION_COUNT]
    return ExpressionBasis(
        basis=basis.astype(np.float32),
        sigma=sigma.astype(np.float32),
        variance=singular**2,
        unit_coefficients=(rig.displacements @ basis / sigma).astype(np.float32),
    )


def fix_signs(
    basis: Float64[np.ndarray, "coordinates columns"],
) -> Float64[np.ndarray, "coordinates columns"]:
    """Choose each direction's sign so that its largest entry is positive: PCA leaves it open."""
    largest = np.abs(basis).argmax(axis=0)
    return basis * np.where(basis[largest, np.arange(basis.shape[1])] < 0, -1, 1)
