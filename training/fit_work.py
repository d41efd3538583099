"""What a worker of `training.fit_photos` does: crops from a store or a folder, network, fit, measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from inversefacenet.backends import InferenceBackend
from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.camera import Placement
from inversefacenet.crop import FaceCrop, crop_face
from inversefacenet.errors import InverseFaceNetError
from inversefacenet.fitting import FitOptions, fit
from inversefacenet.image import load_photo
from inversefacenet.landmarks import FaceDetector
from inversefacenet.metrics import measure
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from training.photo_store import PhotoStore

MEASURES = ("photometric", "photometric_visible", "iou", "landmark")
"""What is kept of the quality, before and after."""


@runtime_checkable
class Source(Protocol):
    """Where faces come from."""

    def crops(self, item: int) -> list[FaceCrop]:
        """Return the faces of an item; raises the library's errors if there is none."""
        ...


@dataclass(frozen=True)
class StoredFaces:
    """Faces of a photo store: an item is a face."""

    store: PhotoStore

    def crops(self, item: int) -> list[FaceCrop]:
        """Return the one face."""
        image, mask = self.store.crops([item])[0], self.store.masks([item])[0]
        return [FaceCrop(image, image, mask, Placement(1.0, (0.0, 0.0)), self.store.landmarks[item])]


@dataclass(frozen=True)
class PhotoFaces:
    """Faces of photographs: an item is a photo, all of its faces count."""

    folder: Path
    names: Sequence[str]
    detector: FaceDetector

    def crops(self, item: int) -> list[FaceCrop]:
        """Return all faces that the detector finds."""
        photo = load_photo(self.folder / self.names[item])
        return [crop_face(photo, face.landmarks) for face in self.detector.detect(photo, faces="all")]


@dataclass(frozen=True)
class Worker:
    """Fits faces.

    Attributes:
        source: Of the crops.
        network: That says where a fit starts.
        model: The face model.
        options: Of the fit.
    """

    source: Source
    network: InferenceBackend
    model: MorphableModel
    options: FitOptions

    @classmethod
    def make(
        cls,
        store: Path | None,
        photos: Path | None,
        names: Sequence[str],
        network: Path | None,
        options: FitOptions,
    ) -> Worker:
        """Open everything that a worker needs; `store` or `photos` is given."""
        source: Source
        if store is not None:
            source = StoredFaces(PhotoStore.open(store))
        else:
            source = PhotoFaces(photos or Path(), names, FaceDetector())
        return cls(source, OnnxBackend(network, threads=1), MorphableModel.load_default(), options)

    def table(self, items: Sequence[int]) -> dict[str, np.ndarray]:
        """Fit the faces of some items, and return a row of each array per face."""
        rows: list[dict[str, Any]] = []
        failed: list[tuple[int, str]] = []
        for item in items:
            try:
                rows += self._fit(item)
            except InverseFaceNetError as error:
                failed.append((item, error.slug))
        columns: dict[str, np.ndarray] = {
            "theta": np.array([row["theta"] for row in rows], np.float32).reshape(-1, 350),
            "start": np.array([row["start"] for row in rows], np.float32).reshape(-1, 350),
            "failed": np.array([item for item, _ in failed], np.int64),
            "reason": np.array([reason for _, reason in failed], "U64"),
        }
        for name in ("index", "face", "iterations"):
            columns[name] = np.array([row[name] for row in rows], np.int64)
        for name in MEASURES:
            for when in (name, f"start_{name}"):
                columns[when] = np.array([row[when] for row in rows], np.float32)
        return columns

    def _fit(self, item: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        crops = self.source.crops(item)
        starts = self.network.infer(np.stack([crop.image for crop in crops]))
        for number, (crop, theta) in enumerate(zip(crops, starts, strict=True)):
            start = Parameters.from_vector(theta)
            found = fit(self.model, crop, start, self.options)
            row: dict[str, Any] = {
                "theta": found.parameters.vector(),
                "start": theta,
                "index": item,
                "face": number,
            }
            row["iterations"] = found.iterations
            for prefix, parameters in (("start_", start), ("", found.parameters)):
                quality = measure(crop, render(self.model, parameters)).to_dict()
                row |= {prefix + name: quality[name] for name in MEASURES}
            rows.append(row)
        return rows


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Read what `table` returned from a file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
