"""What another predictor does to the evaluation: ``python -m training.landmark_predictor.effect``.

Every face is found once; each predictor then places and masks the crop that the network gets. The measures
are the evaluation's own; `landmark` is against the predictor's own points, `landmark_usual` is the distance
of the model's points from the usual predictor's, in pixels of the usual crop.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from inversefacenet.backends import InferenceBackend
from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.crop import FaceCrop, crop_face
from inversefacenet.errors import ImageError, InputError, InverseFaceNetError
from inversefacenet.image import load_photo
from inversefacenet.landmarks import FaceDetector
from inversefacenet.metrics import landmark_distance, measure
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import Rendering, render
from training.landmark_predictor.label_photos import SUFFIXES

MEASURES = ("photometric", "iou", "landmark", "landmark_usual")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.landmark_predictor.effect",
        description="Evaluate the network with another landmark predictor beside the usual one.",
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--predictor", type=Path, required=True)
    parser.add_argument(
        "--network", type=Path, default=Path("reference"), help="ONNX file (default: %(default)s)"
    )
    parser.add_argument("--limit", type=int, default=200, help="so many photos, spread over the folder")
    values = parser.parse_args(arguments)
    try:
        rows = effect(values.photos, values.predictor, OnnxBackend(values.network), values.limit)
    except InverseFaceNetError as error:
        print(f"effect: {error}", file=sys.stderr)
        return 1
    usual, other = rows.mean(axis=0)
    print("| predictor | " + " | ".join(MEASURES) + " |\n" + "|---" * (len(MEASURES) + 1) + "|")
    for name, figures in (("usual", usual), (values.predictor.stem, other)):
        print(f"| {name} | " + " | ".join(f"{figure:.4g}" for figure in figures) + " |")
    # Distances as they are, the overlap by what it lacks to 1.
    worse = np.where(np.array(MEASURES) == "iou", (1 - other) / (1 - usual), other / usual) - 1
    changes = " ".join(f"{name}={100 * change:+.1f}%" for name, change in zip(MEASURES, worse, strict=True))
    print(f"n={len(rows)} {changes}")
    return 0


def effect(
    folder: Path, predictor: Path, backend: InferenceBackend, limit: int
) -> Float32[np.ndarray, "faces 2 measures"]:
    """Measure the network's answers on the largest face of each photo.

    Args:
        folder: Photos, of any depth.
        predictor: The other predictor's file.
        backend: The network.
        limit: So many photos, spread over the folder.

    Returns:
        `MEASURES` with the usual predictor and with the other one.

    Raises:
        InputError: If no photo shows a face.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if limit < len(paths):
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, limit).astype(int)]
    detectors = (FaceDetector(), FaceDetector(predictor=predictor))
    model = MorphableModel.load_default()
    rows = []
    for path in paths:
        try:
            photo = load_photo(path)
        except ImageError:
            continue  # It counts for neither.
        found = detectors[0].search(photo, faces="largest")
        if found:
            box = max(found, key=lambda one: one.width).box
            rows.append(
                _compare(photo, [one.landmarks_only(photo, box) for one in detectors], backend, model)
            )
    if not rows:
        raise InputError(f"No photo in {folder} shows a face.")
    return np.array(rows, np.float32)


def _compare(
    photo: UInt8[np.ndarray, "height width 3"],
    points: list[Float32[np.ndarray, "68 2"]],
    backend: InferenceBackend,
    model: MorphableModel,
) -> list[list[float]]:
    crops = [crop_face(photo, one) for one in points]
    rows = []
    for crop in crops:
        rendering = render(model, Parameters.from_vector(backend.infer(crop.image[None])[0]))
        quality = measure(crop, rendering).to_dict()
        rows.append([*(quality[name] for name in MEASURES[:3]), _distance(crop, rendering, crops[0])])
    return rows


def _distance(crop: FaceCrop, rendering: Rendering, usual: FaceCrop) -> float:
    """Return how far the model's points lie from the usual predictor's, in pixels of its crop."""
    seen = usual.placement.apply(crop.placement.inverse().apply(rendering.landmarks))
    return float(landmark_distance(seen, usual.landmarks))


if __name__ == "__main__":
    raise SystemExit(main())
