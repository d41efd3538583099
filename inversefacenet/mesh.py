"""Meshes of faces: of parameters alone, or of a reconstructed face beside or upon its photo.

Convention:
    A `Mesh` is in millimetres, y up, the face looking along +z, with linear RGB colours. Reflectance is for
    viewers that light the scene; shaded colours and textures hold the photo's light already.

    In the photo's space a unit is a pixel of the uncropped photo: x right, y up from its lower edge, z to the
    viewer. Perspective is divided out, (x, y, z) = scale (X, Y, Z) / (700 - Z) and a shift, so a parallel
    view along z lays the mesh over the photo. `inversefacenet.export` writes meshes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from inversefacenet.camera import CAMERA_DISTANCE
from inversefacenet.colour import to_linear
from inversefacenet.errors import ExportError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rasterizer import vertex_normals
from inversefacenet.rendering import pose_and_shade

if TYPE_CHECKING:
    from inversefacenet.reconstruction import Reconstruction

MeshSpace = Literal["model", "camera", "photo"]
MeshColours = Literal["reflectance", "shaded", "photo"]

# Texels across which a vertex's colour is averaged, as a share of the texture: near the vertices' distance.
_VERTEX_TEXELS: Final = 256


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

    def vertex_normals(self) -> Float32[np.ndarray, "vertices 3"]:
        """Return the normals: those that are given, or those of vertices and triangles."""
        return vertex_normals(self.vertices, self.triangles) if self.normals is None else self.normals


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
        ExportError: If the photo is needed and missing, the texture's size is out of range, or there is no
            texture atlas for the reconstruction's face model.
        ImageError: If the photo has another size than the one that was reconstructed.
    """
    if "photo" not in (space, colours):
        return face_mesh(reconstruction.model, reconstruction.parameters, space, colours)
    if image is None:
        raise ExportError("The photo's space and colours need the photo: give it as `image`.")
    reconstruction.check_photo(image)
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
