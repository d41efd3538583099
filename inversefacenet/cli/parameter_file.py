"""The parameter file: what `reconstruct` and `sample` write and `render` reads.

It is JSON. ``parameters`` holds the groups by name (`inversefacenet.parameters`); a group that is left
out takes its neutral value. A file written by hand may hold the groups at the top, and rig units
instead of expression coefficients::

    {"rotation": [0.3, 0, 0], "units": {"jawOpen": 0.4}}
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inversefacenet import __version__
from inversefacenet.errors import ParameterError

if TYPE_CHECKING:
    from inversefacenet.backends import InferenceBackend
    from inversefacenet.camera import Placement
    from inversefacenet.morphable_model import MorphableModel
    from inversefacenet.parameters import Parameters
    from inversefacenet.reconstruction import Reconstruction

FORMAT_VERSION: Final = 1
_NUMBER_LIST: Final = re.compile(r"\[\s+([^\[\]{}]*?)\s+\]")


def parameter_document(parameters: Parameters, model: MorphableModel) -> dict[str, Any]:
    """Return the part that all parameter files have."""
    return {
        "format_version": FORMAT_VERSION,
        "software": f"inversefacenet {__version__}",
        "face_model": {"name": model.name, "digest": model.digest},
        "parameters": parameters.to_dict(),
    }


def reconstruction_document(
    reconstruction: Reconstruction,
    backend: InferenceBackend,
    photo: Mapping[str, Any],
    index: int,
    count: int,
) -> dict[str, Any]:
    """Return all that is known of a reconstructed face, and of how good it was if it is refined.

    Coordinates are continuous pixels of the upright photo, x right and y down.

    Args:
        reconstruction: The face.
        backend: Where the network ran.
        photo: The photo's name, width and height.
        index: The face's number, from 1, by size.
        count: How many faces of the photo were reconstructed.
    """
    from inversefacenet.confidence import quality_block

    face, rendering, before = reconstruction.face, reconstruction.rendering, reconstruction.before
    document = parameter_document(reconstruction.parameters, reconstruction.model) | {
        "network": {"backend": backend.name, "digest": backend.digest},
        "photo": dict(photo),
        "face": {
            "index": index,
            "count": count,
            "box": [float(side) for side in face.box],
            "score": float(face.score),
            "landmarks68": reconstruction.face.landmarks.tolist(),
            "model_landmarks68": reconstruction.photo_landmarks().tolist(),
        },
        "placement": {
            "photo": _placement(reconstruction.photo_placement),
            "crop": _placement(rendering.placement),
            "photo_to_crop": _placement(reconstruction.crop.placement),
        },
        "quality": reconstruction.assessment(),
    }
    if before is not None:
        document["quality_before"] = quality_block(before, reconstruction.confidence)
    return document


def qualities_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parameter file's quality, and the one from before if it is refined."""
    return {name: document[name] for name in ("quality", "quality_before") if name in document}


def write_document(document: Mapping[str, Any], path: Path) -> Path:
    """Write a parameter file with a list of numbers on one line, and return the path."""
    text = json.dumps(document, indent=2, allow_nan=False)
    path.write_text(_NUMBER_LIST.sub(_on_one_line, text) + "\n", encoding="utf-8")
    return path


def read_parameters(path: Path, model: MorphableModel) -> Parameters:
    """Read a face's parameters.

    Args:
        path: A parameter file.
        model: The face model that is to give the parameters their meaning.

    Raises:
        ParameterError: If the file isn't such a file, or belongs to another face model.
        OSError: If it can't be read.
    """
    from inversefacenet.parameters import Parameters

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ParameterError(f"{path} is no JSON file: {error}.") from error
    if not isinstance(document, dict):
        raise ParameterError(f"{path} must hold a JSON object, such as {{'rotation': [0.3, 0, 0]}}.")
    _check_face_model(document, model)
    groups = document.get("parameters")
    if groups is None:
        groups = {name: value for name, value in document.items() if name != "face_model"}
    elif "units" in document and isinstance(groups, dict):
        groups = groups | {"units": document["units"]}
    if not isinstance(groups, dict):
        raise ParameterError(f"'parameters' of {path} must be an object of groups by name.")
    if "units" in groups:
        if "expression" in groups:
            raise ParameterError("A face has 'expression' or 'units', not both: leave one of them out.")
        expression = model.expression_from_units(_units(groups["units"]))
        groups = {name: value for name, value in groups.items() if name != "units"}
        groups["expression"] = expression.tolist()
    return Parameters.from_dict(groups)


def _check_face_model(document: Mapping[str, Any], model: MorphableModel) -> None:
    made_with = document.get("face_model")
    if made_with is None:
        return
    digest = made_with.get("digest") if isinstance(made_with, dict) else None
    if digest != model.digest:
        name = made_with.get("name") if isinstance(made_with, dict) else made_with
        raise ParameterError(
            f"The parameters belong to face model '{name}' ({str(digest)[:12]}), not to '{model.name}' "
            f"({model.digest[:12]}): name its file with --face-model, or take 'face_model' out of the file "
            "to render them with this one anyway."
        )


def _units(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ParameterError("'units' must be weights by name, such as {'jawOpen': 0.4}.")
    for name, weight in value.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight):
            raise ParameterError(f"The weight of unit '{name}' must be a finite number.")
    return {name: float(weight) for name, weight in value.items()}


def _placement(placement: Placement) -> dict[str, Any]:
    return {"scale": float(placement.scale), "offset": [float(value) for value in placement.offset]}


def _on_one_line(match: re.Match[str]) -> str:
    return "[" + " ".join(match.group(1).split()) + "]"
