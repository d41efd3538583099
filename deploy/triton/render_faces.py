"""Render the faces that a plan is compared on: `python -m deploy.triton.render_faces FILE`.

They come from the project's own sampler and renderer, so they show nobody, and a seed makes them the same
everywhere. They are masked as the crops of photos are.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8

from inversefacenet.crop import face_mask
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from inversefacenet.sampling import HIGHER_VARIATION, NATURAL

SEED: Final = 2018
NATURAL_COUNT: Final = 24
WIDE_COUNT: Final = 8


def render_faces() -> UInt8[np.ndarray, "faces 240 240 3"]:
    """Return the masked crops: three quarters like photographs, a quarter of wider variation."""
    model = MorphableModel.load_default()
    rng = np.random.default_rng(SEED)
    theta = np.concatenate(
        [NATURAL.sample(rng, NATURAL_COUNT, model), HIGHER_VARIATION.sample(rng, WIDE_COUNT, model)]
    )
    crops = []
    for vector in theta:
        rendering = render(model, Parameters.from_vector(vector))
        crops.append(rendering.image * face_mask(rendering.landmarks)[..., None])
    return np.stack(crops)


def main(arguments: list[str] | None = None) -> int:
    """Write the crops to the file named on the command line."""
    (path,) = arguments if arguments is not None else sys.argv[1:]
    np.savez_compressed(Path(path), crops=render_faces())
    return 0


if __name__ == "__main__":
    sys.exit(main())
