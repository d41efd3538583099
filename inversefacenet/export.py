"""Meshes with vertex colours or the photo as texture, as GLB, OBJ with MTL, and PLY files.

Convention:
    What each format gets of a `mesh.Mesh`, so that viewers show the right size and the right colours:

    ======  ===========  =====================================================================
    format  unit         colours
    ======  ===========  =====================================================================
    glb     metres       COLOR_0, linear in 16 bits (glTF 2.0, 3.7.2.1): no 8-bit steps in the dark
    obj     millimetres  sRGB in [0, 1] after the position of each `v` line; a plain white MTL
    ply     millimetres  sRGB uchar red, green, blue, alpha
    ======  ===========  =====================================================================

    Reflectance is for viewers that light the scene. Shaded colours hold the photo's light already, so
    they come with a material that viewers don't light again (`KHR_materials_unlit`, `illum 0`).
    Worked value: linear 0.5 is 32768 / 65535 in GLB, 0.7373 in OBJ (188 / 255) and 188 in PLY.

    With a texture, GLB holds a JPEG and OBJ names one beside it (`map_Kd`); both are sRGB, lit already, and
    come without vertex colours. PLY has no textures that viewers agree on: its vertices take theirs
    from the texture. glTF counts v downwards, OBJ upwards as this package does.

    A mesh in the photo's pixels gets an orthographic camera of the photo's size in GLB (`mesh`).
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from jaxtyping import Float32

from inversefacenet.colour import to_uint8
from inversefacenet.errors import ExportError, MissingDependencyError
from inversefacenet.glb import glb_bytes
from inversefacenet.image import encode_jpeg
from inversefacenet.mesh import Mesh, MeshColours, MeshSpace, MeshTexture, face_mesh, mesh_of

MeshFormat = Literal["glb", "obj", "ply"]

__all__ = [
    "MEDIA_TYPES",
    "MESH_FORMATS",
    "Mesh",
    "MeshColours",
    "MeshFormat",
    "MeshSpace",
    "MeshTexture",
    "check_format",
    "face_mesh",
    "mesh_files",
    "mesh_format",
    "mesh_of",
    "mesh_to_bytes",
    "write_mesh",
]

MESH_FORMATS: Final[tuple[str, ...]] = get_args(MeshFormat)
MEDIA_TYPES: Final[Mapping[str, str]] = {
    "glb": "model/gltf-binary",
    "obj": "application/zip",
    "ply": "application/ply",
}
"""Media types of what `mesh_to_bytes` returns."""


def mesh_format(path: Path) -> MeshFormat:
    """Return the format that a file name asks for.

    Raises:
        ExportError: If the name ends in none of .glb, .obj, .ply.
    """
    return check_format(path.suffix[1:].lower())


def check_format(name: str) -> MeshFormat:
    """Return a format's name after checking it.

    Raises:
        ExportError: If there is no such format.
    """
    for known in get_args(MeshFormat):
        if name == known:
            return known
    raise ExportError(f"Meshes are written as {', '.join(MESH_FORMATS)}, not as '{name}'.")


def mesh_files(mesh: Mesh, file_format: MeshFormat, stem: str = "face") -> dict[str, bytes]:
    """Write a mesh into memory.

    Args:
        mesh: The mesh.
        file_format: "glb", "obj" or "ply".
        stem: Name of the files without their endings.

    Returns:
        Contents by file name: one file, or for OBJ several that must lie together: MTL and texture.

    Raises:
        MissingDependencyError: If trimesh isn't installed.
        ExportError: If the format is unknown or the mesh holds numbers that aren't finite.
    """
    check_format(file_format)
    if not (np.isfinite(mesh.vertices).all() and np.isfinite(mesh.colours).all()):
        raise ExportError("The mesh holds numbers that aren't finite: check the parameters it was made from.")
    if file_format == "glb":
        return {f"{stem}.glb": glb_bytes(mesh, stem)}
    if file_format == "ply":
        return {f"{stem}.ply": _ply(mesh)}
    return _obj(mesh, stem)


def mesh_to_bytes(mesh: Mesh, file_format: MeshFormat) -> bytes:
    """Write a mesh as one piece of bytes: OBJ and what belongs to it come in a ZIP archive.

    Raises:
        MissingDependencyError: If trimesh isn't installed.
        ExportError: If the format is unknown or the mesh holds numbers that aren't finite.
    """
    files = mesh_files(mesh, file_format)
    if len(files) == 1:
        return next(iter(files.values()))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
        for name, content in files.items():
            # A fixed date, so that the same face gives the same bytes.
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            stream.writestr(entry, content)
    return archive.getvalue()


def write_mesh(mesh: Mesh, path: Path) -> list[Path]:
    """Write a mesh in the format that the file's name ends in; OBJ gets its MTL and texture beside it.

    Returns:
        The files that were written.

    Raises:
        MissingDependencyError: If trimesh isn't installed.
        ExportError: If the format is unknown or the mesh holds numbers that aren't finite.
    """
    (_, content), *others = mesh_files(mesh, mesh_format(path), path.stem).items()
    path.write_bytes(content)
    for name, beside in others:
        (path.parent / name).write_bytes(beside)
    return [path, *(path.parent / name for name, _ in others)]


def _trimesh(mesh: Mesh, vertices: Float32[np.ndarray, "vertices 3"], **options: Any) -> Any:
    try:
        import trimesh
    except ImportError as error:
        raise MissingDependencyError(
            "Writing OBJ and PLY files needs trimesh, which is not installed", extra="export"
        ) from error
    # `process` would merge and reorder vertices, which must keep the model's numbers.
    return trimesh.Trimesh(
        vertices=vertices,
        faces=mesh.triangles,
        vertex_normals=mesh.vertex_normals(),
        process=False,
        **options,
    )


def _ply(mesh: Mesh) -> bytes:
    source = _trimesh(mesh, mesh.vertices, vertex_colors=to_uint8(mesh.colours))
    return bytes(source.export(file_type="ply", vertex_normal=True))


def _obj(mesh: Mesh, stem: str) -> dict[str, bytes]:
    # A name with a space in it would end there for many readers.
    name = stem.replace(" ", "_")
    unit = "pixels of the photo" if mesh.photo_size else "millimetres"
    kind = "sRGB colours" if mesh.texture is None else "the photo as texture"
    head = f"# inversefacenet: {unit}, y up, {kind}\nmtllib {name}.mtl\no face\nusemtl face\n"
    light = 0 if mesh.shaded else 1
    material = f"newmtl face\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nd 1\nillum {light}\n"
    if mesh.texture is None:
        text = _obj_text(_trimesh(mesh, mesh.vertices, vertex_colors=to_uint8(mesh.colours)))
        return {f"{stem}.obj": (head + text).encode(), f"{name}.mtl": material.encode()}
    text = _with_texture_places(_obj_text(_trimesh(mesh, mesh.vertices)), mesh.texture.uv)
    return {
        f"{stem}.obj": (head + text).encode(),
        f"{name}.mtl": (material + f"map_Kd {name}.jpg\n").encode(),
        f"{name}.jpg": encode_jpeg(mesh.texture.image),
    }


def _obj_text(source: Any) -> str:
    text = source.export(file_type="obj", include_normals=True, include_texture=False, header=None, digits=6)
    return str(text).strip() + "\n"


def _with_texture_places(text: str, uv: Float32[np.ndarray, "vertices 2"]) -> str:
    """Add texture coordinates to an OBJ text, numbered as its vertices are."""
    places = "".join(f"vt {u:.6f} {v:.6f}\n" for u, v in uv.tolist())
    start = text.index("\nf ") + 1
    return text[:start] + places + re.sub(r"(\d+)//", r"\1/\1/", text[start:])
