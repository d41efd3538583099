"""Build the open face model: ``python -m training.face_model.build --output FILE --seed 0``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float64

from inversefacenet.morphable_model import MorphableModel
from training.face_model.expression import ExpressionBasis, build_expression, load_rig
from training.face_model.landmarks import contour_strips
from training.face_model.model_card import write_model_card
from training.face_model.painted import mean_overlap, paint
from training.face_model.reflectance import Reflectance, build_reflectance
from training.face_model.shape import ShapeBasis, build_shape
from training.face_model.template import PART_NAMES, Template, build_template

NAME: Final = "inversefacenet-open-face 1.0"
DEFAULT_OUTPUT: Final = Path("inversefacenet/assets/face_model.npz")
SAMPLES: Final = {"shape": 3000, "expression": 8000, "reflectance": 2500}
CARD_VIEWS: Final = 300
FEATURE_MASK: Final = 0.3
"""Above this value of the lips' or lids' mask no jaw point slides."""


def assemble(
    template: Template,
    names: tuple[str, ...],
    shape: ShapeBasis,
    expression: ExpressionBasis,
    reflectance: Reflectance,
    seed: int,
) -> MorphableModel:
    """Put the parts together, with landmarks' strips and the painted region."""
    features = np.maximum(template.masks["lips"], template.masks["eyelids"]) > FEATURE_MASK
    candidates, directions = contour_strips(template.geometry, template.landmarks, features)

    def model(painted: np.ndarray) -> MorphableModel:
        return MorphableModel(
            name=NAME,
            mean_geometry=shape.mean,
            mean_reflectance=reflectance.mean,
            shape_basis=shape.basis,
            shape_sigma=shape.sigma,
            expression_basis=expression.basis,
            expression_sigma=expression.sigma,
            reflectance_basis=reflectance.basis,
            reflectance_sigma=reflectance.sigma,
            triangles=template.triangles,
            triangle_part=template.triangle_part,
            vertex_part=template.vertex_part,
            part_names=PART_NAMES,
            painted=painted,
            landmarks=template.landmarks,
            contour_candidates=candidates,
            contour_directions=directions,
            unit_names=names,
            unit_coefficients=expression.unit_coefficients,
        )

    return model(paint(model(np.ones(len(template.triangles), bool)), seed))


def build_face_model(
    seed: int, samples: dict[str, int] = SAMPLES
) -> tuple[MorphableModel, dict[str, Float64[np.ndarray, " components"]]]:
    """Build the whole model from the MakeHuman data.

    Args:
        seed: Seed of all sampling.
        samples: How many heads, expressions and skins to sample.

    Returns:
        The model, and all variances of each basis, largest first.
    """
    template = build_template()
    rig = load_rig(template)
    shape = build_shape(template, rig, seed, samples["shape"])
    expression = build_expression(rig, seed, samples["expression"])
    reflectance = build_reflectance(template, seed, samples["reflectance"])
    model = assemble(template, rig.names, shape, expression, reflectance, seed)
    variances = {
        "shape": shape.variance,
        "expression": expression.variance,
        "reflectance": reflectance.variances,
    }
    return model, variances


def main() -> None:
    """Build the model, save it and write its card beside it."""
    parser = argparse.ArgumentParser(prog="python -m training.face_model.build", description=__doc__)
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    output: Path = arguments.output
    model, variances = build_face_model(arguments.seed)
    model.save(output)
    size = output.stat().st_size
    # Other faces than those that the painted region was chosen by.
    overlap, bare = mean_overlap(model, arguments.seed + 1, CARD_VIEWS)
    write_model_card(output.with_name("FACE_MODEL.md"), model, variances, SAMPLES, size, (overlap, bare))
    print(f"{output}: {model.vertex_count} vertices, {len(model.triangles)} triangles, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
