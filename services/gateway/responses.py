"""What workers have written, as HTTP answers."""

from __future__ import annotations

import math
from typing import Final

from fastapi import Response

from services.gateway.jobs import Answered, Form
from services.gateway.negotiation import Offer

VARY: Final = {"Vary": "Accept"}
_ENDINGS: Final = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "model/gltf-binary": "glb",
    "application/zip": "obj.zip",
    "application/ply": "ply",
}
_FILE_FORMS: Final = (Form.MESH, Form.PICTURE)


def answer_response(answered: Answered, offer: Offer, media_type: str) -> Response:
    """Return the answer about a photo.

    A file alone has no place for the quality of its face, so headers tell it.

    Args:
        answered: What the worker has written.
        offer: The form that was chosen.
        media_type: What the caller calls it.
    """
    if offer.form is Form.MULTIPART:
        return Response(answered.content, media_type=answered.media_type, headers=VARY)
    if offer.form not in _FILE_FORMS:
        return Response(answered.content, media_type=media_type, headers=VARY)
    response = file_response(answered, media_type)
    for measure in answered.measures[:1]:
        values = {
            "Photometric": measure.photometric,
            "IoU": measure.iou,
            "NME": measure.landmark,
            "Confidence": measure.confidence,
        }
        for name, value in values.items():
            if not math.isnan(value):
                response.headers[f"X-Quality-{name}"] = f"{value:.6g}"
    return response


def file_response(answered: Answered, media_type: str) -> Response:
    """Return one file alone."""
    headers = VARY | {"Content-Disposition": f'inline; filename="face.{_ENDINGS[media_type]}"'}
    return Response(answered.content, media_type=media_type, headers=headers)
