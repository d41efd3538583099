"""The affine face model: geometry and reflectance (Kim et al. 2018, Eq. 2 and 3).

Convention:
    Model space is in millimetres, right-handed: +x to the image's right when the face looks at the
    viewer (the subject's left), +y up, +z to the viewer; the origin is the centroid of the mean face's
    skin. Bases are orthonormal over the stacked coordinates x0 y0 z0 x1 ...; sigma is the standard
    deviation along a basis vector, in millimetres (geometry) or linear reflectance (skin). For
    reporting and for the loss, sigma / sqrt(vertices) is the RMS displacement of a vertex.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64, UInt8

from inversefacenet.basis_codec import BASIS_PARTS, QuantisedBasis, decode_basis, encode_basis
from inversefacenet.errors import FaceModelError, ParameterError
from inversefacenet.model_checks import check_parts

if TYPE_CHECKING:
    from inversefacenet.narrow_basis import NarrowDirections

FORMAT_VERSION: Final = 1
# What reading an archive raises whose bytes, or whose arrays' shapes, are others than `save` writes.
_DAMAGED: Final = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    OSError,
    EOFError,
    OverflowError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
_BASES: Final = ("shape_basis", "expression_basis", "reflectance_basis")
MOUTH_PART: Final = "mouth"


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A face model with everything that the pipeline needs to know of its template.

    Attributes:
        name: Name and version of the model.
        mean_geometry: Mean face of neutral expression in millimetres (a^[g] of Eq. 2).
        mean_reflectance: Mean linear RGB reflectance (a^[r] of Eq. 3).
        shape_basis: Orthonormal shape directions (b^[s]).
        shape_sigma: Their standard deviations in millimetres.
        expression_basis: Orthonormal expression directions (b^[e]).
        expression_sigma: Their standard deviations in millimetres.
        reflectance_basis: Orthonormal reflectance directions (b^[r]).
        reflectance_sigma: Their standard deviations in linear reflectance.
        triangles: Vertex indices, counter-clockwise from outside.
        triangle_part: Index into `part_names` of each triangle.
        vertex_part: Index into `part_names` of each vertex.
        part_names: Names of the parts; "mouth" is the mouth's interior.
        painted: True for triangles of the region that matches the landmark crop (Section 4.2).
        landmarks: Vertices of the 68 landmarks in iBUG order.
        contour_candidates: Vertices along which each jaw point slides to the visible contour.
        contour_directions: The frontal face's outward direction at each jaw point (x right, y up).
        unit_names: Names of the expression rig's units, such as "jawOpen".
        unit_coefficients: Expression coefficients of each unit at weight 1.
        digest: SHA-256 of the file that the model was loaded from, empty if it was made in memory.
    """

    name: str
    mean_geometry: Float32[np.ndarray, "vertices 3"]
    mean_reflectance: Float32[np.ndarray, "vertices 3"]
    shape_basis: Float32[np.ndarray, "coordinates 128"]
    shape_sigma: Float32[np.ndarray, "128"]
    expression_basis: Float32[np.ndarray, "coordinates 64"]
    expression_sigma: Float32[np.ndarray, "64"]
    reflectance_basis: Float32[np.ndarray, "coordinates 128"]
    reflectance_sigma: Float32[np.ndarray, "128"]
    triangles: Int32[np.ndarray, "triangles 3"]
    triangle_part: UInt8[np.ndarray, "triangles"]
    vertex_part: UInt8[np.ndarray, "vertices"]
    part_names: tuple[str, ...]
    painted: Bool[np.ndarray, "triangles"]
    landmarks: Int32[np.ndarray, "68"]
    contour_candidates: Int32[np.ndarray, "17 candidates"]
    contour_directions: Float32[np.ndarray, "17 2"]
    unit_names: tuple[str, ...]
    unit_coefficients: Float32[np.ndarray, "units 64"]
    digest: str = field(default="", repr=False)

    # What the bases of a loaded model were read from. A field would follow `dataclasses.replace` to a model
    # with other bases.
    _stored: ClassVar[Mapping[str, QuantisedBasis]] = {}

    def __post_init__(self) -> None:
        """Refuse what doesn't fit together: compiled code checks no index.

        Raises:
            FaceModelError: If it doesn't.
        """
        check_parts(self)
        if MOUTH_PART not in self.part_names:
            raise FaceModelError(f"The face model has no part '{MOUTH_PART}', the mouth's interior.")

    @property
    def vertex_count(self) -> int:
        """Number of vertices V."""
        return int(self.mean_geometry.shape[0])

    @cached_property
    def geometry_directions(self) -> Float32[np.ndarray, "192 coordinates"]:
        """Shape and expression bases times their sigmas, stacked: a face's geometry is one product."""
        return np.ascontiguousarray(
            np.concatenate(
                [
                    (self.shape_basis * self.shape_sigma).T,
                    (self.expression_basis * self.expression_sigma).T,
                ]
            )
        )

    @cached_property
    def reflectance_directions(self) -> Float32[np.ndarray, "128 coordinates"]:
        """The reflectance basis times its sigmas."""
        return np.ascontiguousarray((self.reflectance_basis * self.reflectance_sigma).T)

    @cached_property
    def narrow_geometry(self) -> NarrowDirections | None:
        """Geometry's directions in the integers of the file; None of a model that was read from none."""
        if not self._stored:
            return None
        from inversefacenet.narrow_basis import NarrowDirections  # compiled code: only for who draws faces

        return NarrowDirections.of(
            self.mean_geometry,
            [
                (self._stored["shape_basis"], self.shape_sigma),
                (self._stored["expression_basis"], self.expression_sigma),
            ],
        )

    @cached_property
    def narrow_reflectance(self) -> NarrowDirections | None:
        """Reflectance's directions likewise."""
        if not self._stored:
            return None
        from inversefacenet.narrow_basis import NarrowDirections  # compiled code: only for who draws faces

        return NarrowDirections.of(
            self.mean_reflectance, [(self._stored["reflectance_basis"], self.reflectance_sigma)]
        )

    def geometry(
        self, shape: Float[np.ndarray, "*batch 128"], expression: Float[np.ndarray, "*batch 64"]
    ) -> Float32[np.ndarray, "*batch vertices 3"]:
        """Return vertices in model space (Kim et al. 2018, Eq. 2).

        Args:
            shape: Shape coefficients in standard deviations.
            expression: Expression coefficients in standard deviations.

        Returns:
            Millimetres in model space.
        """
        return self.geometries(np.concatenate([shape, expression], axis=-1))

    def geometries(
        self, coefficients: Float[np.ndarray, "*batch 192"]
    ) -> Float32[np.ndarray, "*batch vertices 3"]:
        """Return the vertices of one face or of many, which takes one product of matrices.

        Args:
            coefficients: Shape coefficients, then expression coefficients, in standard deviations.

        Returns:
            Millimetres in model space.
        """
        narrow = coefficients.astype(np.float32, copy=False)
        if narrow.ndim == 1 and self.narrow_geometry is not None:
            return self.narrow_geometry.apply(narrow)
        return _affine(self.mean_geometry, narrow, self.geometry_directions)

    def reflectance(
        self, coefficients: Float[np.ndarray, "*batch 128"]
    ) -> Float32[np.ndarray, "*batch vertices 3"]:
        """Return per-vertex linear RGB reflectance (Kim et al. 2018, Eq. 3); it is not clipped.

        Args:
            coefficients: Reflectance coefficients in standard deviations, of one face or of many.
        """
        narrow = coefficients.astype(np.float32, copy=False)
        if narrow.ndim == 1 and self.narrow_reflectance is not None:
            return self.narrow_reflectance.apply(narrow)
        return _affine(self.mean_reflectance, narrow, self.reflectance_directions)

    def expression_from_units(self, weights: Mapping[str, float]) -> Float32[np.ndarray, "64"]:
        """Turn rig units into expression coefficients, for example ``{"jawOpen": 0.4}``.

        Raises:
            ParameterError: If a unit is unknown; the message lists the known ones.
        """
        unknown = sorted(set(weights) - set(self.unit_names))
        if unknown:
            raise ParameterError(f"Unknown units {unknown}: this model knows {', '.join(self.unit_names)}.")
        vector = np.zeros(len(self.unit_names), np.float32)
        for name, weight in weights.items():
            vector[self.unit_names.index(name)] = weight
        return vector @ self.unit_coefficients

    @cached_property
    def mouth_triangles(self) -> Bool[np.ndarray, "triangles"]:
        """True for triangles of the mouth's interior."""
        return self.triangle_part == self.part_names.index(MOUTH_PART)

    @cached_property
    def counted_triangles(self) -> Bool[np.ndarray, "triangles"]:
        """True for triangles of the painted region that are none of the mouth's interior."""
        return self.painted & ~self.mouth_triangles

    @cached_property
    def painted_vertices(self) -> Int64[np.ndarray, "painted"]:
        """Vertices of the painted region, the mouth's interior left out: where geometry is measured."""
        return np.unique(self.triangles[self.counted_triangles]).astype(np.int64)

    @property
    def shape_rms(self) -> Float32[np.ndarray, "128"]:
        """RMS displacement of a vertex per shape direction, in millimetres."""
        return self.shape_sigma / np.float32(np.sqrt(self.vertex_count))

    @property
    def expression_rms(self) -> Float32[np.ndarray, "64"]:
        """RMS displacement of a vertex per expression direction, in millimetres."""
        return self.expression_sigma / np.float32(np.sqrt(self.vertex_count))

    @property
    def reflectance_rms(self) -> Float32[np.ndarray, "128"]:
        """RMS change of a vertex's reflectance vector per direction, in linear reflectance."""
        return self.reflectance_sigma / np.float32(np.sqrt(self.vertex_count))

    def save(self, path: Path) -> None:
        """Write the model, its bases quantised by column (see `inversefacenet.basis_codec`)."""
        arrays: dict[str, Any] = {"format_version": np.int32(FORMAT_VERSION)}
        for item in fields(self):
            if item.name == "digest":
                continue
            value = getattr(self, item.name)
            if item.name in _BASES:
                arrays |= encode_basis(item.name, value)
            else:
                arrays[item.name] = np.asarray(value)
        with path.open("wb") as stream:
            np.savez_compressed(stream, **arrays)

    @classmethod
    def load(cls, path: Path) -> MorphableModel:
        """Read a model that `save` wrote.

        Raises:
            FaceModelError: If the file is missing, damaged or of another format version.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FaceModelError(f"The face model {path.name} can't be read: {error.strerror}.") from error
        return cls.from_bytes(content)

    @classmethod
    def load_default(cls) -> MorphableModel:
        """Read the open face model that ships with this package."""
        asset = resources.files("inversefacenet") / "assets" / "face_model.npz"
        try:
            return cls.from_bytes(asset.read_bytes())
        except FileNotFoundError as error:
            raise FaceModelError(
                "The shipped face model is missing: install the package again, or run `make face-model`."
            ) from error

    @classmethod
    def from_bytes(cls, content: bytes) -> MorphableModel:
        """Read a model from a file's content.

        Raises:
            FaceModelError: If the content is damaged or of another format version.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                version = int(archive["format_version"])
                if version != FORMAT_VERSION:
                    raise FaceModelError(
                        f"The face model has format {version}, this package reads {FORMAT_VERSION}: "
                        "rebuild it with `make face-model`."
                    )
                values: dict[str, Any] = {}
                stored: dict[str, QuantisedBasis] = {}
                for item in fields(cls):
                    if item.name in _BASES:
                        arrays = {
                            f"{item.name}_{part}": archive[f"{item.name}_{part}"] for part in BASIS_PARTS
                        }
                        values[item.name] = basis = decode_basis(item.name, arrays)
                        integers = (arrays[f"{item.name}_{part}"] for part in BASIS_PARTS[:2])
                        stored[item.name] = QuantisedBasis(basis, *integers)
                    elif item.name != "digest":
                        values[item.name] = archive[item.name]
            values["name"] = str(values["name"])
            for name in ("part_names", "unit_names"):
                values[name] = tuple(str(entry) for entry in values[name])
        except _DAMAGED as error:
            raise FaceModelError(f"The face model is damaged or incomplete: {error}.") from error
        model = cls(**values, digest=hashlib.sha256(content).hexdigest())
        model.__dict__["_stored"] = stored
        return model


def _affine(
    mean: Float32[np.ndarray, "vertices 3"],
    coefficients: Float32[np.ndarray, "*batch columns"],
    directions: Float32[np.ndarray, "columns coordinates"],
) -> Float32[np.ndarray, "*batch vertices 3"]:
    """Return the mean plus the sum of directions for each row of coefficients."""
    # One product of two matrices, whatever the batch's shape.
    flat = coefficients.reshape(-1, coefficients.shape[-1]) @ directions
    points = flat.reshape(*coefficients.shape[:-1], *mean.shape)
    points += mean
    return points
