"""Compare predictors with points set by hand: ``python -m training.landmark_predictor.compare``.

The folder holds pictures with a `.pts` file of 68 points each. The error of a face is the mean distance of
its points over the distance of the outer eye corners (NME). Both predictors get the same boxes, by the same
detector; a face that it doesn't find counts for neither.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image, ImageDraw

from inversefacenet.errors import InputError, InverseFaceNetError
from inversefacenet.image import encode_png, load_photo
from inversefacenet.landmarks import FaceDetector

FAILURE: Final = 0.08
"""Errors above this share of the eye corners' distance count as failures; also the curve's end."""

REACH: Final = 1.1
"""How much of the picture around the face is kept, in sizes of the face."""

EYES: Final = 100.0
"""Pixels between the outer eye corners of the picture that is searched, at most."""

TILE: Final = 360
PARTS: Final[dict[str, slice]] = {
    "all": slice(0, 68),
    "inner": slice(17, 68),
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}

Photo = UInt8[np.ndarray, "_ _ 3"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.landmark_predictor.compare",
        description="Measure predictors on pictures with 68 points set by hand.",
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder of pictures with .pts files")
    parser.add_argument("--predictor", type=Path, action="append", default=[], help="may be given repeatedly")
    parser.add_argument("--limit", type=int, default=None, help="so many pictures, spread over the folder")
    parser.add_argument("--look", type=Path, default=None, help="picture of the last predictor's points")
    values = parser.parse_args(arguments)
    try:
        answers, truths, tiles = compare(values.photos, [None, *values.predictor], values.limit)
    except InverseFaceNetError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    names = ["usual", *(path.stem for path in values.predictor)]
    print(table(names, answers, truths))
    if values.look is not None:
        values.look.write_bytes(encode_png(_sheet(tiles)))
    figures = " ".join(
        f"{name}={nme(points, truths).mean():.4f}" for name, points in zip(names, answers, strict=True)
    )
    print(f"n={len(truths)} {figures}")
    return 0


def compare(
    folder: Path, predictors: Sequence[Path | None], limit: int | None = None
) -> tuple[
    list[Float64[np.ndarray, "faces 68 2"]],
    Float64[np.ndarray, "faces 68 2"],
    list[Photo],
]:
    """Predict the annotated faces of a folder.

    Args:
        folder: Pictures with `.pts` files beside them.
        predictors: Files; None is the usual predictor.
        limit: So many pictures, spread over the folder.

    Returns:
        Each predictor's points, the points set by hand, and pictures of the last predictor's.

    Raises:
        InputError: If there is no annotated picture whose face is found.
    """
    detectors = [FaceDetector(predictor=path, hard_faces=False) for path in predictors]
    answers: list[list[np.ndarray]] = [[] for _ in predictors]
    truths, tiles = [], []
    for photo, truth in annotated_photos(folder, limit):
        centre = truth[17:].mean(axis=0)
        size = float(np.ptp(truth, axis=0).max())
        found = [
            one
            for one in detectors[0].search(photo, minimum_size=0.3 * size)
            if np.linalg.norm(np.array([one.box[0] + one.box[2], one.box[1] + one.box[3]]) / 2 - centre)
            < 0.35 * size
        ]
        if not found:
            continue
        best = max(found, key=lambda one: one.score)
        for points, detector in zip(answers, detectors, strict=True):
            points.append(detector.landmarks_only(photo, best.box).astype(np.float64))
        truths.append(truth)
        tiles.append(_tile(photo, answers[-1][-1], truth))
    if not truths:
        raise InputError(f"{folder} has no picture with 68 points beside it in which a face is found.")
    return [np.stack(points) for points in answers], np.stack(truths), tiles


def annotated_photos(folder: Path, limit: int | None) -> Iterator[tuple[Photo, Float64[np.ndarray, "68 2"]]]:
    """Yield faces with their points, cut out of their pictures and reduced to a common size."""
    paths = sorted(folder.rglob("*.pts"))
    if limit is not None and limit < len(paths):
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, limit).astype(int)]
    for path in paths:
        pictures = [path.with_suffix(suffix) for suffix in (".jpg", ".png")]
        pictures = [picture for picture in pictures if picture.is_file()]
        if pictures:
            yield _reduced(load_photo(pictures[0]), read_points(path))


def read_points(path: Path) -> Float64[np.ndarray, "68 2"]:
    """Read a `.pts` file: lines of two numbers, with or without iBUG's header, as continuous pixels.

    Raises:
        InputError: If it doesn't hold 68 points.
    """
    rows = [line.split() for line in path.read_text().splitlines()]
    try:
        points = np.array([[float(x) for x in row] for row in rows if len(row) == 2 and ":" not in row[0]])
    except ValueError as error:
        raise InputError(f"{path} is no file of points: {error}.") from error
    if points.shape != (68, 2):
        raise InputError(f"{path} holds {len(points)} points, not 68.")
    return points


def _reduced(photo: Photo, points: Float64[np.ndarray, "68 2"]) -> tuple[Photo, Float64[np.ndarray, "68 2"]]:
    size = np.ptp(points, axis=0).max()
    low = np.maximum(np.floor(points.min(axis=0) - REACH * size), 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0) + REACH * size).astype(int), photo.shape[1::-1])
    piece = Image.fromarray(np.ascontiguousarray(photo[low[1] : high[1], low[0] : high[0]]))
    scale = min(1.0, EYES / float(np.linalg.norm(points[45] - points[36])))
    shape = (round(piece.width * scale), round(piece.height * scale))
    reduced = np.asarray(piece.resize(shape, Image.Resampling.LANCZOS, reducing_gap=2.0))
    return reduced, (points - low) * (np.array(shape) / (piece.width, piece.height))


def nme(
    points: Float[np.ndarray, "faces 68 2"], truths: Float[np.ndarray, "faces 68 2"], part: str = "all"
) -> Float64[np.ndarray, " faces"]:
    """Return each face's mean error over the distance of its outer eye corners."""
    eyes = np.linalg.norm(truths[:, 45] - truths[:, 36], axis=1)
    distance = np.linalg.norm(points - truths, axis=2)[:, PARTS[part]]
    return np.asarray(distance.mean(axis=1) / eyes, np.float64)


