"""One shard of a photo store: faces found, cut, judged and encoded by a worker, then written whole."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from inversefacenet.batch.files import write_atomically
from inversefacenet.crop import crop_face
from inversefacenet.errors import InverseFaceNetError, MissingDependencyError
from inversefacenet.image import load_photo
from inversefacenet.landmarks import FaceDetector
from training import photo_store
from training.photo_filter import PhotoFilter

Faces = Literal["largest", "all"]


@dataclass(frozen=True)
class ShardJob:
    """One shard to prepare; it travels to other processes and machines.

    Attributes:
        photos: The folder that the names are relative to.
        number: Of the shard.
        names: Its photos.
        faces: The largest face of each photo, or all.
        filter: What is kept.
        predictor: The landmark predictor's file; None for the one that is installed.
    """

    photos: Path
    number: int
    names: tuple[str, ...]
    faces: Faces
    filter: PhotoFilter
    predictor: Path | None


@dataclass(frozen=True)
class PreparedFace:
    """A good face.

    Attributes:
        number: Which of its photo, 0 being the largest.
        crop: The masked crop, encoded.
        landmarks: The 68 points in crop pixels.
        placement: Photo pixels to crop pixels: scale, x, y.
        box: The detector's, in photo pixels.
        score: The detector's.
    """

    number: int
    crop: bytes
    landmarks: Float32[np.ndarray, "68 2"]
    placement: tuple[float, float, float]
    box: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True)
class PreparedPhoto:
    """What came of a photo: good faces, or the reason why there is none.

    Attributes:
        name: Its path, relative to the folder.
        size: Height and width in pixels; zeros if it can't be read.
        faces: The good ones.
        reason: A slug, if there is none.
        message: A sentence, likewise.
    """

    name: str
    size: tuple[int, int] = (0, 0)
    faces: tuple[PreparedFace, ...] = ()
    reason: str = ""
    message: str = ""


def prepare_shard(job: ShardJob) -> list[PreparedPhoto]:
    """Find, cut, judge and encode the faces of a shard's photos; what a worker does."""
    return [_prepare_photo(job, name) for name in job.names]


def _prepare_photo(job: ShardJob, name: str) -> PreparedPhoto:
    try:
        photo = load_photo(job.photos / name)
        found = _detector(job.filter.minimum_size, job.predictor).detect(photo, faces=job.faces)
    except MissingDependencyError:
        raise
    except InverseFaceNetError as error:
        return PreparedPhoto(name, reason=error.slug, message=str(error))
    size = (photo.shape[0], photo.shape[1])
    kept, problem = [], ("", "")
    for number, face in enumerate(found):
        try:
            crop = crop_face(photo, face.landmarks)
        except InverseFaceNetError as error:
            problem = (error.slug, str(error))
            continue
        bad = job.filter.problem(face, crop.placement, *size)
        if bad is not None:
            problem = bad
            continue
        placement = (crop.placement.scale, *crop.placement.offset)
        data = photo_store.encode_crop(crop.image)
        kept.append(PreparedFace(number, data, crop.landmarks, placement, face.box, face.score))
    reason, message = ("", "") if kept else problem
    return PreparedPhoto(name, size, tuple(kept), reason, message)


@lru_cache(maxsize=1)
def _detector(minimum_size: float, predictor: Path | None) -> FaceDetector:
    """Return this process's detector; half the wanted size, so that a small face is named as one."""
    return FaceDetector(minimum_size=max(20.0, minimum_size / 2), hard_faces=False, predictor=predictor)


def write_shard(store: Path, number: int, photos: Sequence[PreparedPhoto]) -> None:
    """Write a shard, its table last: it is there whole or not at all."""
    faces = [face for photo in photos for face in photo.faces]
    owners = [photo for photo in photos for _ in photo.faces]
    data = b"".join(face.crop for face in faces)
    skipped = [(photo.name, photo.reason, photo.message) for photo in photos if not photo.faces]
    table: dict[str, Any] = {
        "landmarks": np.array([face.landmarks for face in faces], np.float32).reshape(-1, 68, 2),
        "placements": np.array([face.placement for face in faces], np.float64).reshape(-1, 3),
        "scores": np.array([face.score for face in faces], np.float32),
        "boxes": np.array([face.box for face in faces], np.float32).reshape(-1, 4),
        "photo_sizes": np.array([photo.size for photo in owners], np.int32).reshape(-1, 2),
        "face_index": np.array([face.number for face in faces], np.int32),
        "names": np.array([photo.name for photo in owners], np.str_),
        "offsets": np.cumsum([0, *(len(face.crop) for face in faces)], dtype=np.int64),
        "skipped": np.array(skipped, np.str_).reshape(-1, 3),
        "crops_sha256": np.array(hashlib.sha256(data).hexdigest()),
    }
    crops, path = photo_store.shard_paths(store, number)
    write_atomically(crops, data)
    buffer = io.BytesIO()
    np.savez(buffer, **table)
    write_atomically(path, buffer.getvalue())
