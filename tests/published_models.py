"""Face models as others publish them, made of one of ours: same keys, shapes, units, axes and counting.

What is made here is no copy of any of them. The keys and conventions are those that the importers' docstrings
cite; the numbers come from a `MorphableModel`, so that the import of what is written must give it back.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from inversefacenet.colour import srgb_decode, srgb_encode
from inversefacenet.importers import ict
from inversefacenet.importers.landmark_lists import NAMED, NAMED_BETWEEN
from inversefacenet.morphable_model import MorphableModel

OFFSET = np.array([1.5, -4.0, 62.0])
"""Their origins are elsewhere in the head."""


def columns(basis, sigma):
    return (basis * sigma).astype(np.float64)


def encoded_colours(model):
    """Return mean and columns of sRGB values whose linearisation is the model's reflectance."""
    mean = np.clip(model.mean_reflectance.astype(np.float64).ravel(), 0.002, 0.99)
    encoded = srgb_encode(mean)
    slope = (srgb_decode(encoded + 1e-5) - srgb_decode(encoded - 1e-5)) / 2e-5
    return encoded, columns(model.reflectance_basis, model.reflectance_sigma) / slope[:, None]


def unit_columns(table):
    """Return unit columns and standard deviations, strongest first."""
    size = np.linalg.norm(table, axis=0)
    order = np.argsort(-size)
    return table[:, order] / np.maximum(size[order], 1e-12), size[order]


def skin_triangles(model):
    """Basel's models are one open surface: no mouth's interior."""
    return model.triangles[~model.mouth_triangles].astype(np.int64)


def bfm2009_arrays(model: MorphableModel, shapes: int = 199) -> dict[str, np.ndarray]:
    """Return what 01_MorphableModel.mat holds: micrometres, deviations, 0 to 255, clockwise, from 1."""
    colour, colour_columns = encoded_colours(model)
    texture, deviation = unit_columns(255 * colour_columns)
    places = (model.mean_geometry.astype(np.float64) + OFFSET) * 1000
    pad = max(shapes - 128, 0)
    rows = 3 * model.vertex_count
    return {
        "shapeMU": places.reshape(-1, 1).astype(np.float32),
        "shapePC": np.pad(model.shape_basis, ((0, 0), (0, pad))).astype(np.float32),
        "shapeEV": np.pad(1000 * model.shape_sigma, (0, pad)).reshape(-1, 1).astype(np.float32),
        "texMU": (255 * colour).reshape(rows, 1).astype(np.float32),
        "texPC": texture.astype(np.float32),
        "texEV": deviation.reshape(-1, 1).astype(np.float32),
        "tl": skin_triangles(model)[:, ::-1].astype(np.float64) + 1,
        "segbin": np.zeros((model.vertex_count, 4), np.uint8),
    }


def write_bfm2009(folder: Path, model: MorphableModel) -> Path:
    from scipy.io import savemat

    path = folder / "01_MorphableModel.mat"
    savemat(path, bfm2009_arrays(model))
    return path


def write_exp_pca(folder: Path, model: MorphableModel, covered: np.ndarray | None = None) -> Path:
    """Write Exp_Pca.bin, std_exp.txt and, if not all vertices are covered, BFM_exp_idx.mat."""
    from scipy.io import savemat

    covered = np.arange(model.vertex_count) if covered is None else covered
    rows = (3 * covered[:, None] + np.arange(3)).ravel()
    directions = model.expression_basis[rows].T
    mean = np.zeros((1, len(rows)))
    content = np.concatenate([mean, directions]).astype("<f4").tobytes()
    path = folder / "Exp_Pca.bin"
    path.write_bytes(np.int32(len(directions)).tobytes() + content)
    np.savetxt(folder / "std_exp.txt", 1000 * model.expression_sigma[None])
    if len(covered) < model.vertex_count:
        savemat(folder / "BFM_exp_idx.mat", {"trimIndex": (covered + 1).reshape(-1, 1).astype(np.float64)})
    return path


def bfm_front_arrays(model: MorphableModel) -> dict[str, np.ndarray]:
    """Return what BFM_model_front.mat of Deep3DFaceReconstruction holds: decimetres, scaled columns."""
    colour, colour_columns = encoded_colours(model)
    return {
        "meanshape": ((model.mean_geometry + OFFSET) / 100).reshape(1, -1),
        "meantex": (255 * colour).reshape(1, -1),
        "idBase": columns(model.shape_basis, model.shape_sigma)[:, :80] / 100,
        "exBase": columns(model.expression_basis, model.expression_sigma)[:, :64] / 100,
        "texBase": 255 * colour_columns[:, :80],
        "tri": skin_triangles(model).astype(np.float64) + 1,
        "keypoints": model.landmarks.reshape(1, -1).astype(np.float64) + 1,
    }


def write_bfm_front(folder: Path, model: MorphableModel) -> Path:
    from scipy.io import savemat

    path = folder / "BFM_model_front.mat"
    savemat(path, bfm_front_arrays(model))
    return path


