"""What a caller asks for, checked and read before anything is sent; the same for both protocols."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, get_args

import numpy as np
from jaxtyping import Float, Float32

from inversefacenet.errors import ImageError, InputError, LandmarkError
from inversefacenet.parameters import Parameters

FaceChoice = Literal["largest", "all"]
PartName = Literal["mesh", "rendering", "overlay", "contours"]
MeshFormat = Literal["glb", "obj", "ply"]
MeshSpace = Literal["model", "camera"]
MeshColours = Literal["reflectance", "shaded"]
PhotoMeshSpace = Literal["model", "camera", "photo"]
PhotoMeshColours = Literal["reflectance", "shaded", "photo"]
Colour = tuple[int, int, int]

Photo = bytes | bytearray | memoryview | os.PathLike[str] | str
"""A photo: the bytes of an image file, the path of one, or as text an address that the server fetches."""

Landmarks = Float[np.ndarray, "68 2"] | Float[np.ndarray, "faces 68 2"] | Sequence[Float[np.ndarray, "68 2"]]

_NAMES: Final = {
    "faces": get_args(FaceChoice),
    "parts": get_args(PartName),
    "mesh_format": get_args(MeshFormat),
    "mesh_space": get_args(PhotoMeshSpace),
    "mesh_colours": get_args(PhotoMeshColours),
}


class PhotoOptions(TypedDict, total=False):
    """What may be asked of a photo; all of it may be left out.

    Attributes:
        faces: "largest" (default) or "all".
        minimum_size: Width in photo pixels of the smallest face to look for.
        landmarks: The 68 points of each face in photo pixels, if they are known: nothing is detected then.
        crop: The photo is a crop of 240x240 pixels as the network takes it, face masked.
        parts: What the answer is to hold besides: some of "mesh", "rendering", "overlay", "contours".
        mesh_format: "glb" (default), "obj" or "ply".
        mesh_space: "model" (default): the head looks straight ahead; "camera": turned as in the photo;
            "photo": in the photo's own pixels, x right, y up from its lower edge, so that it lies over it.
        mesh_colours: "reflectance" (default), "shaded" as lit in the photo, or "photo": a texture made of it.
        texture_size: Side of such a texture in texels, 256 to 4096; by default 1024.
        size: Side of renderings in pixels; by default 480.
        refine: Most steps, up to 30, in which each face is refined until its rendering explains the photo.
    """

    faces: FaceChoice
    minimum_size: float | None
    landmarks: Landmarks | None
    crop: bool
    parts: Iterable[PartName]
    mesh_format: MeshFormat
    mesh_space: PhotoMeshSpace
    mesh_colours: PhotoMeshColours
    texture_size: int | None
    size: int
    refine: int | None


@dataclass(frozen=True)
class MeshOptions:
    """How meshes are written; None leaves a choice to the server."""

    format: MeshFormat | None = None
    space: PhotoMeshSpace | None = None
    colours: PhotoMeshColours | None = None
    texture_size: int | None = None


@dataclass(frozen=True, eq=False)
class PhotoJob:
    """A photo and what is asked of it; see `PhotoOptions`.

    Attributes:
        content: The file; empty if there is an address.
        url: The address.
    """

    content: bytes
    url: str | None = None
    faces: FaceChoice | None = None
    minimum_size: float | None = None
    landmarks: tuple[Float32[np.ndarray, "68 2"], ...] = ()
    crop: bool = False
    parts: tuple[PartName, ...] = ()
    mesh: MeshOptions = MeshOptions()
    size: int | None = None
    refine: int | None = None


@dataclass(frozen=True, eq=False)
class RenderJob:
    """A face to draw.

    Attributes:
        parameters: The face.
        mesh: How to write its mesh; None asks for a picture.
        size: Side of the picture in pixels.
        geometry: Show the geometry alone, in plain grey.
        background: sRGB of what the face doesn't cover; None leaves it transparent.
    """

    parameters: Parameters
    mesh: MeshOptions | None = None
    size: int | None = None
    geometry: bool = False
    background: Colour | None = (0, 0, 0)


def photo_job(photo: Photo, options: PhotoOptions) -> PhotoJob:
    """Read a photo and check what is asked of it.

    Raises:
        ImageError: If the file can't be read.
        LandmarkError: If landmarks have a wrong shape.
        InputError: If there is no such option, if one has a value that there isn't, or if `photo` is none.
    """
    check_options(options)
    parts = options.get("parts", ())
    if isinstance(parts, str):
        raise InputError(f"parts must be several names, such as ('{parts}',), not the text '{parts}'.")
    parts = tuple(dict.fromkeys(parts))
    for name in parts:
        check_name("parts", name)
    for option in ("faces", "mesh_format", "mesh_space", "mesh_colours"):
        check_name(option, options.get(option))
    content, url = _source(photo)
    return PhotoJob(
        content=content,
        url=url,
        faces=options.get("faces"),
        minimum_size=options.get("minimum_size"),
        landmarks=_landmarks(options.get("landmarks")),
        crop=options.get("crop", False),
        parts=parts,
        mesh=MeshOptions(
            options.get("mesh_format"),
            options.get("mesh_space"),
            options.get("mesh_colours"),
            options.get("texture_size"),
        ),
        size=options.get("size"),
        refine=check_refine(options.get("refine")),
    )


def check_options(options: Mapping[str, Any]) -> None:
    """Check that all options are known: the types say so, but nobody else checks it when the program runs.

    Raises:
        InputError: If there are others.
    """
    known = PhotoOptions.__optional_keys__ | PhotoOptions.__required_keys__
    unknown = [repr(name) for name in options if name not in known]
    if unknown:
        raise InputError(f"There is no option {', '.join(unknown)}: there is {', '.join(sorted(known))}.")


def check_name(option: str, value: Any) -> None:
    """Check that an option's value is one of those that there are; None stands for the usual one.

    Raises:
        InputError: If it is none of them.
    """
    if value is not None and value not in _NAMES[option]:
        raise InputError(f"{option} can't be {value!r}: there is {', '.join(_NAMES[option])}.")


def check_refine(steps: int | None) -> int | None:
    """Return a number of steps after checking that it is one; how many there may be, the server says.

    Raises:
        InputError: If it is none.
    """
    if steps is not None and steps < 0:
        raise InputError(f"refine counts steps, 0 or more of them, not {steps}.")
    return steps


def _source(photo: Photo) -> tuple[bytes, str | None]:
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo), None
    if isinstance(photo, str):
        if not photo.lower().startswith(("https://", "http://")):
            raise InputError(
                f"Text stands for an address that the server fetches, and '{photo[:80]}' is none: "
                "pass a file as pathlib.Path(...)."
            )
        return b"", photo
    path = Path(photo)
    try:
        return path.read_bytes(), None
    except OSError as error:
        raise ImageError(f"{path}: can't be read: {error.strerror or error}.") from error


def _landmarks(landmarks: Any) -> tuple[Float32[np.ndarray, "68 2"], ...]:
    if landmarks is None:
        return ()
    try:
        points = np.asarray(landmarks, np.float32)
    except (TypeError, ValueError) as error:
        raise LandmarkError(f"Landmarks must be numbers of shape (68, 2) a face: {error}.") from error
    faces = points[None] if points.ndim == 2 else points
    if faces.ndim != 3 or faces.shape[1:] != (68, 2) or len(faces) == 0:
        raise LandmarkError(f"Landmarks must have shape (68, 2) a face, but came with {points.shape}.")
    if not np.isfinite(faces).all():
        raise LandmarkError("Landmarks must be finite, but these hold NaN or infinity.")
    return tuple(faces)


def render_job(
    parameters: Parameters | Float[np.ndarray, "350"],
    mesh_format: MeshFormat | None,
    mesh_space: PhotoMeshSpace | None,
    mesh_colours: PhotoMeshColours | None,
    size: int | None,
    geometry: bool,
    background: Colour | None,
) -> RenderJob:
    """Check what is asked of a face; see `Client.render`.

    Raises:
        ParameterError: If the parameters have a wrong shape or aren't finite.
        InputError: If an option has a value that there isn't.
    """
    face = parameters if isinstance(parameters, Parameters) else Parameters.from_vector(parameters)
    check_name("mesh_format", mesh_format)
    check_name("mesh_space", mesh_space)
    check_name("mesh_colours", mesh_colours)
    if "photo" in (mesh_space, mesh_colours):
        raise InputError("Parameters alone have no photo: ask for such a mesh when it is reconstructed.")
    if background is not None and (len(background) != 3 or not all(0 <= part <= 255 for part in background)):
        raise InputError(f"A background is red, green and blue from 0 to 255, not {background}.")
    mesh = None if mesh_format is None else MeshOptions(mesh_format, mesh_space, mesh_colours)
    return RenderJob(face, mesh, size, geometry, background)
