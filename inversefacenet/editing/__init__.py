"""Edits of a face: light, pose, expression, identity and skin, composed and applied to the photo itself.

An edit changes parameters (`edits`), has a plain form for JSON (`spec`), and is composited into the uncropped
photo with the photo's own detail kept (`photo_editor`).
"""

from inversefacenet.editing.edits import Edit, Expression, Identity, Mix, Neutral, Other, Pose, Relight, Skin
from inversefacenet.editing.lights import LIGHTS, Light, directional_light, light_names
from inversefacenet.editing.photo_editor import PhotoEditor
from inversefacenet.editing.sequence import apply_edits
from inversefacenet.editing.spec import edits_to_data, parse_edits

__all__ = [
    "LIGHTS",
    "Edit",
    "Expression",
    "Identity",
    "Light",
    "Mix",
    "Neutral",
    "Other",
    "PhotoEditor",
    "Pose",
    "Relight",
    "Skin",
    "apply_edits",
    "directional_light",
    "edits_to_data",
    "light_names",
    "parse_edits",
]
