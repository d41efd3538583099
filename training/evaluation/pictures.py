"""Faces to look at: crop, reconstruction, geometry, contours and where the error lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import UInt8

from inversefacenet.crop import FaceCrop
from inversefacenet.image import encode_png
from inversefacenet.landmarks import Face
from inversefacenet.metrics import measure
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import interpolate
from inversefacenet.reconstruction import Detector, Reconstruction
from inversefacenet.rendering import render
from inversefacenet.visualisation import comparison_strip
from training.evaluation.heat_map import caption, colour_bar, heat_map, per_pixel_error
from training.evaluation.photos import read_samples
from training.evaluation.result import Evaluation

SIZE: Final = 240
LEVELS: Final = 80.0
"""The photometric error that has the heat map's brightest colour."""

MILLIMETRES: Final = 8.0
"""The geometric error that has the heat map's brightest colour."""


def reconstruction_of(model: MorphableModel, crop: FaceCrop, parameters: Parameters) -> Reconstruction:
    """Return the reconstruction that parameters are of a crop."""
    rendering = render(model, parameters)
    face = Face.known(crop.placement.inverse().apply(crop.landmarks))
    return Reconstruction(face, crop, parameters, model, rendering, measure(crop, rendering))


def photometric_map(reconstruction: Reconstruction) -> UInt8[np.ndarray, "240 240 3"]:
    """Return where in the crop the photometric error lies."""
    crop = reconstruction.crop
    return heat_map(per_pixel_error(crop.unmasked, reconstruction.rendering.image), crop.mask, LEVELS)


def strip(reconstruction: Reconstruction) -> UInt8[np.ndarray, "240 width 3"]:
    """Set side by side: crop, face over it, geometry, contours, photometric error with its scale."""
    parts = [comparison_strip(reconstruction, SIZE), photometric_map(reconstruction)]
    return np.concatenate([*parts, colour_bar(SIZE, LEVELS, "levels")], axis=1)


def write_worst(
    evaluation: Evaluation,
    method: str,
    worst: Sequence[int],
    folder: Path,
    model: MorphableModel,
    detector: Detector,
    output: Path,
    faces: Literal["all", "largest"] = "all",
) -> Path:
    """Draw the faces on which a method does worst, the worst on top, into ``worst-METHOD.png``.

    Args:
        evaluation: The figures and answers.
        method: Whose answers are drawn.
        worst: Which faces, as `Evaluation.worst` gives them.
        folder: The evaluated photographs.
        model: The face model.
        detector: Finds the faces again.
        output: Folder of the picture.
        faces: Which of a photograph's faces were looked for.
    """
    strips = []
    for index in worst:
        name, number = evaluation.names[index], evaluation.numbers[index]
        samples, _ = read_samples(folder, folder / name, detector, faces)
        face = Parameters.from_vector(evaluation.answers[method][index])
        drawn = strip(reconstruction_of(model, samples[number].crop, face))
        strips.append(caption(drawn, describe(name, number, evaluation.rows[method][index])))
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"worst-{method.replace(' ', '-')}.png"
    path.write_bytes(encode_png(np.concatenate(strips)))
    return path


def describe(photo: str, number: int, row: Mapping[str, float]) -> str:
    """Return a face's name and figures in a line."""
    figures = [
        f"{figure} {row[figure]:.4g}" for figure in ("photometric", "iou", "landmark") if figure in row
    ]
    if np.isfinite(row.get("geometric", np.nan)):
        figures.append(f"geometric {row['geometric']:.2f} mm")
    which = f" (face {number + 1})" if number else ""
    return f"{photo}{which}: {', '.join(figures)}"


def geometric_map(
    reconstruction: Reconstruction, fit: Parameters, maximum: float = MILLIMETRES
) -> UInt8[np.ndarray, "240 240 3"]:
    """Return how far each visible vertex of the painted region lies from the fit's, in model space."""
    model, rendering = reconstruction.model, reconstruction.rendering
    other = model.geometry(fit.shape, fit.expression)
    apart = np.linalg.norm(reconstruction.geometry() - other, axis=1, keepdims=True).astype(np.float32)
    values = interpolate(rendering.fragments, model.triangles, apart)[..., 0]
    return heat_map(values, rendering.model_mask, maximum)
