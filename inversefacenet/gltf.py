"""What glTF 2.0 files of textured meshes need beyond triangles: a camera, and a picture inside."""

from __future__ import annotations

import json
import struct
from typing import Any, Final

_HEADER: Final = 12
_CHUNK_HEADER: Final = 8


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


def with_picture(content: bytes, picture: bytes) -> bytes:
    """Return a binary glTF file with a JPEG in its buffer as the only image (glTF 2.0, 4.4)."""
    start = _HEADER + _CHUNK_HEADER
    length = int.from_bytes(content[_HEADER : _HEADER + 4], "little")
    tree = json.loads(content[start : start + length])
    buffer = content[start + length + _CHUNK_HEADER :]
    buffer += bytes(-len(buffer) % 4)
    tree["bufferViews"].append({"buffer": 0, "byteOffset": len(buffer), "byteLength": len(picture)})
    tree["images"] = [{"name": "face", "mimeType": "image/jpeg", "bufferView": len(tree["bufferViews"]) - 1}]
    buffer += picture + bytes(-len(picture) % 4)
    tree["buffers"] = [{"byteLength": len(buffer)}]
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = start + len(text) + _CHUNK_HEADER + len(buffer)
    head = struct.pack("<4sII", b"glTF", 2, total) + struct.pack("<I4s", len(text), b"JSON")
    return head + text + struct.pack("<I4s", len(buffer), b"BIN\0") + buffer
