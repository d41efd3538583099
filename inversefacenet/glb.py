"""A face's mesh as one GLB file: units, colours, texture, material and camera as glTF 2.0 wants them.

Convention:
    Metres, or the photo's pixels with an orthographic camera of the photo's size. Colours are COLOR_0, linear
    in 16 bits (glTF 2.0, 3.7.2.1); a texture is a JPEG inside the file, its v counted downwards. What holds
    the photo's light already has a material that viewers don't light again (`KHR_materials_unlit`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from jaxtyping import Float32

from inversefacenet.gltf import add_photo_camera, add_picture, binary_file, mesh_tree
from inversefacenet.image import encode_jpeg
from inversefacenet.mesh import Mesh

_METRES_PER_MILLIMETRE: Final = np.float32(0.001)
_SKIN_ROUGHNESS: Final = 0.7
_SHORTEST_NORMAL: Final = np.float32(1e-6)
# Linear filters with mipmaps; nothing repeats beyond the edges.
_SAMPLER: Final = {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}


def glb_bytes(mesh: Mesh, name: str) -> bytes:
    """Return the content of a GLB file.

    Args:
        mesh: The mesh.
        name: What the file calls its geometry.
    """
    attributes: dict[str, Any] = {"NORMAL": _unit(mesh.vertex_normals())}
    if mesh.texture is None:
        # Some readers take a colour without alpha for transparent, so there are four channels.
        colours = np.full((len(mesh.colours), 4), 65535, np.uint16)
        colours[:, :3] = np.rint(np.clip(mesh.colours, 0, 1) * 65535)
        attributes["COLOR_0"] = colours
    else:
        attributes["TEXCOORD_0"] = _downward(mesh.texture.uv)
    scaled = mesh.vertices if mesh.photo_size else mesh.vertices * _METRES_PER_MILLIMETRE
    tree, buffer = mesh_tree(scaled, mesh.triangles, attributes)
    _finish_glb(tree, mesh, name)
    if mesh.texture is not None:
        buffer = add_picture(tree, buffer, encode_jpeg(mesh.texture.image))
    return binary_file(tree, buffer)


def _unit(normals: Float32[np.ndarray, "vertices 3"]) -> Float32[np.ndarray, "vertices 3"]:
    """Return normals of unit length, as glTF wants them, also of vertices without a triangle."""
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    upward = np.array([0, 0, 1], np.float32)
    return np.where(lengths > _SHORTEST_NORMAL, normals / np.maximum(lengths, _SHORTEST_NORMAL), upward)


def _downward(uv: Float32[np.ndarray, "vertices 2"]) -> Float32[np.ndarray, "vertices 2"]:
    return np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)


def _finish_glb(tree: dict[str, Any], mesh: Mesh, name: str) -> None:
    """Give a glTF document its material, its names and the camera."""
    shine: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": _SKIN_ROUGHNESS}
    material: dict[str, Any] = {"name": "face", "pbrMetallicRoughness": shine}
    if mesh.shaded:
        material["extensions"] = {"KHR_materials_unlit": {}}
        tree["extensionsUsed"] = ["KHR_materials_unlit"]
    tree["materials"] = [material]
    (geometry,) = tree["meshes"]
    geometry["name"] = name
    if mesh.texture is None:
        (primitive,) = geometry["primitives"]
        tree["accessors"][primitive["attributes"]["COLOR_0"]]["normalized"] = True
    else:
        shine["baseColorTexture"] = {"index": 0}
        tree["textures"] = [{"sampler": 0, "source": 0}]
        tree["samplers"] = [dict(_SAMPLER)]
    if mesh.photo_size is not None:
        depth = mesh.vertices[:, 2]
        add_photo_camera(tree, mesh.photo_size, float(depth.max()), float(depth.min()))
