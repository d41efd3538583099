"""Meshes with vertex colours or the photo as texture, as GLB, OBJ with MTL, and PLY files.

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

    With a texture, GLB holds a JPEG and OBJ names one beside it (`map_Kd`); both are sRGB, lit already, and
    come without vertex colours. PLY has no textures that viewers agree on: its vertices take theirs
    from the texture. glTF counts v downwards, OBJ upwards as this package does.

    In the photo's space a unit is a pixel of the uncropped photo: x right, y up from its lower edge, z to the
    viewer. Perspective is divided out, (x, y, z) = scale (X, Y, Z) / (700 - Z) and a shift, so a parallel
    view along z lays the mesh over the photo; GLB brings it, an orthographic camera of the photo's size.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from inversefacenet.camera import CAMERA_DISTANCE
from inversefacenet.colour import to_linear, to_uint8
from inversefacenet.errors import ExportError, MissingDependencyError
from inversefacenet.gltf import add_photo_camera, with_picture
from inversefacenet.image import encode_jpeg
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import vertex_normals
from inversefacenet.rendering import pose_and_shade

if TYPE_CHECKING:
    from inversefacenet.reconstruction import Reconstruction

MeshFormat = Literal["glb", "obj", "ply"]
MeshSpace = Literal["model", "camera", "photo"]
MeshColours = Literal["reflectance", "shaded", "photo"]

MESH_FORMATS: Final[tuple[str, ...]] = get_args(MeshFormat)
MEDIA_TYPES: Final[Mapping[str, str]] = {
    "glb": "model/gltf-binary",
    "obj": "application/zip",
    "ply": "application/ply",
}
"""Media types of what `mesh_to_bytes` returns."""

_METRES_PER_MILLIMETRE: Final = np.float32(0.001)
_SKIN_ROUGHNESS: Final = 0.7
# Texels across which a vertex's colour is averaged, as a share of the texture: near the vertices' distance.
_VERTEX_TEXELS: Final = 256
# trimesh writes COLOR_0 in 8 bits; finer colours travel as a custom attribute that is renamed.
_FINE_COLOURS: Final = "_COLOR"
# It would write texture coordinates with a material of its own, too.
_TEXTURE_PLACES: Final = "_PLACE"
# Linear filters with mipmaps; nothing repeats beyond the edges.
_SAMPLER: Final = {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}


@dataclass(frozen=True, eq=False)
class MeshTexture:
    """A picture on a mesh.

    Attributes:
        uv: Where each vertex lies in it, u right and v up, in [0, 1].
        image: sRGB texels.
    """

    uv: Float32[np.ndarray, "vertices 2"]
    image: UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh with a colour at each vertex, or a texture.

    Attributes:
        vertices: Positions in millimetres, or in the photo's pixels.
        triangles: Vertex indices, counter-clockwise from outside.
        colours: Linear RGB; what lies outside [0, 1] is clipped when written.
        shaded: Whether the colours hold the light already.
        texture: The photo, if the mesh is to wear it; vertices on its seams occur twice then, behind the
            face model's own.
        normals: Unit normals; by default those of the vertices and triangles given here.
        photo_size: Width and height of the photo that the vertices are in pixels of; None for millimetres.
    """

    vertices: Float32[np.ndarray, "vertices 3"]
    triangles: Int32[np.ndarray, "triangles 3"]
    colours: Float32[np.ndarray, "vertices 3"]
    shaded: bool = False
    texture: MeshTexture | None = None
    normals: Float32[np.ndarray, "vertices 3"] | None = None
    photo_size: tuple[int, int] | None = None


def face_mesh(
    model: MorphableModel,
    parameters: Parameters,
    space: MeshSpace = "model",
    colours: MeshColours = "reflectance",
) -> Mesh:
    """Make the mesh of a face of which only the parameters are known.

    Args:
        model: The face model that gives the parameters their meaning.
        parameters: The face.
        space: "model" for the face looking straight along +z, "camera" for the head turned as in the
            photo, the pinhole at (0, 0, 700).
        colours: "reflectance" (Eq. 3), or "shaded" for reflectance times irradiance (Eq. 4).

    Raises:
        ExportError: If the space or the colours are the photo's, which parameters don't hold.
    """
    if "photo" in (space, colours):
        raise ExportError(
            "Parameters hold no photo: its space and colours need a reconstructed photo (`mesh_of`). "
            "Use space 'model' or 'camera' and colours 'reflectance' or 'shaded'."
        )
    turned, shaded = pose_and_shade(model, parameters)
    vertices = turned if space == "camera" else model.geometry(parameters.shape, parameters.expression)
    painted = shaded if colours == "shaded" else model.reflectance(parameters.reflectance)
    return Mesh(vertices, model.triangles, np.clip(painted, 0, 1), shaded=colours == "shaded")


def mesh_of(
    reconstruction: Reconstruction,
    space: MeshSpace = "model",
    colours: MeshColours = "reflectance",
    image: UInt8[np.ndarray, "height width 3"] | None = None,
    texture_size: int = 1024,
) -> Mesh:
    """Make the mesh of a reconstructed face.

    Args:
        reconstruction: The face.
        space: "model" and "camera" as for `face_mesh`, or "photo" for the pixels of the uncropped photo.
        colours: "reflectance" and "shaded" as for `face_mesh`, or "photo" for the photo itself as texture.
        image: The photo; the photo's space and colours need it.
        texture_size: Texels on a side of the texture, 256 to 4096.

    Raises:
        ExportError: If the photo is needed and missing, or the texture's size is out of range.
        FaceModelError: If there is no texture atlas for the reconstruction's face model.
    """
    if "photo" not in (space, colours):
        return face_mesh(reconstruction.model, reconstruction.parameters, space, colours)
    if image is None:
        raise ExportError("The photo's space and colours need the photo: give it as `image`.")
    base = face_mesh(
        reconstruction.model,
        reconstruction.parameters,
        "model" if space == "model" else "camera",
        "shaded" if colours == "shaded" else "reflectance",
    )
    mesh = _in_photo(base, reconstruction, image) if space == "photo" else base
    return _textured(mesh, reconstruction, image, texture_size) if colours == "photo" else mesh


