"""Let a predictor label photos for its next training: ``python -m training.landmark_predictor.label_photos``.

Every photo is looked at twice, as it is and mirrored, from several boxes each. Faces on whose points the two
agree are kept, with the mean of both. No other predictor's answers are used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from inversefacenet.errors import ImageError, InputError, InverseFaceNetError
from inversefacenet.image import encode_png, load_photo
from inversefacenet.landmarks import FaceDetector
from training.landmark_predictor.boxes import inner_frame
from training.landmark_predictor.scenes import SIDE
from training.landmark_predictor.train import MARGIN, Pictures

KEPT_SIDE: Final = SIDE - 2 * MARGIN
RADIUS: Final = 33.0
"""RMS radius of the inner points in the kept pictures, in pixels: about as in rendered ones."""

LIMIT: Final = 0.035
"""Greatest mean distance of the two answers, over the distance of the outer eye corners."""

SUFFIXES: Final = (".jpg", ".jpeg", ".png")
MIRRORED: Final = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ]
)
"""The number that each point has in the mirrored picture."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.landmark_predictor.label_photos", description="Label photos by a predictor."
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--predictor", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=1000, help="look at so many, spread over the folder")
    parser.add_argument("--look", type=Path, default=None, help="picture of some labels")
    values = parser.parse_args(arguments)
    try:
        labelled, seen = label_folder(values.photos, values.predictor, values.limit)
    except InverseFaceNetError as error:
        print(f"label_photos: {error}", file=sys.stderr)
        return 1
    np.savez(values.output, pictures=labelled.pictures, points=labelled.points, boxes=labelled.boxes)
    if values.look is not None:
        values.look.write_bytes(encode_png(_sheet(labelled)))
    print(f"photos={seen} kept={len(labelled.points)}")
    return 0


def label_folder(folder: Path, predictor: Path, limit: int) -> tuple[Pictures, int]:
    """Label the largest face of photos.

    Args:
        folder: Of any depth.
        predictor: A file that `train` or `pack` wrote.
        limit: So many photos, spread over the folder.

    Returns:
        The faces that were labelled consistently, and how many photos were looked at.

    Raises:
        InputError: If no photo gave a face.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if limit < len(paths):
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, limit).astype(int)]
    detector = FaceDetector(predictor=predictor, hard_faces=False)
    faces = [face for path in paths if (face := _label(detector, path)) is not None]
    if not faces:
        raise InputError(f"No photo in {folder} gave a face that the predictor is sure of.")
    pictures, points, boxes = (np.stack(one) for one in zip(*faces, strict=True))
    return Pictures(pictures, points, boxes), len(paths)


def _label(
    detector: FaceDetector, path: Path
) -> tuple[UInt8[np.ndarray, "side side"], Float32[np.ndarray, "68 2"], Float32[np.ndarray, "3"]] | None:
    try:
        photo = load_photo(path)
    except ImageError:
        return None  # A photo that can't be read teaches nothing.
    found = detector.search(photo, faces="largest")
    if not found:
        return None
    best = max(found, key=lambda one: one.score)
    points = detector.landmarks_only(photo, best.box)
    mirrored = mirror(
        detector.landmarks_only(photo[:, ::-1].copy(), mirrored_box(best.box, photo.shape[1])), photo.shape[1]
    )
    eyes = float(np.linalg.norm(points[45] - points[36]))
    if not np.linalg.norm(points - mirrored, axis=1).mean() < LIMIT * eyes:
        return None
    left, top, right, bottom = best.box
    return _cut(
        photo, (points + mirrored) / 2, np.array([(left + right) / 2, (top + bottom) / 2, right - left])
    )


def mirror(points: Float[np.ndarray, "68 2"], width: int) -> Float32[np.ndarray, "68 2"]:
    """Turn points of a mirrored picture into the picture's own."""
    return np.column_stack([width - points[MIRRORED, 0], points[MIRRORED, 1]]).astype(np.float32)


def mirrored_box(box: tuple[float, float, float, float], width: int) -> tuple[float, float, float, float]:
    """Return where a box lies in the mirrored picture."""
    return (width - box[2], box[1], width - box[0], box[3])


def _cut(
    photo: UInt8[np.ndarray, "height width 3"], points: np.ndarray, box: np.ndarray
) -> tuple[UInt8[np.ndarray, "side side"], Float32[np.ndarray, "68 2"], Float32[np.ndarray, "3"]]:
    """Cut a grey picture as rendered ones are; what lies beyond the photo is black."""
    _, radius = inner_frame(points)
    scale = RADIUS / radius
    corner = (points.min(axis=0) + points.max(axis=0)) / 2 - KEPT_SIDE / scale / 2
    grey = (photo.astype(np.uint16).sum(axis=2) // 3).astype(np.uint8)
    matrix = (1 / scale, 0, corner[0], 0, 1 / scale, corner[1])
    piece = Image.fromarray(grey).transform(
        (KEPT_SIDE, KEPT_SIDE), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BICUBIC
    )
    moved = np.array([*(box[:2] - corner), box[2]]) * scale
    return np.asarray(piece), ((points - corner) * scale).astype(np.float32), moved.astype(np.float32)


def _sheet(labelled: Pictures, columns: int = 8, rows: int = 4) -> UInt8[np.ndarray, "height width"]:
    """Draw some labels."""
    chosen = np.linspace(0, len(labelled.points) - 1, columns * rows).astype(int)
    tiles = []
    for i in chosen:
        tile = labelled.pictures[i].copy()
        for x, y in np.clip(labelled.points[i].astype(int), 0, KEPT_SIDE - 1):
            tile[y, x] = 255
        tiles.append(tile)
    lines = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(lines)


if __name__ == "__main__":
    raise SystemExit(main())
