"""Meshes with vertex colours as GLB, OBJ with MTL, and PLY files.

Convention:
    A `Mesh` is in millimetres, y up, the face looking along +z, with linear RGB colours. What each
    format gets of it, so that viewers show the right size and the right colours:

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
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
from jaxtyping import Float32, Int32

from inversefacenet.colour import to_uint8
from inversefacenet.errors import ExportError, MissingDependencyError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import vertex_normals
from inversefacenet.rendering import pose_and_shade

if TYPE_CHECKING:
    from inversefacenet.reconstruction import Reconstruction

MeshFormat = Literal["glb", "obj", "ply"]
MeshSpace = Literal["model", "camera"]
MeshColours = Literal["reflectance", "shaded"]

MESH_FORMATS: Final[tuple[str, ...]] = get_args(MeshFormat)
MEDIA_TYPES: Final[Mapping[str, str]] = {
    "glb": "model/gltf-binary",
    "obj": "application/zip",
    "ply": "application/ply",
}
"""Media types of what `mesh_to_bytes` returns."""

_METRES_PER_MILLIMETRE: Final = np.float32(0.001)
_SKIN_ROUGHNESS: Final = 0.7
# trimesh writes COLOR_0 in 8 bits; finer colours travel as a custom attribute that is renamed.
_FINE_COLOURS: Final = "_COLOR"


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh with a colour at each vertex.

    Attributes:
        vertices: Positions in millimetres.
        triangles: Vertex indices, counter-clockwise from outside.
        colours: Linear RGB; what lies outside [0, 1] is clipped when written.
        shaded: Whether the colours hold the light already.
    """

    vertices: Float32[np.ndarray, "vertices 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    colours: Float32[np.ndarray, "vertices 3"]
    shaded: bool = False


def face_mesh(
    model: MorphableModel,
    parameters: Parameters,
    space: MeshSpace = "model",
    colours: MeshColours = "reflectance",
) -> Mesh:
    """Make the mesh of a face.

    Args:
        model: The face model that gives the parameters their meaning.
        parameters: The face.
        space: "model" for the face looking straight along +z, "camera" for the head turned as in the
            photo, the pinhole at (0, 0, 700).
        colours: "reflectance" (Eq. 3), or "shaded" for reflectance times irradiance (Eq. 4).
    """
    turned, shaded = pose_and_shade(model, parameters)
    vertices = turned if space == "camera" else model.geometry(parameters.shape, parameters.expression)
    painted = shaded if colours == "shaded" else model.reflectance(parameters.reflectance)
    return Mesh(vertices, model.triangles, np.clip(painted, 0, 1), shaded=colours == "shaded")


def mesh_of(
    reconstruction: Reconstruction, space: MeshSpace = "model", colours: MeshColours = "reflectance"
) -> Mesh:
    """Make the mesh of a reconstructed face; see `face_mesh`."""
    return face_mesh(reconstruction.model, reconstruction.parameters, space, colours)


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
        Contents by file name: one file, or two for OBJ, whose MTL must lie beside it.

    Raises:
        MissingDependencyError: If trimesh isn't installed.
        ExportError: If the format is unknown or the mesh holds numbers that aren't finite.
    """
    check_format(file_format)
    if not (np.isfinite(mesh.vertices).all() and np.isfinite(mesh.colours).all()):
        raise ExportError("The mesh holds numbers that aren't finite: check the parameters it was made from.")
    if file_format == "glb":
        return {f"{stem}.glb": _glb(mesh, stem)}
    if file_format == "ply":
        return {f"{stem}.ply": _ply(mesh)}
    return _obj(mesh, stem)


def mesh_to_bytes(mesh: Mesh, file_format: MeshFormat) -> bytes:
    """Write a mesh as one piece of bytes: OBJ and its MTL come in a ZIP archive.

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
    """Write a mesh in the format that the file's name ends in; OBJ gets its MTL beside it.

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
            "Writing meshes needs trimesh: pip install 'inversefacenet[export]'."
        ) from error
    # `process` would merge and reorder vertices, which must keep the model's numbers.
    return trimesh.Trimesh(
        vertices=vertices,
        faces=mesh.triangles,
        vertex_normals=vertex_normals(mesh.vertices, mesh.triangles),
        process=False,
        **options,
    )


def _glb(mesh: Mesh, name: str) -> bytes:
    material: dict[str, Any] = {
        "name": "face",
        "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": _SKIN_ROUGHNESS},
    }
    if mesh.shaded:
        material["extensions"] = {"KHR_materials_unlit": {}}

    def finish(tree: dict[str, Any]) -> None:
        tree["asset"]["generator"] = "inversefacenet"
        tree["materials"] = [material]
        if mesh.shaded:
            tree["extensionsUsed"] = ["KHR_materials_unlit"]
        (geometry,) = tree["meshes"]
        geometry["name"] = name
        (primitive,) = geometry["primitives"]
        primitive["material"] = 0
        accessor = primitive["attributes"].pop(_FINE_COLOURS)
        primitive["attributes"]["COLOR_0"] = accessor
        tree["accessors"][accessor]["normalized"] = True

    # Some readers take a colour without alpha for transparent, so there are four channels.
    colours = np.full((len(mesh.colours), 4), 65535, "<u2")
    colours[:, :3] = np.rint(np.clip(mesh.colours, 0, 1) * 65535)
    scaled = mesh.vertices * _METRES_PER_MILLIMETRE
    source = _trimesh(mesh, scaled, vertex_attributes={_FINE_COLOURS: colours})
    return bytes(source.export(file_type="glb", include_normals=True, tree_postprocessor=finish))


def _ply(mesh: Mesh) -> bytes:
    source = _trimesh(mesh, mesh.vertices, vertex_colors=to_uint8(mesh.colours))
    return bytes(source.export(file_type="ply", vertex_normal=True))


def _obj(mesh: Mesh, stem: str) -> dict[str, bytes]:
    source = _trimesh(mesh, mesh.vertices, vertex_colors=to_uint8(mesh.colours))
    text = source.export(file_type="obj", include_normals=True, include_texture=False, header=None, digits=6)
    # A name with a space in it would end there for many readers.
    library = f"{stem.replace(' ', '_')}.mtl"
    head = f"# inversefacenet: millimetres, y up, sRGB colours\nmtllib {library}\no face\nusemtl face\n"
    light = 0 if mesh.shaded else 1
    material = f"newmtl face\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nd 1\nillum {light}\n"
    return {f"{stem}.obj": (head + text.strip() + "\n").encode(), library: material.encode()}
