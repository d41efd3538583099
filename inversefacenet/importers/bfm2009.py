"""The Basel Face Model 2009, with one of the expression bases that others made for it.

`01_MorphableModel.mat` of the download holds shapeMU, shapePC, shapeEV, texMU, texPC, texEV and tl:
53,490 vertices in micrometres, standard deviations (not variances, whatever their names say), colours
from 0 to 255, triangles numbered from 1 (Paysan et al. 2009; `share/scripts/convert-bfm2009-to-eos.py` of
eos). It has no expressions: they come from one of the files that `expression_files` reads. Also read
are files that others have put together from both: `BFM_model_front.mat` of Deep3DFaceReconstruction
(`util/load_mats.py` there: decimetres, columns times their deviations) and `BFM.mat` of face3d (its
`examples/Data/BFM/generate.m`: names of the Basel file, plus expPC, expEV, tri and kpt_ind).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, Int64

from inversefacenet.errors import FaceModelError
from inversefacenet.importers.encoded_colour import Encoding, check_colours, linearise
from inversefacenet.importers.expression_files import EXPRESSION_NAMES, Expression, read_expression
from inversefacenet.importers.landmark_lists import BFM2009_LANDMARKS, BFM2009_VERTICES
from inversefacenet.importers.matlab import demand, read_mat
from inversefacenet.importers.raw_model import MISSING, SKIN_PARTS, RawModel, second_moment

_KEYS: Final = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV")
_FRONT_KEYS: Final = ("meanshape", "meantex", "idBase", "exBase", "texBase", "tri", "keypoints")
_LANDMARK_KEYS: Final = ("keypoints", "kpt_ind")
_ADVICE: Final = (
    "give PublicMM1/01_MorphableModel.mat of the Basel Face Model 2009, or BFM_model_front.mat of "
    "Deep3DFaceReconstruction."
)
MICROMETRE: Final = 1e-3
DECIMETRE: Final = 1e2


def read_bfm2009(source: Path, expression: Path | None, encoding: Encoding) -> RawModel:
    """Read the model.

    Args:
        source: `01_MorphableModel.mat`, or a file with expressions in it.
        expression: `Exp_Pca.bin` or a .mat file; see `expression_files`.
        encoding: What the colours are.

    Raises:
        FaceModelError: If a file is missing, damaged or of another kind; the message names the key.
        MissingDependencyError: If scipy isn't installed.
    """
    arrays = read_mat(source)
    if "idBase" in arrays:
        return _front(source, arrays, encoding)
    demand(source, arrays, _KEYS, _ADVICE)
    triangles_key = "tri" if "tri" in arrays and "tl" not in arrays else "tl"
    demand(source, arrays, (triangles_key,), _ADVICE)
    count = arrays["shapeMU"].size // 3
    places = _flat(source, arrays, "shapeMU", count).reshape(-1, 3) * MICROMETRE
    found = _expression(source, arrays, expression, count)
    mean_colour = _flat(source, arrays, "texMU", count) / 255
    check_colours(f"{source.name}: texMU", 255 * mean_colour, 255)
    colours = (
        _columns(source, arrays, "texPC", count) * _sigma(source, arrays, "texEV", "texPC") / np.float32(255)
    )
    reflectance_mean, reflectance, error = linearise(mean_colour, colours, encoding)
    shape = _columns(source, arrays, "shapePC", count) * _sigma(source, arrays, "shapeEV", "shapePC")
    triangles = _triangles(source, arrays, triangles_key)
    model = RawModel(
        name="Basel Face Model 2009",
        geometry=places,
        triangles=triangles,
        triangle_part=np.zeros(len(triangles), np.uint8),
        part_names=SKIN_PARTS,
        shape=shape * np.float32(MICROMETRE),
        expression=second_moment(*found.on(count, MICROMETRE)),
        reflectance_mean=reflectance_mean.reshape(-1, 3),
        reflectance=reflectance,
        landmarks=_landmarks(source, arrays, count),
        reflectance_error=error,
    )
    if found.vertices is None:
        return model
    inside = np.zeros(count, bool)
    inside[found.vertices] = True
    # Where the expression basis has no vertex, there is no face to be had.
    covered = np.where(inside[model.landmarks], model.landmarks, MISSING)
    return replace(model, landmarks=covered).with_triangles(inside[model.triangles].all(axis=1))


def _expression(
    source: Path, arrays: dict[str, np.ndarray], expression: Path | None, count: int
) -> Expression:
    if expression is not None:
        return read_expression(expression, source.parent, count)
    if any(names[1] in arrays for names in EXPRESSION_NAMES):
        return read_expression(source, source.parent, count)
    raise FaceModelError(
        "The Basel Face Model 2009 has no expressions: name a basis with --expression, Exp_Pca.bin of Guo et "
        "al. (with std_exp.txt and BFM_exp_idx.mat beside it) or Model_Exp.mat of 3DDFA."
    )


def _front(source: Path, arrays: dict[str, np.ndarray], encoding: Encoding) -> RawModel:
    demand(source, arrays, _FRONT_KEYS, _ADVICE)
    count = arrays["meanshape"].size // 3
    mean_colour = _flat(source, arrays, "meantex", count) / 255
    check_colours(f"{source.name}: meantex", 255 * mean_colour, 255)
    colours = _columns(source, arrays, "texBase", count) / np.float32(255)
    reflectance_mean, reflectance, error = linearise(mean_colour, colours, encoding)
    triangles = _triangles(source, arrays, "tri")
    return RawModel(
        name="Basel Face Model 2009 (Deep3DFaceReconstruction)",
        geometry=_flat(source, arrays, "meanshape", count).reshape(-1, 3) * DECIMETRE,
        triangles=triangles,
        triangle_part=np.zeros(len(triangles), np.uint8),
        part_names=SKIN_PARTS,
        shape=_columns(source, arrays, "idBase", count) * np.float32(DECIMETRE),
        expression=_columns(source, arrays, "exBase", count) * np.float32(DECIMETRE),
        reflectance_mean=reflectance_mean.reshape(-1, 3),
        reflectance=reflectance,
        landmarks=_landmarks(source, arrays, count),
        reflectance_error=error,
    )


def _landmarks(source: Path, arrays: dict[str, np.ndarray], count: int) -> Int64[np.ndarray, "68"]:
    for key in _LANDMARK_KEYS:
        if key in arrays:
            landmarks = arrays[key].ravel().astype(np.int64) - 1
            if len(landmarks) != 68:
                raise FaceModelError(
                    f"{source.name}: '{key}' must name 68 vertices, but names {len(landmarks)}."
                )
            return landmarks
    return BFM2009_LANDMARKS.copy() if count == BFM2009_VERTICES else np.full(68, MISSING, np.int64)


def _flat(
    source: Path, arrays: dict[str, np.ndarray], key: str, count: int
) -> Float64[np.ndarray, "coordinates"]:
    values = arrays[key].astype(np.float64).ravel()
    if values.size != 3 * count or count < 68:
        raise FaceModelError(
            f"{source.name}: '{key}' has {values.size} numbers, which are not the coordinates or colours of "
            f"{max(count, 68)} vertices: {_ADVICE}"
        )
    return values


def _columns(
    source: Path, arrays: dict[str, np.ndarray], key: str, count: int
) -> Float32[np.ndarray, "coordinates columns"]:
    values = arrays[key]
    if values.ndim != 2 or len(values) != 3 * count:
        raise FaceModelError(
            f"{source.name}: '{key}' has the shape {values.shape}, but must have {3 * count} rows for "
            f"{count} vertices: {_ADVICE}"
        )
    return values.astype(np.float32)


def _sigma(
    source: Path, arrays: dict[str, np.ndarray], key: str, columns: str
) -> Float32[np.ndarray, " columns"]:
    values = arrays[key].ravel().astype(np.float32)
    if len(values) != arrays[columns].shape[1]:
        raise FaceModelError(
            f"{source.name}: '{key}' has {len(values)} numbers, but '{columns}' has "
            f"{arrays[columns].shape[1]} columns: {_ADVICE}"
        )
    return values


def _triangles(source: Path, arrays: dict[str, np.ndarray], key: str) -> Int64[np.ndarray, "triangles 3"]:
    values = arrays[key].astype(np.int64)
    if values.ndim == 2 and values.shape[0] == 3 != values.shape[1]:
        values = values.T
    if values.ndim != 2 or values.shape[1] != 3 or values.min() < 1:
        raise FaceModelError(
            f"{source.name}: '{key}' must list triangles of vertices counted from 1, but has the shape "
            f"{arrays[key].shape} and begins at {int(values.min())}: {_ADVICE}"
        )
    return values - 1
