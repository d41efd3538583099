"""The Basel Face Models 2017 and 2019 (.h5, the Statismo format of the Basel face pipeline).

Data sets (eos' `share/scripts/convert-bfm2017-to-eos.py`; Gerig et al. 2018): shape/model/mean, pcaBasis
(unit columns) and pcaVariance, the same under color and expression, shape/representer/cells [3, triangles]
from 0 and points [3, vertices]; millimetres, colours from 0 to 1. The expressions' mean isn't zero: the
neutral face is shape/model/mean alone, so the mean expression becomes a direction (`second_moment`).
metadata/landmarks/json names points by their coordinates on the mean face. All crops are read: bfm, face12,
fullHead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, Int64

from inversefacenet.errors import FaceModelError
from inversefacenet.importers.encoded_colour import Encoding, check_colours, linearise
from inversefacenet.importers.hdf5 import read_hdf5
from inversefacenet.importers.landmark_lists import named_landmarks
from inversefacenet.importers.raw_model import MISSING, SKIN_PARTS, RawModel, no_between, second_moment

_MODELS: Final = ("shape", "color", "expression")
_PARTS: Final = ("mean", "pcaBasis", "pcaVariance")
CELLS: Final = "shape/representer/cells"
POINTS: Final = "shape/representer/points"
LANDMARKS: Final = "metadata/landmarks/json"
REQUIRED: Final = (*(f"{model}/model/{part}" for model in _MODELS for part in _PARTS), CELLS)


def read_bfm_hdf5(source: Path, kind: str, encoding: Encoding) -> RawModel:
    """Read the model.

    Args:
        source: Such as `model2017-1_face12_nomouth.h5` or `model2019_bfm.h5`.
        kind: "bfm2017" or "bfm2019", for the name; the files are alike.
        encoding: What the colours are.

    Raises:
        FaceModelError: If the file is missing, damaged or of another kind; the message names the data set.
        MissingDependencyError: If h5py isn't installed.
    """
    year = kind.removeprefix("bfm")
    advice = f"give an .h5 file of the Basel Face Model {year}, such as {_EXAMPLES[kind]}."
    arrays = read_hdf5(source, REQUIRED, (POINTS, LANDMARKS), advice)
    count = arrays["shape/model/mean"].size // 3
    shape_mean, shape = _model(source, arrays, "shape", count, advice)
    expression_mean, expression = _model(source, arrays, "expression", count, advice)
    colour_mean, colours = _model(source, arrays, "color", count, advice)
    check_colours(f"{source.name}: color/model/mean", colour_mean, 1)
    reflectance_mean, reflectance, error = linearise(colour_mean, colours, encoding)
    triangles = _triangles(source, arrays[CELLS], advice)
    geometry = shape_mean.reshape(-1, 3)
    landmarks, between = _landmarks(source, arrays, geometry)
    return RawModel(
        name=f"Basel Face Model {year} ({source.stem})",
        geometry=geometry,
        triangles=triangles,
        triangle_part=np.zeros(len(triangles), np.uint8),
        part_names=SKIN_PARTS,
        shape=shape,
        expression=second_moment(expression_mean.astype(np.float32), expression),
        reflectance_mean=reflectance_mean.reshape(-1, 3),
        reflectance=reflectance,
        landmarks=landmarks,
        between=between,
        reflectance_error=error,
    )


_EXAMPLES: Final = {"bfm2017": "model2017-1_face12_nomouth.h5", "bfm2019": "model2019_face12.h5"}


def _model(
    source: Path, arrays: dict[str, np.ndarray], model: str, count: int, advice: str
) -> tuple[Float64[np.ndarray, "coordinates"], Float32[np.ndarray, "coordinates columns"]]:
    mean, basis, variance = (arrays[f"{model}/model/{part}"] for part in _PARTS)
    if mean.size != 3 * count or count < 68:
        raise FaceModelError(
            f"{source.name}: '{model}/model/mean' has {mean.size} numbers, which are not the coordinates or "
            f"colours of {max(count, 68)} vertices: {advice}"
        )
    if basis.ndim != 2 or basis.shape != (3 * count, variance.size):
        raise FaceModelError(
            f"{source.name}: '{model}/model/pcaBasis' has the shape {basis.shape}, but {count} vertices and "
            f"{variance.size} variances need {(3 * count, variance.size)}: {advice}"
        )
    if variance.size and variance.min() < 0:
        raise FaceModelError(f"{source.name}: '{model}/model/pcaVariance' has negative variances: {advice}")
    columns = basis.astype(np.float32) * np.sqrt(variance.ravel()).astype(np.float32)
    return mean.astype(np.float64).ravel(), columns


def _triangles(source: Path, cells: np.ndarray, advice: str) -> Int64[np.ndarray, "triangles 3"]:
    if cells.ndim == 2 and cells.shape[0] == 3:
        cells = cells.T
    if cells.ndim != 2 or cells.shape[1] != 3:
        raise FaceModelError(
            f"{source.name}: '{CELLS}' has the shape {cells.shape}, not 3 x triangles: {advice}"
        )
    return cells.astype(np.int64)


def _landmarks(
    source: Path, arrays: dict[str, np.ndarray], geometry: Float64[np.ndarray, "vertices 3"]
) -> tuple[Int64[np.ndarray, "68"], Int64[np.ndarray, "between 3"]]:
    if LANDMARKS not in arrays:
        return np.full(68, MISSING, np.int64), no_between()
    return named_landmarks(f"{source.name}: '{LANDMARKS}'", str(arrays[LANDMARKS].ravel()[0]), geometry)
