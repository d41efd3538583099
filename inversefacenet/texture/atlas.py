"""The texture atlas of the open face model: where each point of its mesh lies in a square picture.

Convention:
    u runs right and v up, both in [0, 1]; texel centres lie at half integers, so the texel in row r and
    column c of an S x S texture shows u = (c + 0.5) / S, v = 1 - (r + 0.5) / S. The subject's left is at
    the right, as in a photo. The layout is its own mirror image: what lies at (u, v) on one side of the
    face lies at (1 - u, v) on the other. Vertices where two islands meet occur once in each; the first ones
    are the model's own, in its order.
    Worked value: in a texture of 1024 texels the tip of the nose, u = 0.5, lies between columns 511 and 512.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from jaxtyping import Float32, Int32

from inversefacenet.errors import ExportError, FaceModelError
from inversefacenet.morphable_model import MorphableModel

ATLAS_FORMAT = 1
"""Version of the asset's format."""

UV_STEPS = 65536
"""Texture coordinates are whole multiples of 1 / 65536: the last bit of arithmetic makes no difference."""


@dataclass(frozen=True, eq=False)
class FaceAtlas:
    """Texture coordinates for one mesh.

    Attributes:
        uv: Texture coordinates of each vertex, u right and v up, in [0, 1].
        vertex: The model's vertex that each vertex is; the first are the model's own in its order.
        triangles: Vertex indices of the model's triangles, in the model's order.
        mesh_digest: `mesh_digest` of the model's triangles that this atlas belongs to.
    """

    uv: Float32[np.ndarray, "vertices 2"]
    vertex: Int32[np.ndarray, " vertices"]
    triangles: Int32[np.ndarray, "triangles 3"]
    mesh_digest: str

    @classmethod
    def from_bytes(cls, content: bytes) -> FaceAtlas:
        """Read an atlas from a file's content.

        Raises:
            FaceModelError: If the content is damaged or of another format version.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                version = int(archive["format_version"])
                if version != ATLAS_FORMAT:
                    raise FaceModelError(
                        f"The texture atlas has format {version}, this package reads {ATLAS_FORMAT}: "
                        "rebuild it with `make face-atlas`."
                    )
                return cls(
                    uv=archive["uv"].astype(np.float32) / UV_STEPS,
                    vertex=archive["vertex"],
                    triangles=archive["triangles"],
                    mesh_digest=str(archive["mesh_digest"]),
                )
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise FaceModelError(f"The texture atlas is damaged or incomplete: {error}.") from error

    def to_bytes(self) -> bytes:
        """Return the content of the asset: the same bytes for the same atlas."""
        stream = io.BytesIO()
        np.savez_compressed(
            stream,
            format_version=np.int32(ATLAS_FORMAT),
            uv=np.rint(self.uv.astype(np.float64) * UV_STEPS).astype(np.uint32),
            vertex=self.vertex,
            triangles=self.triangles,
            mesh_digest=np.asarray(self.mesh_digest),
        )
        return stream.getvalue()


def mesh_digest(triangles: Int32[np.ndarray, "triangles 3"]) -> str:
    """Return the SHA-256 of a mesh's triangles: what an atlas can be used with."""
    return hashlib.sha256(np.ascontiguousarray(triangles, "<i4").tobytes()).hexdigest()


def load_atlas(model: MorphableModel) -> FaceAtlas:
    """Return the texture atlas of a face model.

    Raises:
        ExportError: If there is none for the model's mesh.
        FaceModelError: If the shipped one is missing or damaged.
    """
    atlas = _shipped()
    if mesh_digest(model.triangles) != atlas.mesh_digest:
        raise ExportError(
            f"There is no texture atlas for the face model '{model.name}', only for the one that ships with "
            "this package: write its meshes with colours='shaded' or colours='reflectance'."
        )
    return atlas


@lru_cache(maxsize=1)
def _shipped() -> FaceAtlas:
    asset = resources.files("inversefacenet") / "assets" / "face_atlas.npz"
    try:
        return FaceAtlas.from_bytes(asset.read_bytes())
    except FileNotFoundError as error:
        raise FaceModelError(
            "The shipped texture atlas is missing: install the package again, or run `make face-atlas`."
        ) from error
