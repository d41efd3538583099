"""Render training pictures of heads: ``python -m training.landmark_predictor.render --output FILE``.

The file (npz) holds grey pictures, labels, the detector's boxes and yaws. Picture i of a seed is always the
same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Generator, Tensor

from inversefacenet.dlib_models import DlibModels
from inversefacenet.errors import InverseFaceNetError
from inversefacenet.image import encode_png
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from training.augmentation import AugmentationOptions, apply_tone, draw_backgrounds, draw_gains
from training.degradations import DegradationOptions, degrade
from training.landmark_predictor.boxes import find_box
from training.landmark_predictor.head import Head, build_head
from training.landmark_predictor.points import annotated
from training.landmark_predictor.scenes import HEADS, SIDE, Scene, draw_scene
from training.occluders import OccluderOptions, occlude
from training.torch_renderer import to_uint8
from training.torch_shading import srgb_encode

BATCH: Final = 16

# The face takes less than half of the picture's side, so whatever is measured in sides is a bit smaller here.
OCCLUDERS: Final = OccluderOptions(
    objects=0.10, spectacles=0.16, strands=0.03, fringes=0.0, hands=0.0, shadows=0.15, highlights=0.10
)
CLUTTER: Final = OccluderOptions(
    objects=0.8, spectacles=0.0, strands=0.2, fringes=0.2, hands=0.1, shadows=0.5, highlights=0.2
)
DEGRADATIONS: Final = replace(
    DegradationOptions(), resolution=(120.0, 240.0), blur_sigma=(0.5, 1.4), motion_length=(2.0, 5.0)
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.landmark_predictor.render", description="Render heads with 68 labels."
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--look", type=Path, default=None, help="folder for the first pictures, with points")
    values = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        head = build_head(annotated(MorphableModel.load_default()))
        pictures, points, boxes, yaws = render_set(head, values.count, values.seed, values.look)
    except InverseFaceNetError as error:
        print(f"render: {error}", file=sys.stderr)
        return 1
    values.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez(values.output, pictures=pictures, points=points, boxes=boxes, yaws=yaws)
    found = float(np.isfinite(boxes[:, 2]).mean())
    print(f"pictures={len(pictures)} found={found:.3f} megabytes={values.output.stat().st_size / 1e6:.0f}")
    return 0


def render_set(
    head: Head, count: int, seed: int, look: Path | None = None
) -> tuple[
    UInt8[np.ndarray, "count 288 288"],
    Float32[np.ndarray, "count 68 2"],
    Float32[np.ndarray, "count 3"],
    Float32[np.ndarray, " count"],
]:
    """Render heads.

    Args:
        head: Of the annotated face model.
        count: Number of pictures.
        seed: Seed of all randomness.
        look: Folder for the first pictures, if wanted.

    Returns:
        Grey pictures, labels, the detector's boxes (centre x, y, width; NaN where it found no face), yaws.
    """
    models = DlibModels()
    pictures = np.empty((count, SIDE, SIDE), np.uint8)
    points = np.empty((count, 68, 2), np.float32)
    boxes, yaws = np.empty((count, 3), np.float32), np.empty(count, np.float32)
    for first in range(0, count, BATCH):
        chosen = slice(first, min(first + BATCH, count))
        colour, scenes = render_batch(head, chosen.stop - first, (seed, first // BATCH))
        if look is not None and first < 4 * BATCH:
            _show(colour, scenes, look, first)
        # As dlib makes grey of colour: the mean of the channels.
        pictures[chosen] = colour.astype(np.uint16).sum(axis=3) // 3
        points[chosen] = [scene.points for scene in scenes]
        yaws[chosen] = [scene.yaw for scene in scenes]
        for i in range(chosen.start, chosen.stop):
            boxes[i] = find_box(models, pictures[i], points[i])[0]
    return pictures, points, boxes, yaws


def render_batch(
    head: Head, count: int, seed: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "count 288 288 3"], list[Scene]]:
    """Render one batch of 8-bit pictures, as photos would show the heads."""
    rng = np.random.default_rng(seed)
    thetas = HEADS.sample(rng, count, head.model)
    scenes = [draw_scene(head, Parameters.from_vector(theta), rng) for theta in thetas]
    generator = Generator().manual_seed(int(rng.integers(2**62)))
    return _photographed(scenes, generator), scenes


@torch.no_grad()
def _photographed(scenes: list[Scene], generator: Generator) -> UInt8[np.ndarray, "count 288 288 3"]:
    """Put something behind and in front of the heads, and take their pictures with a poor camera."""
    linear = torch.from_numpy(np.stack([scene.linear for scene in scenes])).permute(0, 3, 1, 2).contiguous()
    covered = torch.from_numpy(np.stack([scene.covered for scene in scenes]))
    points = torch.from_numpy(np.stack([scene.points for scene in scenes]))
    options = AugmentationOptions(degradations=DEGRADATIONS)
    behind = draw_backgrounds(linear, generator)
    for _ in range(3):
        anywhere = points + SIDE * (torch.rand((len(scenes), 1, 2), generator=generator) - 0.5)
        behind = occlude(behind, anywhere, CLUTTER, generator)
    pictures = torch.where(covered[:, None], linear, behind)
    pictures = pictures * draw_gains(len(scenes), options, generator)[:, :, None, None]
    pictures = occlude(pictures, points, OCCLUDERS, generator)
    encoded: Tensor = apply_tone(srgb_encode(pictures), options, generator)
    degraded = degrade(encoded, options.degradations, generator).clamp_(0, 1)
    return to_uint8(degraded.permute(0, 2, 3, 1)).numpy()


def _show(
    colour: UInt8[np.ndarray, "count 288 288 3"], scenes: list[Scene], folder: Path, first: int
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tiles = []
    for picture, scene in zip(colour, scenes, strict=True):
        marked = picture.copy()
        for x, y in np.clip(scene.points.astype(int), 0, SIDE - 1):
            marked[y, x] = (0, 255, 0)
        tiles.append(marked)
    rows = [np.concatenate(tiles[i : i + 4], axis=1) for i in range(0, len(tiles) - 3, 4)]
    (folder / f"heads-{first // BATCH}.png").write_bytes(encode_png(np.concatenate(rows)))


if __name__ == "__main__":
    raise SystemExit(main())
