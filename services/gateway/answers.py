"""Turns reconstructions into the answer of `schemas`; runs in a worker, for it encodes pictures."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Set
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from inversefacenet.camera import CAMERA_DISTANCE
from inversefacenet.image import encode_png
from services.gateway.schemas import (
    Box,
    FaceAnswer,
    FaceParameters,
    FacePictures,
    FaceQuality,
    ImageInfo,
    Mesh,
    ModelInfo,
    Part,
    PhotoPlacement,
    Picture,
    ReconstructionAnswer,
)

if TYPE_CHECKING:
    from inversefacenet.reconstruction import Reconstruction

_FACE_PICTURES = frozenset({Part.RENDERING, Part.CONTOURS})


def answer_faces(
    image: UInt8[np.ndarray, "height width 3"],
    reconstructions: list[Reconstruction],
    model: ModelInfo,
    parts: Set[Part],
) -> ReconstructionAnswer:
    """Build the answer for one photo, without its timings.

    Args:
        image: The decoded photo.
        reconstructions: Its faces, largest first.
        model: What made them.
        parts: What the caller wants to have.
    """
    from inversefacenet.visualisation import overlay

    height, width = image.shape[:2]
    return ReconstructionAnswer(
        id=uuid.uuid4().hex,
        model=model,
        image=ImageInfo(width=width, height=height),
        faces=[_answer_face(reconstruction, parts) for reconstruction in reconstructions],
        overlay=_picture(overlay(image, reconstructions)) if Part.OVERLAY in parts else None,
        timings_ms={},
    )


def _answer_face(reconstruction: Reconstruction, parts: Set[Part]) -> FaceAnswer:
    face, crop = reconstruction.face, reconstruction.crop
    left, top, right, bottom = (float(edge) for edge in face.box)
    placement = reconstruction.photo_placement
    parameters = reconstruction.parameters
    return FaceAnswer(
        box=Box(left=left, top=top, right=right, bottom=bottom),
        score=float(face.score),
        landmarks68=_short(face.landmarks),
        parameters=FaceParameters(
            rotation=_short(parameters.rotation),
            shape=_short(parameters.shape),
            expression=_short(parameters.expression),
            reflectance=_short(parameters.reflectance),
            illumination=_short(parameters.illumination),
        ),
        placement=PhotoPlacement(
            camera_distance=CAMERA_DISTANCE,
            scale=float(placement.scale),
            offset=[float(value) for value in placement.offset],
            crop_scale=float(crop.placement.scale),
            crop_offset=[float(value) for value in crop.placement.offset],
        ),
        quality=FaceQuality(**reconstruction.quality.to_dict()),
        mesh=_mesh(reconstruction) if Part.MESH in parts else None,
        pictures=_pictures(reconstruction, parts) if parts & _FACE_PICTURES else None,
    )


def _mesh(reconstruction: Reconstruction) -> Mesh:
    from inversefacenet.export import mesh_of, mesh_to_bytes

    return Mesh(base64=_base64(mesh_to_bytes(mesh_of(reconstruction), "glb")))


def _pictures(reconstruction: Reconstruction, parts: Set[Part]) -> FacePictures:
    from inversefacenet.visualisation import PICTURE_SIZE, contour_picture, face_picture

    pictures = FacePictures()
    if Part.RENDERING in parts:
        rendering = face_picture(reconstruction.model, reconstruction.parameters, PICTURE_SIZE)
        pictures.rendering = _picture(rendering)
    if Part.CONTOURS in parts:
        pictures.contours = _picture(contour_picture(reconstruction))
    return pictures


def _picture(pixels: UInt8[np.ndarray, "height width 3"]) -> Picture:
    return Picture(width=pixels.shape[1], height=pixels.shape[0], base64=_base64(encode_png(pixels)))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _short(values: Float[np.ndarray, "..."]) -> Any:
    """Return nested lists of the shortest decimals that read back as the same float32 numbers."""
    single = np.asarray(values, np.float32)
    if single.ndim > 1:
        return [_short(row) for row in single]
    return [float(str(value)) for value in single]