def bfm_hdf5_arrays(model: MorphableModel, expressions: int = 100) -> dict[str, np.ndarray]:
    """Return the data sets of an .h5 file of 2017 or 2019, with a mean expression that isn't zero."""
    colour, colour_columns = encoded_colours(model)
    texture, deviation = unit_columns(colour_columns)
    pad = expressions - 64
    expression = np.pad(model.expression_basis, ((0, 0), (0, pad)))
    expression[:, 64:] = np.eye(3 * model.vertex_count, pad)
    sigma = np.pad(model.expression_sigma, (0, pad))
    mean_expression = model.expression_basis[:, :5] @ (model.expression_sigma[:5] * 0.3)
    places = model.mean_geometry.astype(np.float64) + OFFSET
    named = {}
    for number, names in NAMED.items():
        # Of two points that a landmark lies between, one is as far above as the other is below.
        for name, step in zip(names, (3.0, -3.0) if len(names) == 2 else (0.0,), strict=True):
            named[name] = places[model.landmarks[number]] + [0, step, 0]
    for (first, second), name in NAMED_BETWEEN.items():
        named[name] = places[model.landmarks[[first, second]]].mean(axis=0)
    landmarks = [
        {
            "id": name,
            "coordinates": place.tolist(),
            "uncertainty": {"stddevs": [1.0, 1.0, 1.0], "pcvectors": np.eye(3).tolist()},
        }
        for name, place in named.items()
    ]
    landmarks.append({"id": "right.ear.lobule.tip", "coordinates": [-73.1, -15.2, 5.4]})
    cells = skin_triangles(model).T.astype(np.int32)
    result = {
        "shape/model/mean": places.ravel().astype(np.float32),
        "shape/model/pcaBasis": model.shape_basis,
        "shape/model/pcaVariance": model.shape_sigma**2,
        "expression/model/mean": mean_expression.astype(np.float32),
        "expression/model/pcaBasis": expression.astype(np.float32),
        "expression/model/pcaVariance": sigma**2,
        "color/model/mean": colour.astype(np.float32),
        "color/model/pcaBasis": texture.astype(np.float32),
        "color/model/pcaVariance": (deviation**2).astype(np.float32),
        "metadata/landmarks/json": np.array(json.dumps(landmarks), dtype=object),
        "version/majorVersion": np.int32(0),
    }
    for name in ("shape", "color", "expression"):
        result[f"{name}/representer/cells"] = cells
        result[f"{name}/representer/points"] = places.T.astype(np.float32)
        result[f"{name}/model/noiseVariance"] = np.float32(0)
    return result


def write_bfm_hdf5(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            if np.asarray(value).dtype.kind == "O":
                file.create_dataset(name, data=str(value), dtype=h5py.string_dtype())
            else:
                file.create_dataset(name, data=value)
    return path


ICT_ORDER = ("skin", "mouth", "lid", "eye")


def write_ict(folder: Path, model: MorphableModel, identities: int = 100) -> ict.Layout:
    """Write FaceXModel: centimetres, parts one after the other, and return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    centre = model.mean_geometry[model.triangles].mean(axis=1)
    groups = [np.flatnonzero(model.triangle_part == model.part_names.index(name)) for name in ICT_ORDER[:3]]
    eye = model.triangle_part == model.part_names.index("eye")
    groups += [np.flatnonzero(eye & (centre[:, 0] > 0)), np.flatnonzero(eye & (centre[:, 0] <= 0))]
    ends = np.cumsum([len(group) for group in groups])
    ranges = [(int(end) - len(group), int(end)) for end, group in zip(ends, groups, strict=True)]
    triangles = model.triangles[np.concatenate(groups)]
    neutral = (model.mean_geometry + OFFSET) / 10

    def write(name: str, vertices: np.ndarray) -> None:
        lines = ["mtllib ICTFaceModelMaterial.mtl"]
        lines += ["v " + " ".join(f"{number:.9f}" for number in vertex) for vertex in vertices]
        lines += ["vt 0.5 0.5", "usemtl M_Face"]
        lines += ["f " + " ".join(f"{corner + 1}/1" for corner in triangle) for triangle in triangles]
        (folder / f"{name}.obj").write_text("\n".join(lines) + "\n")

    write("generic_neutral_mesh", neutral)
    modes = columns(model.shape_basis, model.shape_sigma)[:, :identities]
    for number, mode in enumerate(modes.T):
        write(f"identity{number:03d}", neutral + mode.reshape(-1, 3) / 10)
    names = []
    for unit, weights in zip(model.unit_names, model.unit_coefficients, strict=True):
        displacement = (model.expression_basis @ (model.expression_sigma * weights)).reshape(-1, 3) / 10
        if unit in ict.WHOLE_UNITS:
            half = {
                f"{unit}_L": neutral[:, :1] > OFFSET[0] / 10,
                f"{unit}_R": neutral[:, :1] <= OFFSET[0] / 10,
            }
            parts = {name: displacement * side for name, side in half.items()}
        else:
            parts = {unit.replace("Left", "_L").replace("Right", "_R"): displacement}
        if unit in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
            parts = {unit: displacement}
        for name, moved in parts.items():
            names.append(name)
            write(name, neutral + moved)
    (folder / "vertex_indices.json").write_text(
        json.dumps({"expressions": names, "idx_to_landmark_verts": model.landmarks.tolist()})
    )
    skin, mouth, lid, left, right = ranges
    return ict.Layout(model.vertex_count, skin, mouth, lid, (left, right))
