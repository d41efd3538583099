"""Writes what a server sent under the names that the commands give to files."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inversefacenet.cli.output import check_picture_name, write_picture
from inversefacenet.errors import ExportError

if TYPE_CHECKING:
    from inversefacenet.client.requests import MeshFormat

_FORMATS: Final[tuple[MeshFormat, ...]] = ("glb", "obj", "ply")
_OBJ_LIBRARY: Final = re.compile(rb"^mtllib .*$", re.M)
_OBJ_TEXTURE: Final = re.compile(rb"^map_Kd .*$", re.M)


def mesh_format(path: Path) -> MeshFormat:
    """Return the format that a mesh file's name asks for.

    Raises:
        ExportError: If there is no such format.
    """
    suffix = path.suffix[1:].lower()
    for known in _FORMATS:
        if suffix == known:
            return known
    raise ExportError(f"Meshes are written as {', '.join(_FORMATS)}, not as '{suffix}'.")


def write_mesh_content(content: bytes, path: Path) -> list[Path]:
    """Write a mesh that a server sent; OBJ is unpacked, MTL and texture beside it, all named after the path.

    Raises:
        ExportError: If an archive isn't what it should be.
    """
    if path.suffix.lower() != ".obj":
        path.write_bytes(content)
        return [path]
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {Path(name).suffix: archive.read(name) for name in archive.namelist()}
        mesh, material, texture = members[".obj"], members[".mtl"], members.get(".jpg")
    except (zipfile.BadZipFile, KeyError) as error:
        raise ExportError("The server sent no archive of OBJ and MTL.") from error
    # A name with a space in it would end there for many readers.
    library = path.with_name(f"{path.stem.replace(' ', '_')}.mtl")
    path.write_bytes(_OBJ_LIBRARY.sub(lambda _: b"mtllib " + library.name.encode(), mesh, count=1))
    if texture is None:
        library.write_bytes(material)
        return [path, library]
    picture = library.with_suffix(".jpg")
    library.write_bytes(_OBJ_TEXTURE.sub(lambda _: b"map_Kd " + picture.name.encode(), material, count=1))
    picture.write_bytes(texture)
    return [path, library, picture]


def write_picture_content(content: bytes, path: Path) -> Path:
    """Write a PNG picture that a server sent, in the format that the file's name ends in."""
    check_picture_name(path)
    if path.suffix.lower() == ".png":
        path.write_bytes(content)
        return path
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
        return write_picture(np.asarray(picture.convert("RGB")), path)
