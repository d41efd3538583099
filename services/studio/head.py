"""The turning head in binary: what the page's WebGL viewer draws.

Convention:
    Little-endian. The mesh's layout never changes: it is sent once (`layout_bytes`) and is followed, for each
    look, by positions and colours (`head_bytes`). Positions are millimetres in model space. Colours are
    reflectance, 8-bit sRGB. Vertices are the texture atlas's where the face model has one: some of
    the model's occur twice, at the seams of the texture.
"""

from __future__ import annotations

import json

import numpy as np
from jaxtyping import Float32, Int32

from inversefacenet.colour import to_uint8
from inversefacenet.errors import ExportError
from inversefacenet.image import encode_jpeg
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.texture import FaceAtlas, load_atlas, unwrap_photo
from services.studio.portrait import Portrait

_TEXTURE_SIZE = 1024
_TEXTURE_QUALITY = 88


def atlas_of(model: MorphableModel) -> FaceAtlas | None:
    """Return the texture atlas of a face model; None where it has none."""
    try:
        return load_atlas(model)
    except ExportError:
        return None


def layout_bytes(model: MorphableModel) -> bytes:
    """Return a line of JSON, then triangles (uint32), texture coordinates (float32), vertex numbers (uint32).

    The vertex numbers say which of the model's vertices each one is, so that normals go smoothly over seams.
    """
    atlas = atlas_of(model)
    triangles, uv, vertex = _parts(model, atlas)
    head = {
        "triangles": len(triangles),
        "vertices": len(vertex),
        "model_vertices": model.vertex_count,
        "textured": atlas is not None,
    }
    line = (json.dumps(head) + "\n").encode()
    line = line[:-1] + b" " * (-len(line) % 4) + b"\n"
    return line + b"".join(
        [triangles.astype("<u4").tobytes(), uv.astype("<f4").tobytes(), vertex.astype("<u4").tobytes()]
    )


def head_bytes(model: MorphableModel, parameters: Parameters) -> bytes:
    """Return the model's vertices (float32), then their colours (three bytes each)."""
    vertices = model.geometry(parameters.shape, parameters.expression)
    colours = to_uint8(model.reflectance(parameters.reflectance))
    return vertices.astype("<f4").tobytes() + colours.tobytes()


def texture_bytes(portrait: Portrait) -> bytes:
    """Return the photo laid out on the texture atlas, as JPEG.

    Raises:
        ExportError: If the face model has no atlas.
    """
    texture = unwrap_photo(portrait.image, portrait.reconstruction, _TEXTURE_SIZE)
    return encode_jpeg(texture.image, _TEXTURE_QUALITY)


def _parts(
    model: MorphableModel, atlas: FaceAtlas | None
) -> tuple[
    Int32[np.ndarray, "triangles 3"], Float32[np.ndarray, "vertices 2"], Int32[np.ndarray, " vertices"]
]:
    if atlas is None:
        count = model.vertex_count
        return model.triangles, np.zeros((count, 2), np.float32), np.arange(count, dtype=np.int32)
    return atlas.triangles, atlas.uv, atlas.vertex
