"""Expression bases for the Basel Face Model 2009: what others published for its mesh.

`Exp_Pca.bin` (Guo et al. 2018, as Deep3DFaceReconstruction uses it, `util/load_mats.py` there): the number
of directions as a 32-bit integer, then the mean and the directions as 32-bit floats, in micrometres;
their standard deviations are in `std_exp.txt`. It covers 53,215 of the 53,490 vertices, those that
`trimIndex` of `BFM_exp_idx.mat` (or `model_info.mat`) names, counted from 1. `Model_Exp.mat` or
`Model_Expression.mat` of 3DDFA (Zhu et al. 2016, from FaceWarehouse) holds mu_exp, w_exp and sigma_exp for
the same vertices; files of face3d call them expMU, expPC and expEV.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Int64

from inversefacenet.errors import FaceModelError
from inversefacenet.importers.matlab import demand, read_mat

EXPRESSION_NAMES: Final = (("expMU", "expPC", "expEV"), ("mu_exp", "w_exp", "sigma_exp"))
DEVIATIONS: Final = "std_exp.txt"
INDEX_FILES: Final = ("BFM_exp_idx.mat", "model_info.mat")
INDEX_KEY: Final = "trimIndex"


@dataclass(frozen=True)
class Expression:
    """An expression basis as its file has it.

    Attributes:
        mean: Mean displacement.
        columns: What one standard deviation of each direction adds.
        vertices: The model's vertices that it covers, in its order; None for all.
    """

    mean: Float32[np.ndarray, "coordinates"]
    columns: Float32[np.ndarray, "coordinates count"]
    vertices: Int64[np.ndarray, " covered"] | None

    def on(
        self, count: int, unit: float
    ) -> tuple[Float32[np.ndarray, "rows"], Float32[np.ndarray, "rows count"]]:
        """Return mean and columns for all vertices of the model, in millimetres; zero where none is given."""
        if self.vertices is None:
            return self.mean * np.float32(unit), self.columns * np.float32(unit)
        rows = (3 * self.vertices[:, None] + np.arange(3)).ravel()
        mean = np.zeros(3 * count, np.float32)
        columns = np.zeros((3 * count, self.columns.shape[1]), np.float32)
        mean[rows] = self.mean * np.float32(unit)
        columns[rows] = self.columns * np.float32(unit)
        return mean, columns


def read_expression(path: Path, beside: Path, count: int) -> Expression:
    """Read an expression basis.

    Args:
        path: `Exp_Pca.bin`, or a .mat file.
        beside: Another folder where the index of vertices may lie.
        count: Vertices of the model.

    Raises:
        FaceModelError: If a file is missing, damaged or for another mesh.
        MissingDependencyError: If scipy isn't installed.
    """
    mean, columns = _read_mat(path) if path.suffix == ".mat" else _read_binary(path)
    covered = len(mean) // 3
    if covered == count:
        return Expression(mean, columns, None)
    return Expression(mean, columns, _index((path.parent, beside), path.name, covered, count))


def _read_mat(
    path: Path,
) -> tuple[Float32[np.ndarray, "coordinates"], Float32[np.ndarray, "coordinates count"]]:
    arrays = read_mat(path)
    names = EXPRESSION_NAMES[1] if EXPRESSION_NAMES[1][1] in arrays else EXPRESSION_NAMES[0]
    mean_key, columns_key, sigma_key = names
    advice = "give Model_Exp.mat of 3DDFA (mu_exp, w_exp, sigma_exp) or Exp_Pca.bin of Guo et al."
    demand(path, arrays, (columns_key, sigma_key), advice)
    columns, sigma = arrays[columns_key].astype(np.float32), arrays[sigma_key].astype(np.float32).ravel()
    if columns.ndim != 2 or columns.shape[1] != len(sigma) or len(columns) % 3:
        raise FaceModelError(
            f"{path.name}: '{columns_key}' has the shape {columns.shape} and '{sigma_key}' {len(sigma)} "
            f"numbers, which don't belong together: {advice}"
        )
    mean = arrays.get(mean_key, np.zeros(len(columns))).astype(np.float32).ravel()
    if len(mean) != len(columns):
        raise FaceModelError(
            f"{path.name}: '{mean_key}' has {len(mean)} numbers, but '{columns_key}' has {len(columns)} "
            f"rows: {advice}"
        )
    return mean, columns * sigma


def _read_binary(
    path: Path,
) -> tuple[Float32[np.ndarray, "coordinates"], Float32[np.ndarray, "coordinates count"]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FaceModelError(f"{path.name} can't be read: {error.strerror}.") from error
    count = int(np.frombuffer(content[:4], "<i4")[0]) if len(content) >= 4 else 0
    numbers = (len(content) - 4) // 4
    if not 0 < count < 1000 or len(content) % 4 or numbers % (3 * (count + 1)):
        raise FaceModelError(
            f"{path.name} has {len(content)} bytes and says that it has {count} directions, which don't go "
            "together: give Exp_Pca.bin as Guo et al. published it."
        )
    values = np.frombuffer(content, "<f4", offset=4).reshape(count + 1, -1)
    deviations = path.with_name(DEVIATIONS)
    try:
        sigma = np.loadtxt(deviations, dtype=np.float32).ravel()
    except (OSError, ValueError) as error:
        raise FaceModelError(
            f"{path.name} needs its standard deviations, {DEVIATIONS}, beside it: {error}."
        ) from error
    if len(sigma) != count:
        raise FaceModelError(
            f"{DEVIATIONS} has {len(sigma)} numbers, but {path.name} has {count} directions."
        )
    return values[0].astype(np.float32), (values[1:] * sigma[:, None]).T.astype(np.float32)


def _index(folders: tuple[Path, Path], name: str, covered: int, count: int) -> Int64[np.ndarray, " covered"]:
    for folder in folders:
        for file in INDEX_FILES:
            if (folder / file).is_file():
                arrays = read_mat(folder / file)
                demand(folder / file, arrays, (INDEX_KEY,), "give the file as its authors published it.")
                index = arrays[INDEX_KEY].ravel().astype(np.int64) - 1
                if len(index) != covered or index.min() < 0 or index.max() >= count:
                    raise FaceModelError(
                        f"{file}: '{INDEX_KEY}' names {len(index)} vertices up to {index.max() + 1}, but "
                        f"{name} has {covered} and the model {count}: they are of different models."
                    )
                return index
    raise FaceModelError(
        f"{name} covers {covered} vertices, but the model has {count}: put {INDEX_FILES[0]} of "
        f"Deep3DFaceReconstruction beside it, which says which ones ('{INDEX_KEY}')."
    )
