"""What a visitor takes home: the edited photo, the head as a mesh, the parameters."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from inversefacenet import __version__
from inversefacenet.editing import edits_to_data
from inversefacenet.export import mesh_of, mesh_to_bytes
from inversefacenet.image import encode_png
from inversefacenet.rendering import render
from services.studio.head import atlas_of
from services.studio.look import Look
from services.studio.portrait import Portrait

MEDIA_TYPES: Final = {
    "photo.png": "image/png",
    "face.glb": "model/gltf-binary",
    "face.json": "application/json",
}


def download(portrait: Portrait, look: Look, name: str) -> bytes:
    """Return a file's content.

    Args:
        portrait: The photo.
        look: How the face is to look.
        name: One of `MEDIA_TYPES`.

    Raises:
        EditError: If an edit of the look is none.
    """
    if name == "photo.png":
        return encode_png(portrait.edited_photo(portrait.resolve(look)[1]))
    return _mesh(portrait, look) if name == "face.glb" else _parameters(portrait, look)


def _mesh(portrait: Portrait, look: Look) -> bytes:
    """Return the edited head with the edited photo's own texture, where the face model has an atlas."""
    _, parameters = portrait.resolve(look)
    old = portrait.reconstruction
    edited = replace(
        old,
        parameters=parameters,
        rendering=render(old.model, parameters, placement=old.rendering.placement),
    )
    if atlas_of(old.model) is None:
        return mesh_to_bytes(mesh_of(edited, "model", "shaded"), "glb")
    image = portrait.edited_photo(parameters)
    return mesh_to_bytes(mesh_of(edited, "model", "photo", image), "glb")


def _parameters(portrait: Portrait, look: Look) -> bytes:
    edits, parameters = portrait.resolve(look)
    content: dict[str, Any] = {
        "generator": f"inversefacenet {__version__}",
        "face_model": {"name": portrait.model.name, "sha256": portrait.model.digest},
        "parameters": parameters.to_dict(),
        "vector": parameters.vector().tolist(),
        "photo_parameters": portrait.reconstruction.parameters.to_dict(),
        "edits": edits_to_data(edits),
        "quality": portrait.reconstruction.assessment(),
    }
    return json.dumps(content, indent=1).encode()
