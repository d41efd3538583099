"""What a worker does: photos in, rows out. Whatever a photo does to us becomes a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.batch.engines import CRASHED
from inversefacenet.confidence import quality_block
from inversefacenet.errors import BackendError, FaceModelError, InverseFaceNetError, MissingDependencyError
from inversefacenet.image import load_photo
from inversefacenet.landmarks import FaceDetector
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.reconstruction import FoundFace, Reconstruction, Reconstructor

Row = dict[str, Any]

FACES_AT_ONCE: Final = 16
"""Faces of one pass of the network; bounds what a worker holds, whatever a photo shows."""

# These tell of the installation, not of a photo: a table full of them would help nobody.
_NOT_THE_PHOTO: Final = (MissingDependencyError, BackendError, FaceModelError)


@dataclass(frozen=True)
class Setup:
    """What every worker of a run works with.

    Attributes:
        network: The network's file.
        network_digest: SHA-256 that it must have, on whatever machine.
        face_model: The face model's file; None for the one that ships.
        face_model_digest: What it must have.
        predictor: The landmark predictor's file, or `dlib_models.OPEN`; None for the one that is installed.
        faces: The largest face of each photo, or all.
        refine: Most steps in which each face is refined.
    """

    network: Path
    network_digest: str
    face_model: Path | None
    face_model_digest: str
    predictor: Path | None
    faces: Literal["largest", "all"]
    refine: int = 0


@lru_cache(maxsize=1)
def reconstructor(setup: Setup) -> Reconstructor:
    """Load what a worker needs; kept for its next chunk.

    Raises:
        BackendError: The network is missing, or another than the run's.
        FaceModelError: Likewise the face model.
        MissingDependencyError: dlib or ONNX Runtime isn't installed.
        InputError: The landmark predictor can't be read.
    """
    backend = OnnxBackend(setup.network, threads=1)
    if backend.digest != setup.network_digest:
        raise BackendError(f"{setup.network} is another network than when the run began.")
    model = MorphableModel.load(setup.face_model) if setup.face_model else MorphableModel.load_default()
    if model.digest != setup.face_model_digest:
        raise FaceModelError("The face model is another one than when the run began.")
    detector = FaceDetector(predictor=setup.predictor)
    detector.load()
    return Reconstructor(detector, backend, model)


def work(setup: Setup, photos: tuple[str, ...]) -> list[Row]:
    """Reconstruct the faces of photos.

    Returns:
        A row for each face, photo after photo, largest face first; for a photo without one, a row that names
        the problem.

    Raises:
        MissingDependencyError: The installation lacks something.
        BackendError: The network doesn't answer.
        FaceModelError: The face model can't be read.
    """
    pipeline = reconstructor(setup)
    rows: list[Row] = []
    pending: list[tuple[Row, FoundFace]] = []
    for photo in photos:
        for row, found in _find(pipeline, setup, photo):
            rows.append(row)
            if found is not None:
                pending.append((row, found))
            if len(pending) == FACES_AT_ONCE:
                _answer(pipeline, setup, pending)
                pending = []
    _answer(pipeline, setup, pending)
    return rows


def _find(pipeline: Reconstructor, setup: Setup, photo: str) -> Iterator[tuple[Row, FoundFace | None]]:
    """Yield a row for each face of a photo, or one that says why there is none."""
    size: Row = {}
    try:
        image = load_photo(photo)
        size = {"width": image.shape[1], "height": image.shape[0]}
        faces = pipeline.find(image, setup.faces)
    except _NOT_THE_PHOTO:
        raise
    except Exception as error:  # One photo of a million must not end the run, whatever it is.
        yield failure(photo, *_problem(error)) | size, None
        return
    for number, found in enumerate(faces, start=1):
        yield (
            {
                "photo": photo,
                "face": number,
                "faces": len(faces),
                "problem": None,
                "message": None,
                **size,
                "box": [float(edge) for edge in found.face.box],
                "score": float(found.face.score),
            },
            found,
        )


def _answer(pipeline: Reconstructor, setup: Setup, pending: list[tuple[Row, FoundFace]]) -> None:
    """Complete rows by what the network answers."""
    if not pending:
        return
    found = [one for _, one in pending]
    for (row, face), theta in zip(pending, pipeline.infer(found), strict=True):
        try:
            (reconstruction,) = pipeline.finish([face], theta[None])
            if setup.refine:
                reconstruction = pipeline.refine(reconstruction, setup.refine)
            row.update(_answers(reconstruction))
        except Exception as error:  # see _find
            row.update(failure(row["photo"], *_problem(error)) | {"face": row["face"], "faces": row["faces"]})


def _answers(reconstruction: Reconstruction) -> Row:
    placement, before = reconstruction.photo_placement, reconstruction.before
    answers: Row = {
        "placement": [float(placement.scale), *(float(value) for value in placement.offset)],
        "parameters": reconstruction.parameters.vector(),
        "quality": reconstruction.assessment(),
    }
    if before is not None:
        answers["quality_before"] = quality_block(before, reconstruction.confidence)
    return answers


def failure(photo: str, problem: str, message: str) -> Row:
    """Return the row of a photo that gave no face."""
    empty = dict.fromkeys(("width", "height", "box", "score", "placement", "parameters", "quality"))
    return {"photo": photo, "face": None, "faces": 0, "problem": problem, "message": message} | empty


def crashed(photos: tuple[str, ...]) -> list[Row]:
    """Return the rows of photos that took every worker with them."""
    return [failure(photo, CRASHED, "Each process that read this photo died of it.") for photo in photos]


def _problem(error: Exception) -> tuple[str, str]:
    if isinstance(error, InverseFaceNetError):
        return error.slug, str(error)
    return "internal", f"{type(error).__name__}: {error}"
