"""The whole pipeline at toy size in a few minutes: ``make train-smoke``.

Makes its own photographs (rendered faces before clutter, in light that the first corpus doesn't have, and a
file that is no photo), prepares them with the real detector, trains, bootstraps twice, exports, evaluates
and fills a model repository of its own. Nothing that it learns is of use; everything that it does is what
the long run does.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from inversefacenet.errors import InverseFaceNetError
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import NATURAL
from training import evaluate, prepare
from training.options import DEFAULT, Run
from training.perturbation import Perturbation
from training.pipeline import run_pipeline
from training.pipeline_config import PipelineConfig
from training.publish import publish

ROUNDS: Final = 2
PHOTO_SIZE: Final = 320
_SEED: Final = 7

OPTIONS: Final = replace(
    DEFAULT,
    iterations=120,
    batch_size=16,
    rank=64,
    learning_rate=1e-3,
    augmentation="colour,noise",
    seed=_SEED,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.smoke", description="Run the whole training pipeline at toy size."
    )
    parser.add_argument("--output", type=Path, default=Path("out", "smoke"))
    parser.add_argument("--repository", type=Path, default=Path("model_repository", "inversefacenet"))
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--workers", type=int, default=1)
    values = parser.parse_args(arguments)
    try:
        return smoke(values.output, values.repository, values.photos, values.workers)
    except InverseFaceNetError as error:
        print(f"smoke: {error}", file=sys.stderr)
        return 1


def smoke(output: Path, repository: Path, photos: int, workers: int) -> int:
    """Run every part once; returns the exit status.

    Args:
        output: Folder for everything that is made; what it held before is removed.
        repository: A model repository whose configuration is copied, not changed.
        photos: How many photographs to make.
        workers: Processes that render.
    """
    shutil.rmtree(output, ignore_errors=True)
    folder, store = output / "photos", output / "store"
    make_photos(folder, photos)
    status = prepare.main(["--photos", str(folder), "--store", str(store), "--workers", str(workers)])
    if status:
        return status
    config = PipelineConfig(
        seed=_SEED,
        first=OPTIONS,
        rounds=ROUNDS,
        round_options={"iterations": 60, "learning_rate": 3e-4, "parameters_share": 0.75},
        perturbation=Perturbation(),
        finetuning={"iterations": 20, "learning_rate": 1e-4, "batch_size": 8, "photo_batch": 8},
    )
    run = Run(output / "run", device="cpu", workers=workers, checkpoint_every=60, validate_every=10_000)
    curve = run_pipeline(config, run, store)
    network = output / "run" / curve[-1]["stage"] / "model.onnx"
    status = evaluate.main(["photos", "--photos", str(folder), "--network", str(network), "--no-baselines"])
    if status:
        return status
    own = output / "model_repository" / repository.name
    shutil.copytree(repository, own, ignore=shutil.ignore_patterns("[0-9]*"))
    version = publish(network, own, None, keep=1)
    print(json.dumps(curve))
    print(
        f"rounds={ROUNDS} loss_first={curve[0]['loss']:.0f} loss_last={curve[-1]['loss']:.0f} "
        f"exported={own / str(version) / 'model.onnx'}"
    )
    return 0


def make_photos(folder: Path, count: int) -> None:
    """Write rendered faces before clutter as JPEG files, and one file that is no photo.

    Args:
        folder: Where to.
        count: Number of faces.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model, rng = MorphableModel.load_default(), np.random.default_rng(_SEED)
    warm = replace(NATURAL, yaw=20.0, pitch=12.0, roll=8.0, channel_gain_mean=(0.3, 0.0, -0.3))
    for number, theta in enumerate(warm.sample(rng, count, model)):
        rendering = render(model, Parameters.from_vector(theta))
        # Coarse noise enlarged: colours that change slowly, as behind a portrait.
        coarse = Image.fromarray(rng.integers(40, 200, (5, 5, 3), dtype=np.uint8))
        photo = coarse.resize((PHOTO_SIZE, PHOTO_SIZE), Image.Resampling.BICUBIC)
        face = Image.fromarray(rendering.image)
        at = (PHOTO_SIZE - face.width) // 2
        photo.paste(face, (at, at), Image.fromarray(255 * rendering.mask.astype(np.uint8)))
        photo.save(folder / f"face-{number:03d}.jpg", quality=85)
    (folder / "broken.jpg").write_bytes(b"no photo")


if __name__ == "__main__":
    raise SystemExit(main())
