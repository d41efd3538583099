"""ICT-FaceKit (Li et al. 2020, MIT licence): the folder `FaceXModel` of its repository.

`generic_neutral_mesh.obj` is the mean, centimetres, polygons. identity000.obj and following are the mean
plus one standard deviation of each identity mode: its `Scripts/ict_face_model.py` adds (file - mean) times
draws from N(0, 1). `vertex_indices.json` names the expressions, each an OBJ file of full action, and the
68 landmarks (idx_to_landmark_verts). The README's table says which polygons are what; teeth, gums, tongue,
lashes and the transparent shells over the eyes are left out. Its units become the rig: browDown_L is
browDownLeft; browInnerUp and cheekPuff, which come as two sides, are whole here as ARKit has them.

There is no public albedo: the open face model's reflectance is carried over (`transfer`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count as counted
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from inversefacenet.errors import FaceModelError
from inversefacenet.importers.obj_file import read_polygons, read_vertices
from inversefacenet.importers.raw_model import RawModel, nothing
from inversefacenet.rig import sample_units

NEUTRAL: Final = "generic_neutral_mesh.obj"
INDICES: Final = "vertex_indices.json"
LANDMARKS: Final = "idx_to_landmark_verts"
EXPRESSIONS: Final = "expressions"
CENTIMETRE: Final = 10.0
WHOLE_UNITS: Final = ("browInnerUp", "cheekPuff")
PART_NAMES: Final = ("skin", "lid", "mouth", "eye")
SAMPLES: Final = 8000
SEED: Final = 0


@dataclass(frozen=True)
class Layout:
    """Where parts stand in the mesh: first and past-the-last polygon of each, as the README lists them.

    Attributes:
        vertices: Vertices of the whole mesh.
        skin: Face, head and neck.
        mouth: The mouth socket.
        lid: The eye sockets.
        eyes: Left and right eyeball.
    """

    vertices: int
    skin: tuple[int, int]
    mouth: tuple[int, int]
    lid: tuple[int, int]
    eyes: tuple[tuple[int, int], tuple[int, int]]


LAYOUT: Final = Layout(26719, (0, 11144), (11144, 13226), (13226, 14034), ((21496, 23094), (23094, 24692)))


def read_ict(folder: Path, layout: Layout = LAYOUT) -> RawModel:
    """Read the model.

    Args:
        folder: `FaceXModel`.
        layout: Where parts stand.

    Raises:
        FaceModelError: If a file is missing, damaged or of another mesh.
    """
    if not (folder / NEUTRAL).is_file():
        raise FaceModelError(f"{folder} has no {NEUTRAL}: give the folder FaceXModel of ICT-FaceKit.")
    neutral = read_vertices(folder / NEUTRAL)
    if len(neutral) != layout.vertices:
        raise FaceModelError(
            f"{NEUTRAL} has {len(neutral)} vertices, ICT-FaceKit's has {layout.vertices}: get the files "
            "again, whole (the repository keeps large ones elsewhere: 'git lfs pull')."
        )
    triangles, polygon = read_polygons(folder / NEUTRAL)
    part, kept = _parts(neutral, triangles, polygon, layout)
    indices = _indices(folder)
    names, units = _units(folder, indices[EXPRESSIONS], neutral)
    return RawModel(
        name="ICT-FaceKit",
        geometry=neutral * CENTIMETRE,
        triangles=triangles[kept],
        triangle_part=part[kept],
        part_names=PART_NAMES,
        shape=_identities(folder, neutral),
        expression=_expression(names, units),
        reflectance_mean=np.zeros((0, 3)),
        reflectance=nothing(),
        landmarks=np.array(indices[LANDMARKS], np.int64),
        unit_names=names,
        units=units,
    )


def _parts(
    neutral: Float64[np.ndarray, "vertices 3"],
    triangles: Int64[np.ndarray, "triangles 3"],
    polygon: Int64[np.ndarray, "triangles"],
    layout: Layout,
) -> tuple[UInt8[np.ndarray, "triangles"], np.ndarray]:
    part, kept = np.zeros(len(triangles), np.uint8), np.zeros(len(triangles), bool)
    for name, ranges in zip(
        PART_NAMES, ((layout.skin,), (layout.lid,), (layout.mouth,), layout.eyes), strict=True
    ):
        for first, end in ranges:
            chosen = (polygon >= first) & (polygon < end)
            part[chosen] = PART_NAMES.index(name)
            kept |= chosen
    left, right = (
        neutral[triangles[(polygon >= first) & (polygon < end)]].reshape(-1, 3).mean(axis=0)
        for first, end in layout.eyes
    )
    if not left[0] > 0 > right[0]:
        raise FaceModelError(
            f"{NEUTRAL} doesn't have its eyeballs where ICT-FaceKit's README says: is it of another release?"
        )
    return part, kept


def _indices(folder: Path) -> dict[str, Any]:
    try:
        indices = json.loads((folder / INDICES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FaceModelError(f"{INDICES} can't be read: {error}.") from error
    for key in (EXPRESSIONS, LANDMARKS):
        if not isinstance(indices, dict) or not isinstance(indices.get(key), list):
            raise FaceModelError(f"{INDICES} has no list '{key}': give the file as ICT-FaceKit has it.")
    if len(indices[LANDMARKS]) != 68:
        raise FaceModelError(
            f"{INDICES}: '{LANDMARKS}' must name 68 vertices, not {len(indices[LANDMARKS])}."
        )
    return dict(indices)


def _displacement(
    path: Path, neutral: Float64[np.ndarray, "vertices 3"]
) -> Float32[np.ndarray, " coordinates"]:
    vertices = read_vertices(path)
    if len(vertices) != len(neutral):
        raise FaceModelError(
            f"{path.name} has {len(vertices)} vertices, but {NEUTRAL} has {len(neutral)}: they are of "
            "different releases, or a file is cut off."
        )
    return ((vertices - neutral) * CENTIMETRE).astype(np.float32).ravel()


def _identities(
    folder: Path, neutral: Float64[np.ndarray, "vertices 3"]
) -> Float32[np.ndarray, "coordinates modes"]:
    columns = []
    for number in counted():
        path = folder / f"identity{number:03d}.obj"
        if not path.is_file():
            break
        columns.append(_displacement(path, neutral))
    if not columns:
        raise FaceModelError(
            f"{folder} has no identity000.obj: give the folder FaceXModel of ICT-FaceKit, whole."
        )
    return np.stack(columns, axis=1)


def _units(
    folder: Path, expressions: list[str], neutral: Float64[np.ndarray, "vertices 3"]
) -> tuple[tuple[str, ...], Float32[np.ndarray, "coordinates units"]]:
    units: dict[str, Float32[np.ndarray, " coordinates"]] = {}
    for name in expressions:
        path = folder / f"{name}.obj"
        if not path.is_file():
            raise FaceModelError(f"{INDICES} names the expression '{name}', but {folder} has no {path.name}.")
        displacement = _displacement(path, neutral)
        unit = unit_name(name)
        units[unit] = units[unit] + displacement if unit in units else displacement
    return tuple(units), np.stack(list(units.values()), axis=1)


def unit_name(expression: str) -> str:
    """Return the rig's name of an expression: mouthSmileLeft for mouthSmile_L, browInnerUp for _L and _R."""
    stem, _, side = expression.rpartition("_")
    if side not in ("L", "R"):
        return expression
    return stem if stem in WHOLE_UNITS else stem + {"L": "Left", "R": "Right"}[side]


def _expression(
    names: tuple[str, ...], units: Float32[np.ndarray, "coordinates units"]
) -> Float32[np.ndarray, "coordinates units"]:
    """Return columns with the second moment of plausible expressions, as in the open face model."""
    weights = sample_units(np.random.default_rng(SEED), SAMPLES, names).astype(np.float64)
    values, vectors = np.linalg.eigh(weights.T @ weights / SAMPLES)
    return (units @ (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)).astype(np.float32)
