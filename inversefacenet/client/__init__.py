"""A client of the service, over REST or gRPC, with the same methods and the same results for both.

In short::

    from pathlib import Path

    from inversefacenet.client import Client

    with Client("http://127.0.0.1:8000") as client:
        result = client.reconstruct(Path("examples/astronaut.png"), parts=["mesh"])
        (face,) = result.faces
        print(face.parameters.rotation, face.quality.photometric)
        Path("face.glb").write_bytes(face.mesh.content)

Nothing of what finds or draws faces is loaded for it. Addresses with http need the extra `client`, those with
grpc the extra `grpc`.
"""

from __future__ import annotations

from inversefacenet.client.address import Tls
from inversefacenet.client.async_client import AsyncClient
from inversefacenet.client.edits import EditedFace, EditOptions, EditResult, EditSettings, ExpressionUnit
from inversefacenet.client.errors import (
    ConnectionSettingsError,
    ServerError,
    ServiceUnavailableError,
    UnexpectedAnswerError,
)
from inversefacenet.client.requests import Photo, PhotoOptions
from inversefacenet.client.results import (
    FaceModel,
    FaceQuality,
    File,
    Model,
    Placement,
    ReconstructedFace,
    ReconstructionResult,
)
from inversefacenet.client.sync_client import Client
from inversefacenet.client.tracking import Frame, FrameAnswer

__all__ = [
    "AsyncClient",
    "Client",
    "ConnectionSettingsError",
    "EditOptions",
    "EditResult",
    "EditSettings",
    "EditedFace",
    "ExpressionUnit",
    "FaceModel",
    "FaceQuality",
    "File",
    "Frame",
    "FrameAnswer",
    "Model",
    "Photo",
    "PhotoOptions",
    "Placement",
    "ReconstructedFace",
    "ReconstructionResult",
    "ServerError",
    "ServiceUnavailableError",
    "Tls",
    "UnexpectedAnswerError",
]
