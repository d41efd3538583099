"""What a reflectance basis corrected by photographs would bring.

``python -m training.skin_study --store STORE --fits FITS --photos FOLDER``: the colours that photographs
show, divided by the light of their fits, less the fits' reflectance, is what the face model's skin lacks,
vertex by vertex. The mean of it corrects the mean face, and is applied to photographs of other people: to the
network's answers, and to fits of light and reflectance at the network's geometry. Nothing is written: the
corrected model would carry statistics of the photographs. Prints Markdown; the last line sums up as
``name=value``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, Int64

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.camera import CAMERA_DISTANCE
from inversefacenet.colour import to_linear
from inversefacenet.crop import FaceCrop
from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.fitting import FitOptions, fit
from inversefacenet.illumination import irradiance
from inversefacenet.landmarks import FaceDetector
from inversefacenet.metrics import measure
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import vertex_normals
from inversefacenet.rendering import Rendering, render
from training.evaluation.photos import find_photos, progress, read_samples
from training.fit_work import StoredFaces, read_columns
from training.photo_store import PhotoStore

COUNT: Final = 64

_NETWORK: Final = "the network's answers"
_FITTED: Final = "light and reflectance fitted"
_SKIN_ALONE: Final = FitOptions(free=("reflectance", "illumination"))
_DARKEST: Final = 0.15  # of irradiance: less says nothing about skin
_FACING: Final = 0.35  # least cosine between normal and camera
_BEHIND: Final = 4.0  # millimetres
_FEWEST: Final = 20  # faces that must show a vertex
_LARGEST: Final = 0.35  # of linear reflectance: more is hair, glasses or a highlight


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.skin_study",
        description="What a reflectance basis corrected by photographs would bring.",
    )
    parser.add_argument("--store", type=Path, required=True, help="photographs that were fitted")
    parser.add_argument("--fits", type=Path, required=True, help="what training.fit_photos wrote of them")
    parser.add_argument("--photos", type=Path, required=True, help="photographs of other people")
    parser.add_argument(
        "--network", type=Path, default=Path("reference"), help="ONNX file (default: %(default)s)"
    )
    parser.add_argument("--count", type=int, default=COUNT, help="so many of them (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        study(options.store, options.fits, options.photos, options.network, options.count)
    except InverseFaceNetError as error:
        print(f"skin_study: {error}", file=sys.stderr)
        return 1
    return 0


def study(store: Path, fits: Path, photos: Path, network: Path | None, count: int) -> None:
    """Learn what skin lacks from some photographs, and print what it brings on others.

    Raises:
        InputError: If store, fits or photographs can't be read.
    """
    model = MorphableModel.load_default()
    lack = lacking(model, PhotoStore.open(store), read_columns(fits))
    corrected = replace(model, mean_reflectance=np.clip(model.mean_reflectance + lack, 0, 1))
    models = {"the face model": model, "its mean corrected": corrected}
    backend = OnnxBackend(network)
    errors: dict[str, list[float]] = {f"{name}, {how}": [] for how in (_NETWORK, _FITTED) for name in models}
    for crop in _faces(photos, count):
        answer = Parameters.from_vector(backend.infer(crop.image[None])[0])
        for name, face_model in models.items():
            fitted = fit(face_model, crop, answer, _SKIN_ALONE).parameters
            for how, parameters in ((_NETWORK, answer), (_FITTED, fitted)):
                quality = measure(crop, render(face_model, parameters))
                errors[f"{name}, {how}"].append(quality.photometric)
    faces = len(next(iter(errors.values())))
    if not faces:
        raise InputError(f"{photos} shows no face.")
    painted = model.painted_vertices
    print(f"The mean face lacks {np.abs(lack[painted]).mean():.4f} of linear reflectance a vertex.\n")
    print("| on photographs of other people | photometric |\n|---|---|")
    means = {name: float(np.mean(values)) for name, values in errors.items()}
    for name, value in means.items():
        print(f"| {name} | {value:.2f} |")
    names = ("network", "network_corrected", "fitted", "fitted_corrected")
    figures = " ".join(f"{name}={value:.3f}" for name, value in zip(names, means.values(), strict=True))
    print(f"\nfaces={faces} {figures}")


def lacking(
    model: MorphableModel, store: PhotoStore, fits: Mapping[str, np.ndarray]
) -> Float32[np.ndarray, "vertices 3"]:
    """Return the mean over faces of the reflectance that photographs show beyond their fits'.

    Args:
        model: The face model.
        store: The photographs.
        fits: `theta` of each fit, and its `index` in the store.

    Returns:
        Linear reflectance; 0 where too few faces show a vertex.
    """
    total = np.zeros((model.vertex_count, 3), np.float64)
    count = np.zeros((model.vertex_count, 1), np.int64)
    for theta, index in zip(fits["theta"], fits["index"], strict=True):
        (crop,) = StoredFaces(store).crops(int(index))
        parameters = Parameters.from_vector(theta.astype(np.float32))
        rendering = render(model, parameters)
        normals = vertex_normals(rendering.vertices, model.triangles)
        light = irradiance(normals, parameters.illumination)
        points = np.floor(rendering.points()).astype(int)
        shown = _shown(model, rendering, crop, points, normals) & (light.min(axis=1) > _DARKEST)
        colours = to_linear(crop.image[points[shown, 1], points[shown, 0]])
        lack = colours / light[shown] - model.reflectance(parameters.reflectance)[shown]
        usual = np.abs(lack).max(axis=1) < _LARGEST
        kept = np.flatnonzero(shown)[usual]
        total[kept] += lack[usual]
        count[kept] += 1
    return np.where(count >= _FEWEST, total / np.maximum(count, 1), 0).astype(np.float32)


def _shown(
    model: MorphableModel,
    rendering: Rendering,
    crop: FaceCrop,
    points: Int64[np.ndarray, "vertices 2"],
    normals: Float32[np.ndarray, "vertices 3"],
) -> Bool[np.ndarray, " vertices"]:
    """Say which painted vertices a crop shows: inside its mask, turned to the camera, nothing before them."""
    size = len(crop.mask)
    inside = ((points >= 0) & (points < size)).all(axis=1) & (normals[:, 2] > _FACING)
    inside[np.setdiff1d(np.arange(model.vertex_count), model.painted_vertices)] = False
    columns, rows = np.where(inside[:, None], points, 0).T
    depth = CAMERA_DISTANCE - rendering.vertices[:, 2]
    before = depth > rendering.fragments.depth[rows, columns] + _BEHIND
    return inside & crop.mask[rows, columns] & ~before


def _faces(folder: Path, count: int) -> Iterator[FaceCrop]:
    """Yield the largest faces of photographs spread over a folder."""
    detector, paths = FaceDetector(), find_photos(folder, count)
    for path in progress(paths, len(paths)):
        for sample in read_samples(folder, path, detector, "largest")[0]:
            yield sample.crop


if __name__ == "__main__":
    raise SystemExit(main())
