"""How close our landmarks of rendered faces come to a detector's: ``python -m training.landmark_agreement``.

Crops of rendered faces are placed and masked by the face model's own landmarks, crops of photos by dlib's.
Here dlib looks at rendered faces on backgrounds, and the distance between its points and the model's is
reported in pixels of the crop, by yaw. What it sees is a face mask without hair, ears or neck, so that it
finds fewer faces, and places their outline with less certainty, than in photos.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from inversefacenet.camera import Placement, fit_placement, landmark_points
from inversefacenet.crop import crop_face, face_mask, landmarks66
from inversefacenet.errors import InverseFaceNetError, NoFaceError
from inversefacenet.landmarks import FaceDetector
from inversefacenet.metrics import intersection_over_union
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import pose_and_shade, render
from inversefacenet.sampling import NATURAL, Distribution

CANVAS: Final = 480
FACE: Final = 260
"""Pixels of the canvas that the landmarks' box takes."""

YAW_BINS: Final = (0, 10, 20, 30, 40, 50)
JAW: Final = slice(0, 17)
DISTRIBUTION: Final[Distribution] = replace(
    NATURAL, yaw=50.0, pitch=20.0, roll=10.0, frontal_share=0.0, constant_light=(0.7, 1.1)
)


@dataclass(frozen=True)
class Agreement:
    """One rendered face that the detector found.

    Attributes:
        yaw: Degrees.
        jaw: Mean distance of the jaw's points in crop pixels.
        inner: Mean distance of the other points in crop pixels.
        shift: By how much the crop's centre moves in crop pixels.
        scale: The model's crop scale over the detector's.
        iou: Overlap of the two masks in the detector's crop.
    """

    yaw: float
    jaw: float
    inner: float
    shift: float
    scale: float
    iou: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.landmark_agreement",
        description="Compare the face model's landmarks with dlib's on rendered faces, by yaw.",
    )
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    values = parser.parse_args(arguments)
    try:
        model = MorphableModel.load_default()
        yaws, found = compare(model, values.count, values.seed)
    except InverseFaceNetError as error:
        print(f"landmark agreement: {error}", file=sys.stderr)
        return 1
    print(table(yaws, found))
    distances = np.mean([[one.inner, one.jaw] for one in found], axis=0) if found else (np.nan, np.nan)
    print(
        f"n={len(yaws)} found={len(found)} inner={distances[0]:.3f} jaw={distances[1]:.3f} "
        f"iou={np.mean([one.iou for one in found]):.4f}"
    )
    return 0


def compare(
    model: MorphableModel, count: int, seed: int
) -> tuple[Float[np.ndarray, "count"], list[Agreement]]:
    """Render faces and look for them.

    Returns:
        The yaw of each face in degrees, and those that the detector found.
    """
    rng = np.random.default_rng(seed)
    detector = FaceDetector(hard_faces=False)
    thetas = DISTRIBUTION.sample(rng, count, model)
    found = []
    for theta in thetas:
        parameters = Parameters.from_vector(theta)
        photo, points = photo_of(model, parameters, rng)
        try:
            (face,) = detector.detect(photo, faces="largest")
        except NoFaceError:
            continue
        found.append(_agreement(photo, points, face.landmarks, float(np.degrees(theta[0]))))
    return np.degrees(thetas[:, 0]), found


def photo_of(
    model: MorphableModel, parameters: Parameters, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "480 480 3"], Float32[np.ndarray, "68 2"]]:
    """Render a face in the middle of a background of smooth colours; return it and its landmarks."""
    vertices, _ = pose_and_shade(model, parameters)
    fitted = fit_placement(
        landmarks66(landmark_points(model, vertices, float(parameters.rotation[2]))), FACE, margin=0
    )
    border = (CANVAS - FACE) / 2
    rendering = render(model, parameters, CANVAS, fitted.then(Placement(1.0, (border, border))))
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    background = np.asarray(coarse.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC))
    return np.where(rendering.mask[..., None], rendering.image, background), rendering.landmarks


def _agreement(
    photo: UInt8[np.ndarray, "height width 3"],
    ours: Float32[np.ndarray, "68 2"],
    theirs: Float32[np.ndarray, "68 2"],
    yaw: float,
) -> Agreement:
    crop, own = crop_face(photo, theirs), crop_face(photo, ours)
    seen = crop.placement.apply(ours)
    distance = np.linalg.norm(seen - crop.landmarks, axis=1)
    centres = [(one.min(axis=0) + one.max(axis=0)) / 2 for one in (seen, crop.landmarks)]
    inner = np.delete(distance[JAW.stop :], (60 - JAW.stop, 64 - JAW.stop))
    return Agreement(
        yaw=yaw,
        jaw=float(distance[JAW].mean()),
        inner=float(inner.mean()),
        shift=float(np.linalg.norm(centres[0] - centres[1])),
        scale=own.placement.scale / crop.placement.scale,
        iou=intersection_over_union(crop.mask, face_mask(seen)),
    )


def table(yaws: Float[np.ndarray, "count"], found: Sequence[Agreement]) -> str:
    """Return the figures by yaw as a Markdown table."""
    lines = [
        "| yaw (degrees) | faces | found | inner points (px) | jaw (px) | shift (px) | scale | mask IoU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for low, high in pairwise(YAW_BINS):
        total = int(((np.abs(yaws) >= low) & (np.abs(yaws) < high)).sum())
        inside = [one for one in found if low <= abs(one.yaw) < high]
        if not inside:
            lines.append(f"| {low} to {high} | {total} | 0 | | | | | |")
            continue
        means = np.mean([[o.inner, o.jaw, o.shift, o.scale, o.iou] for o in inside], axis=0)
        lines.append(
            f"| {low} to {high} | {total} | {len(inside) / total:.0%} | {means[0]:.1f} | {means[1]:.1f} | "
            f"{means[2]:.1f} | {means[3]:.3f} | {means[4]:.3f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
