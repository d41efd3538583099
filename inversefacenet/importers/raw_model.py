"""A published face model as its reader hands it over: everything linear, nothing cut yet."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from inversefacenet.errors import FaceModelError

SKIN_PARTS = ("skin", "mouth")
MISSING = -1


def nothing() -> Float32[np.ndarray, "0 0"]:
    """Return what stands for columns that a model doesn't have."""
    return np.zeros((0, 0), np.float32)


def no_between() -> Int64[np.ndarray, "0 3"]:
    """Return what stands for points between landmarks that a model doesn't name."""
    return np.zeros((0, 3), np.int64)


@dataclass(frozen=True, eq=False)
class RawModel:
    """A linear face model on its own mesh.

    Columns of `shape`, `expression` and `reflectance` are what one standard deviation adds. They need not
    be orthogonal to each other: a face is the mean plus the columns times draws from N(0, 1).

    Attributes:
        name: Name and version.
        geometry: Mean face of neutral expression, millimetres, x to the subject's left, y up, z forward.
        triangles: Vertex indices; whether they turn clockwise is put right later.
        triangle_part: Index into `part_names` of each triangle.
        part_names: Names of the parts; the first is "skin", and "mouth" is among them.
        shape: Displacements of stacked coordinates by shape, millimetres.
        expression: The same of expression.
        reflectance_mean: Linear RGB; no rows where the model has no published colours.
        reflectance: Changes of stacked linear RGB; the same.
        landmarks: Vertices of the 68 landmarks in iBUG order, -1 where nobody has published one.
        between: Known points that lie between two landmarks: their numbers, and a vertex.
        unit_names: Named units of the expression rig, if there are any.
        units: What each unit adds at weight 1; no rows where there are no units.
        reflectance_error: RMS of what linearising the colours cost, in linear reflectance.
    """

    name: str
    geometry: Float64[np.ndarray, "vertices 3"]
    triangles: Int64[np.ndarray, "triangles 3"]
    triangle_part: UInt8[np.ndarray, "triangles"]
    part_names: tuple[str, ...]
    shape: Float32[np.ndarray, "coordinates shapes"]
    expression: Float32[np.ndarray, "coordinates expressions"]
    reflectance_mean: Float64[np.ndarray, "coloured 3"]
    reflectance: Float32[np.ndarray, "rows colours"]
    landmarks: Int64[np.ndarray, "68"]
    between: Int64[np.ndarray, "between 3"] = field(default_factory=no_between)
    unit_names: tuple[str, ...] = ()
    units: Float32[np.ndarray, "moved units"] = field(default_factory=nothing)
    reflectance_error: float = 0.0

    def __post_init__(self) -> None:
        count = len(self.geometry)
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
                raise FaceModelError(
                    f"{self.name}: {item.name} holds numbers that aren't finite: the file is damaged, get it "
                    "again."
                )
        for name in ("shape", "expression", "reflectance"):
            columns = getattr(self, name)
            if len(columns) != 3 * count and (name != "reflectance" or self.has_colours):
                raise FaceModelError(
                    f"{self.name}: {name} has {len(columns)} rows, but {count} vertices need {3 * count}: "
                    "are these files of the same model?"
                )
        for name in ("triangles", "landmarks"):
            index = getattr(self, name)
            if index.size == 0 or index.min() < MISSING or index.max() >= count:
                raise FaceModelError(
                    f"{self.name}: {name} name vertices that the model's {count} don't have."
                )

    @property
    def has_colours(self) -> bool:
        """Whether the model has published colours."""
        return len(self.reflectance_mean) > 0

    @property
    def skin(self) -> Bool[np.ndarray, "vertices"]:
        """True for vertices of skin triangles."""
        chosen = np.zeros(len(self.geometry), bool)
        chosen[self.triangles[self.triangle_part == 0]] = True
        return chosen

    def with_triangles(self, kept: Bool[np.ndarray, "triangles"]) -> RawModel:
        """Return the model with the chosen triangles over the same vertices."""
        return replace(self, triangles=self.triangles[kept], triangle_part=self.triangle_part[kept])

    def compact(self) -> RawModel:
        """Return the model without the vertices that no triangle uses; landmarks among them get lost."""
        used, numbers = np.unique(self.triangles, return_inverse=True)
        where = np.full(len(self.geometry) + 1, MISSING, np.int64)
        where[used] = np.arange(len(used))
        rows = (3 * used[:, None] + np.arange(3)).ravel()
        between = np.column_stack([self.between[:, :2], where[self.between[:, 2]]])
        return replace(
            self,
            geometry=self.geometry[used],
            triangles=numbers.reshape(-1, 3).astype(np.int64),
            shape=self.shape[rows],
            expression=self.expression[rows],
            reflectance_mean=self.reflectance_mean[used] if self.has_colours else self.reflectance_mean,
            reflectance=self.reflectance[rows] if self.has_colours else self.reflectance,
            # A missing landmark reads the last entry, which is missing too.
            landmarks=where[self.landmarks],
            between=between[between[:, 2] >= 0],
            units=self.units[rows] if self.unit_names else self.units,
        )


def second_moment(
    mean: Float32[np.ndarray, "coordinates"], columns: Float32[np.ndarray, "coordinates count"]
) -> Float32[np.ndarray, "coordinates more"]:
    """Fold an expression basis' own mean into it: its second moment about the neutral face.

    Published bases describe deviations from a mean expression, whereas here zero is the neutral face, as
    in the open face model. With the mean as one more column, draws from N(0, 1) have the same second
    moment, and the mean expression itself is still one of the model's faces.
    """
    if not np.any(mean):
        return columns
    return np.concatenate([mean[:, None], columns], axis=1)
