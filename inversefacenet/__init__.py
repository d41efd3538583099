"""InverseFaceNet: a face's pose, shape, expression, skin reflectance and light from one photograph.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inversefacenet.errors import InverseFaceNetError
    from inversefacenet.image import decode_photo, load_photo
    from inversefacenet.morphable_model import MorphableModel
    from inversefacenet.parameters import Parameters
    from inversefacenet.reconstruction import Reconstruction, Reconstructor
    from inversefacenet.rendering import Rendering, render

__version__ = "0.1.0"

_HOMES = {
    "InverseFaceNetError": "errors",
    "MorphableModel": "morphable_model",
    "Parameters": "parameters",
    "Reconstruction": "reconstruction",
    "Reconstructor": "reconstruction",
    "Rendering": "rendering",
    "decode_photo": "image",
    "load_photo": "image",
    "render": "rendering",
}

__all__ = [
    "InverseFaceNetError",
    "MorphableModel",
    "Parameters",
    "Reconstruction",
    "Reconstructor",
    "Rendering",
    "decode_photo",
    "load_photo",
    "render",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'inversefacenet' has no attribute '{name}'")
    return getattr(import_module(f"inversefacenet.{_HOMES[name]}"), name)