def area_under_curve(errors: Float64[np.ndarray, " faces"]) -> float:
    """Return the area under the share of faces below an error, from 0 to `FAILURE`, over `FAILURE`."""
    return float(np.clip(1 - errors / FAILURE, 0, None).mean())


def table(
    names: Sequence[str],
    answers: Sequence[Float64[np.ndarray, "faces 68 2"]],
    truths: Float64[np.ndarray, "faces 68 2"],
) -> str:
    """Return the figures as a Markdown table, in percent of the eye corners' distance."""
    lines = [
        "| predictor | points | mean | median | above 8 | AUC 8 |",
        "|---|---|---|---|---|---|",
    ]
    for name, points in zip(names, answers, strict=True):
        for part in PARTS:
            errors = nme(points, truths, part)
            lines.append(
                f"| {name} | {part} | {100 * errors.mean():.2f} | {100 * np.median(errors):.2f} | "
                f"{(errors > FAILURE).mean():.1%} | {area_under_curve(errors):.3f} |"
            )
    return "\n".join(lines)


def _tile(photo: Photo, points: Float64[np.ndarray, "68 2"], truth: Float64[np.ndarray, "68 2"]) -> Photo:
    """Draw predicted points green and those set by hand red."""
    low, high = truth.min(axis=0), truth.max(axis=0)
    centre, half = (low + high) / 2, float((high - low).max()) * 0.75
    corner = centre - half
    piece = Image.fromarray(photo).crop((*corner, *(centre + half))).resize((TILE, TILE))
    draw = ImageDraw.Draw(piece)
    for colour, marks in (((255, 60, 60), truth), ((60, 255, 60), points)):
        for x, y in (marks - corner) * (TILE / (2 * half)):
            draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=colour)
    return np.asarray(piece)


def _sheet(tiles: Sequence[Photo], columns: int = 5, most: int = 20) -> Photo:
    chosen = [tiles[i] for i in np.unique(np.linspace(0, len(tiles) - 1, most).astype(int))]
    chosen += [np.zeros((TILE, TILE, 3), np.uint8)] * (-len(chosen) % columns)
    rows = [np.concatenate(chosen[i : i + columns], axis=1) for i in range(0, len(chosen), columns)]
    return np.concatenate(rows)


if __name__ == "__main__":
    raise SystemExit(main())
