"""What a server's answers become; the same for both protocols.

Photo coordinates are continuous pixels of the upright photo, x right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

from inversefacenet.parameters import Parameters
from inversefacenet.verdicts import Verdict


@dataclass(frozen=True)
class FaceModel:
    """The face model that gives the parameters their meaning.

    Attributes:
        name: Its name.
        digest: SHA-256 of its file.
    """

    name: str
    digest: str


@dataclass(frozen=True)
class Model:
    """A network that answers at the server.

    Attributes:
        name: Its name there.
        version: Its version; empty if it has none.
        digest: SHA-256 of its file.
        backend: What runs it.
        face_model: What its numbers mean.
        confidence_calibrated: The confidence in its answers was calibrated for it and this face model.
    """

    name: str
    version: str
    digest: str
    backend: str
    face_model: FaceModel
    confidence_calibrated: bool = False


@dataclass(frozen=True)
class File:
    """A file that belongs to an answer.

    Attributes:
        content: Its bytes.
        media_type: `image/png`, `model/gltf-binary`, `application/ply`; `application/zip` for OBJ with MTL.
    """

    content: bytes = field(repr=False)
    media_type: str


@dataclass(frozen=True)
class Placement:
    """Where a face lies in the photo.

    A vertex (x, y, z), rotated, in millimetres, projects to x / (d - z), -y / (d - z) with d the camera's
    distance; `scale` and `offset` take that to photo pixels.

    Attributes:
        camera_distance: Millimetres from the pinhole to the model's origin.
        scale: Photo pixels per unit of the image plane.
        offset: Photo pixel of the optical axis.
        crop_scale: Pixels of the 240x240 crop per photo pixel.
        crop_offset: crop = crop_scale * photo + crop_offset, in crop pixels.
    """

    camera_distance: float
    scale: float
    offset: tuple[float, float]
    crop_scale: float
    crop_offset: tuple[float, float]


@dataclass(frozen=True)
class FaceQuality:
    """How well a reconstruction explains the photo: look at it before trusting the answer.

    Attributes:
        photometric: RMSE in 8-bit sRGB steps over the face mask; uncovered pixels count as black.
        photometric_visible: The same over the pixels that the mesh covers.
        iou: Intersection over union of the photo's face mask and the model's.
        iou_hull: The same of the two landmark polygons.
        landmark: Mean distance of the 66 landmarks in crop pixels; None where the photo's are not known.
        nme: `landmark` over the distance of the outer eye corners; None likewise.
        confidence: Probability that the reconstruction is usable; None likewise.
        verdict: The confidence in a word, "good", "doubtful" or "failed"; None likewise.
    """

    photometric: float
    photometric_visible: float
    iou: float
    iou_hull: float
    landmark: float | None = None
    nme: float | None = None
    confidence: float | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, eq=False)
class ReconstructedFace:
    """One face of a photo.

    Attributes:
        box: Left, top, right, bottom in photo pixels; it may reach past the photo.
        score: The detector's confidence; None where it wasn't asked.
        parameters: The 350 numbers by name.
        placement: Where the face lies in the photo.
        quality: How well all this explains the photo.
        landmarks: The 68 points in iBUG order in photo pixels; None where nobody knows them.
        mesh: If asked for.
        rendering: The face as the parameters draw it, placed as in the crop; if asked for.
        contours: The crop with the outlines of photo (red) and model (green); if asked for.
        quality_before: The quality of the network's own answer; if this one is refined.
    """

    box: tuple[float, float, float, float]
    score: float | None
    parameters: Parameters
    placement: Placement
    quality: FaceQuality
    landmarks: Float32[np.ndarray, "68 2"] | None = None
    mesh: File | None = None
    rendering: File | None = None
    contours: File | None = None
    quality_before: FaceQuality | None = None


@dataclass(frozen=True, eq=False)
class ReconstructionResult:
    """The faces of a photo.

    Attributes:
        id: Names this reconstruction.
        model: What made it.
        width: Of the upright photo, in pixels.
        height: Likewise.
        faces: Largest first; never empty.
        truncated: There are more faces than the server's limit; the smallest were left out.
        overlay: These faces drawn over the whole photo; if asked for.
        timings_ms: The server's milliseconds by stage.
        request_id: Names the request in the server's log.
    """

    id: str
    model: Model
    width: int
    height: int
    faces: tuple[ReconstructedFace, ...]
    truncated: bool = False
    overlay: File | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    request_id: str = ""