def _in_photo(mesh: Mesh, reconstruction: Reconstruction, image: UInt8[np.ndarray, "height width 3"]) -> Mesh:
    height, width = image.shape[:2]
    placement = reconstruction.photo_placement
    pixels = reconstruction.photo_points()
    depth = mesh.vertices[:, 2]
    vertices = np.stack(
        [pixels[:, 0], height - pixels[:, 1], placement.scale * depth / (CAMERA_DISTANCE - depth)], axis=1
    )
    return replace(mesh, vertices=vertices.astype(np.float32), photo_size=(width, height))


def _textured(
    mesh: Mesh, reconstruction: Reconstruction, image: UInt8[np.ndarray, "height width 3"], size: int
) -> Mesh:
    from inversefacenet.texture import load_atlas, unwrap_photo

    atlas = load_atlas(reconstruction.model)
    texture = unwrap_photo(image, reconstruction, size)
    return replace(
        mesh,
        vertices=mesh.vertices[atlas.vertex],
        triangles=atlas.triangles,
        colours=_texture_colours(texture.image, atlas.uv),
        shaded=True,
        texture=MeshTexture(atlas.uv, texture.image),
        normals=vertex_normals(mesh.vertices, mesh.triangles)[atlas.vertex],
    )


def _texture_colours(
    image: UInt8[np.ndarray, "size size 3"], uv: Float32[np.ndarray, "vertices 2"]
) -> Float32[np.ndarray, "vertices 3"]:
    """Return linear colours of a texture at vertices, averaged over about the distance between them."""
    from inversefacenet.texture.sampling import bilinear

    coarse = Image.fromarray(image).resize((_VERTEX_TEXELS, _VERTEX_TEXELS), Image.Resampling.BOX)
    points = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1) * np.float32(_VERTEX_TEXELS)
    return bilinear(to_linear(np.asarray(coarse)).astype(np.float32), points)


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
        return {f"{stem}.glb": _glb(mesh, stem)}
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
            "Writing meshes needs trimesh: pip install 'inversefacenet[export]'."
        ) from error
    normals = vertex_normals(mesh.vertices, mesh.triangles) if mesh.normals is None else mesh.normals
    # `process` would merge and reorder vertices, which must keep the model's numbers.
    return trimesh.Trimesh(
        vertices=vertices, faces=mesh.triangles, vertex_normals=normals, process=False, **options
    )


def _glb(mesh: Mesh, name: str) -> bytes:
    attributes: dict[str, Any] = {}
    if mesh.texture is None:
        # Some readers take a colour without alpha for transparent, so there are four channels.
        colours = np.full((len(mesh.colours), 4), 65535, "<u2")
        colours[:, :3] = np.rint(np.clip(mesh.colours, 0, 1) * 65535)
        attributes[_FINE_COLOURS] = colours
    else:
        attributes[_TEXTURE_PLACES] = _downward(mesh.texture.uv)

    scaled = mesh.vertices if mesh.photo_size else mesh.vertices * _METRES_PER_MILLIMETRE
    source = _trimesh(mesh, scaled, vertex_attributes=attributes)

    def finish(tree: dict[str, Any]) -> None:
        _finish_glb(tree, mesh, name)

    content = bytes(source.export(file_type="glb", include_normals=True, tree_postprocessor=finish))
    return content if mesh.texture is None else with_picture(content, encode_jpeg(mesh.texture.image))


def _downward(uv: Float32[np.ndarray, "vertices 2"]) -> Float32[np.ndarray, "vertices 2"]:
    return np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)


def _finish_glb(tree: dict[str, Any], mesh: Mesh, name: str) -> None:
    """Give a glTF document what trimesh doesn't write: the material, fine attributes, the camera."""
    tree["asset"]["generator"] = "inversefacenet"
    shine: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": _SKIN_ROUGHNESS}
    material: dict[str, Any] = {"name": "face", "pbrMetallicRoughness": shine}
    if mesh.shaded:
        material["extensions"] = {"KHR_materials_unlit": {}}
        tree["extensionsUsed"] = ["KHR_materials_unlit"]
    tree["materials"] = [material]
    (geometry,) = tree["meshes"]
    geometry["name"] = name
    (primitive,) = geometry["primitives"]
    primitive["material"] = 0
    attributes = primitive["attributes"]
    if mesh.texture is None:
        attributes["COLOR_0"] = attributes.pop(_FINE_COLOURS)
        tree["accessors"][attributes["COLOR_0"]]["normalized"] = True
    else:
        attributes["TEXCOORD_0"] = attributes.pop(_TEXTURE_PLACES)
        shine["baseColorTexture"] = {"index": 0}
        tree["textures"] = [{"sampler": 0, "source": 0}]
        tree["samplers"] = [dict(_SAMPLER)]
    if mesh.photo_size is not None:
        depth = mesh.vertices[:, 2]
        add_photo_camera(tree, mesh.photo_size, float(depth.max()), float(depth.min()))


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
