"""What a server answers over REST, as trees of JSON or msgpack, read into results."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from inversefacenet.client.errors import UnexpectedAnswerError
from inversefacenet.client.results import (
    FaceModel,
    FaceQuality,
    File,
    Model,
    Placement,
    ReconstructedFace,
    ReconstructionResult,
)
from inversefacenet.errors import InverseFaceNetError
from inversefacenet.parameters import Parameters


def reconstruction_of(tree: Any, request_id: str = "") -> ReconstructionResult:
    """Read the faces of a photo.

    Raises:
        UnexpectedAnswerError: If there are none, or something is missing.
    """
    try:
        image = tree["image"]
        result = ReconstructionResult(
            id=str(tree["id"]),
            model=model_of(tree["model"]),
            width=int(image["width"]),
            height=int(image["height"]),
            faces=tuple(_face(face) for face in tree["faces"]),
            truncated=bool(tree.get("truncated", False)),
            overlay=file_of(tree.get("overlay")),
            timings_ms={str(name): float(value) for name, value in tree.get("timings_ms", {}).items()},
            request_id=request_id,
        )
    except (AttributeError, KeyError, TypeError, ValueError, InverseFaceNetError) as error:
        raise unreadable(error) from error
    if not result.faces:
        raise UnexpectedAnswerError("The server's answer holds no face.")
    return result


def model_of(tree: Any) -> Model:
    """Read what is known of a network.

    Raises:
        UnexpectedAnswerError: If something is missing.
    """
    try:
        face_model = tree["face_model"]
        return Model(
            name=str(tree["name"]),
            version=str(tree.get("version", "")),
            digest=str(tree["digest"]),
            backend=str(tree.get("backend", "")),
            face_model=FaceModel(str(face_model["name"]), str(face_model["digest"])),
            confidence_calibrated=bool(tree.get("confidence_calibrated", False)),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise unreadable(error) from error


def _face(tree: Mapping[str, Any]) -> ReconstructedFace:
    placement, score = tree["placement"], tree.get("score")
    before = tree.get("quality_before")
    pictures = tree.get("pictures") or {}
    return ReconstructedFace(
        box=box_of(tree["box"]),
        score=None if score is None else float(score),
        parameters=Parameters.from_dict(tree["parameters"]),
        placement=Placement(
            camera_distance=float(placement["camera_distance"]),
            scale=float(placement["scale"]),
            offset=_pair(placement["offset"]),
            crop_scale=float(placement["crop_scale"]),
            crop_offset=_pair(placement["crop_offset"]),
        ),
        quality=quality_of(tree["quality"]),
        quality_before=None if before is None else quality_of(before),
        landmarks=_landmarks(tree.get("landmarks68")),
        mesh=file_of(tree.get("mesh")),
        rendering=file_of(pictures.get("rendering")),
        contours=file_of(pictures.get("contours")),
    )


def box_of(box: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Read a box in photo pixels."""
    return float(box["left"]), float(box["top"]), float(box["right"]), float(box["bottom"])


def quality_of(tree: Mapping[str, Any]) -> FaceQuality:
    """Read the measures of a face."""
    landmark, nme, confidence = tree.get("landmark"), tree.get("nme"), tree.get("confidence")
    return FaceQuality(
        photometric=float(tree["photometric"]),
        photometric_visible=float(tree["photometric_visible"]),
        iou=float(tree["iou"]),
        iou_hull=float(tree["iou_hull"]),
        landmark=None if landmark is None else float(landmark),
        nme=None if nme is None else float(nme),
        confidence=None if confidence is None else float(confidence),
        verdict=tree.get("verdict"),
    )


def _landmarks(tree: Any) -> Any:
    return None if tree is None else np.array(tree, np.float32).reshape(68, 2)


def _pair(tree: Any) -> tuple[float, float]:
    x, y = tree
    return float(x), float(y)


def file_of(tree: Any) -> File | None:
    """Read a file; None where there is none."""
    if tree is None:
        return None
    # msgpack carries bytes as they are, JSON as base64.
    content = tree["content"] if "content" in tree else base64.b64decode(tree["base64"], validate=True)
    return File(bytes(content), str(tree["media_type"]))


def unreadable(error: Exception) -> UnexpectedAnswerError:
    """Return the error of an answer that lacks something."""
    what = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else str(error)
    return UnexpectedAnswerError(f"The server's answer can't be read: {what}.")
