"""Edits the faces of a photo, and collects what is answered about it; runs in the workers."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from inversefacenet.image import encode_jpeg, encode_png
from inversefacenet.parameters import Parameters
from inversefacenet.stages import stage
from services.gateway.answers import FaceResult, File, answer_face
from services.gateway.deadline import Deadline
from services.gateway.edit_schemas import EditOptions, ExpressionUnit
from services.gateway.jobs import EditJob, Output
from services.gateway.schemas import ModelInfo, PictureFormat

if TYPE_CHECKING:
    from inversefacenet.editing import Edit
    from inversefacenet.morphable_model import MorphableModel
    from inversefacenet.reconstruction import Reconstruction


@dataclass(frozen=True)
class EditedFace:
    """One edited face.

    Attributes:
        found: The face as it was reconstructed.
        parameters: The face as it was edited.
    """

    found: FaceResult
    parameters: Parameters


@dataclass
class EditedPhoto:
    """What is answered about a photo that was edited.

    Attributes:
        id: Names this answer.
        model: What reconstructed the faces.
        size: Width and height of the upright photo in pixels.
        faces: At least one, largest first.
        picture: The whole photo, edited.
        truncated: There are more faces than the service's limit; the smallest are left as they are.
        timings_ms: Milliseconds by stage.
    """

    id: str
    model: ModelInfo
    size: tuple[int, int]
    faces: list[EditedFace]
    picture: File
    truncated: bool = False
    timings_ms: dict[str, float] = field(default_factory=dict)


def check_edits(model: MorphableModel, job: EditJob) -> None:
    """Refuse edits that can't be used, before anything is done for them.

    Raises:
        EditError: If one can't.
    """
    _edits(model, job, {name: Parameters.neutral() for name in job.others})


def answer_edit(
    image: UInt8[np.ndarray, "height width 3"],
    reconstructions: Sequence[Reconstruction],
    others: Mapping[str, Parameters],
    job: EditJob,
    model: ModelInfo,
    *,
    truncated: bool = False,
    deadline: Deadline | None = None,
) -> EditedPhoto:
    """Edit the faces of a photo.

    Args:
        image: The photo.
        reconstructions: Its faces, largest first; all get the same edits.
        others: What was reconstructed of the other photos.
        job: What is wanted.
        model: What reconstructed the faces.
        truncated: More faces were found than are given here.
        deadline: Until when; it is looked at before each face.

    Raises:
        EditError: If an edit can't be used.
        DeadlineError: If the time runs out.
    """
    from inversefacenet.editing import PhotoEditor, apply_edits

    face_model = reconstructions[0].model
    edits = _edits(face_model, job, others)
    picture, faces = image, []
    with stage("edit"):
        for number, reconstruction in enumerate(reconstructions):
            if deadline is not None:
                deadline.check()
            picture = PhotoEditor(picture, reconstruction).edit(edits)
            edited = apply_edits(face_model, reconstruction.parameters, edits)
            faces.append(EditedFace(answer_face(reconstruction, Output(), number), edited))
    file = _picture(picture, job.photo.output.picture_format)
    size = (image.shape[1], image.shape[0])
    return EditedPhoto(uuid.uuid4().hex, model, size, faces, file, truncated)


def _edits(model: MorphableModel, job: EditJob, found: Mapping[str, Parameters]) -> tuple[Edit, ...]:
    from inversefacenet.editing import parse_edits

    given = {name: other for name, other in job.others.items() if isinstance(other, Parameters)}
    return parse_edits(job.edits, model, {**found, **given})


def _picture(pixels: UInt8[np.ndarray, "height width 3"], form: PictureFormat) -> File:
    with stage("encode"):
        content = encode_jpeg(pixels) if form == "jpeg" else encode_png(pixels)
    return File(f"edited.{form}", content, f"image/{form}", form, (pixels.shape[1], pixels.shape[0]))


def edit_options(model: MorphableModel) -> EditOptions:
    """Return what edits may name."""
    from inversefacenet.editing import light_names

    return EditOptions(
        lights=list(light_names()),
        units=[
            ExpressionUnit(name=name, description=unit_in_words(name), minimum=0.0, maximum=1.0)
            for name in model.unit_names
        ],
    )


def unit_in_words(name: str) -> str:
    """Say what a unit does: its name holds the part of the face, the action, and the face's own side."""
    plain = name.removeprefix("mh:").replace("-", " ")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain).lower().split()
    sides = [word for word in words if word in ("left", "right")]
    moves = words[-1] in sides and words[0] in ("mouth", "jaw") and len(words) == 2
    if not sides or moves:
        return " ".join(words)
    rest = " ".join(word for word in words if word not in sides)
    return f"{rest}, on the face's own {sides[0]}"
