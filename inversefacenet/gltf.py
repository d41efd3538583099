"""Binary glTF 2.0 files: one mesh, a camera if it is to have one, and a picture inside.

Written here and not by a library for meshes: importing one takes longer than all else that the command line
does after the network.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Int32, Num

_HEADER: Final = 12
_CHUNK_HEADER: Final = 8
_UNSIGNED: Final = 5125
_COMPONENTS: Final = {np.dtype(np.float32): 5126, np.dtype(np.uint16): 5123, np.dtype(np.uint32): _UNSIGNED}
_TYPES: Final = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


def add_photo_camera(tree: dict[str, Any], size: tuple[int, int], nearest: float, farthest: float) -> None:
    """Add an orthographic camera named "photo" that sees a photo's rectangle from in front of a mesh.

    Args:
        tree: The glTF document.
        size: The photo's width and height; the mesh is in its pixels.
        nearest: Greatest z of the mesh.
        farthest: Least z of the mesh.
    """
    margin = max(size)
    camera = {
        "name": "photo",
        "type": "orthographic",
        "orthographic": {
            "xmag": size[0] / 2,
            "ymag": size[1] / 2,
            "znear": margin / 2,
            "zfar": nearest - farthest + 2 * margin,
        },
    }
    tree["cameras"] = [camera]
    place = [size[0] / 2, size[1] / 2, nearest + margin]
    tree["nodes"].append({"name": "photo", "camera": 0, "translation": place})
    tree["scenes"][tree.get("scene", 0)]["nodes"].append(len(tree["nodes"]) - 1)


def mesh_tree(
    vertices: Float32[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    attributes: Mapping[str, Num[np.ndarray, "_ _"]],
) -> tuple[dict[str, Any], bytes]:
    """Return the document of one mesh (glTF 2.0, 3.7), and its buffer.

    Args:
        vertices: Positions.
        triangles: Vertex indices, counter-clockwise from outside.
        attributes: What else a vertex has, by its name in glTF, such as "NORMAL": float32 or uint16, a row of
            two to four numbers a vertex.
    """
    columns = {"POSITION": vertices, **attributes}
    arrays = [triangles.astype(np.uint32).ravel(), *columns.values()]
    views: list[dict[str, int]] = []
    accessors: list[dict[str, Any]] = []
    buffer = b""
    for number, values in enumerate(arrays):
        content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        rows = values.reshape(len(values), -1)
        accessors.append(
            {
                "componentType": _COMPONENTS[values.dtype],
                "type": _TYPES[rows.shape[1]],
                "bufferView": number,
                "byteOffset": 0,
                "count": len(values),
                "max": rows.max(axis=0).tolist(),
                "min": rows.min(axis=0).tolist(),
            }
        )
        views.append({"buffer": 0, "byteOffset": len(buffer), "byteLength": len(content)})
        buffer += content + bytes(-len(content) % 4)
    primitive = {
        "attributes": {name: index for index, name in enumerate(columns, start=1)},
        "indices": 0,
        "mode": 4,
        "material": 0,
    }
    tree = {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "asset": {"version": "2.0", "generator": "inversefacenet"},
        "accessors": accessors,
        "meshes": [{"primitives": [primitive]}],
        "nodes": [{"name": "face", "mesh": 0}],
        "bufferViews": views,
    }
    return tree, buffer


def add_picture(tree: dict[str, Any], buffer: bytes, picture: bytes) -> bytes:
    """Add a JPEG as the only image (glTF 2.0, 3.8.3); returns the buffer with it."""
    tree["bufferViews"].append({"buffer": 0, "byteOffset": len(buffer), "byteLength": len(picture)})
    tree["images"] = [{"name": "face", "mimeType": "image/jpeg", "bufferView": len(tree["bufferViews"]) - 1}]
    return buffer + picture + bytes(-len(picture) % 4)


def binary_file(tree: dict[str, Any], buffer: bytes) -> bytes:
    """Return a document and its buffer as one binary file (glTF 2.0, 4.4)."""
    tree["buffers"] = [{"byteLength": len(buffer)}]
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = _HEADER + _CHUNK_HEADER + len(text) + _CHUNK_HEADER + len(buffer)
    head = struct.pack("<4sII", b"glTF", 2, total) + struct.pack("<I4s", len(text), b"JSON")
    return head + text + struct.pack("<I4s", len(buffer), b"BIN\0") + buffer
