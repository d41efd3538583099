"""Look at the face model: ``python -m training.face_model.contact_sheet`` renders random faces.

Shape and reflectance are drawn from the model's own normal distribution, truncated at two standard
deviations; pose and expression vary a little, and the light is mild and white. What looks odd here is
odd in the training corpus.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from inversefacenet.camera import fit_placement, project
from inversefacenet.morphable_model import MorphableModel
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import pose_and_shade, render

DEFAULT_OUTPUT: Final = Path("docs/images/random_faces.png")
ROWS, COLUMNS, TILE = 4, 6, 240
TRUNCATION: Final = 2.0
BACKGROUND: Final = (44, 45, 50)
_MARGIN: Final = 9.0


def contact_sheet(
    model: MorphableModel, rng: np.random.Generator, rows: int = ROWS, columns: int = COLUMNS
) -> UInt8[np.ndarray, "height width 3"]:
    """Render rows times columns random faces."""
    tiles = [portrait(model, random_face(model, rng)) for _ in range(rows * columns)]
    lines = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(lines)


def random_face(model: MorphableModel, rng: np.random.Generator) -> Parameters:
    """Draw a face that faces the viewer more or less, in mild white light."""
    face = Parameters.neutral()
    light = np.zeros((9, 1))
    # Ambient light and a lamp above, in front and to one side.
    light[:4, 0] = [0.80, 0.13, 0.16, rng.uniform(-0.12, 0.12)]
    smile = rng.uniform(0, 0.45)
    units = {"mouthSmileLeft": smile, "mouthSmileRight": smile}
    return replace(
        face,
        rotation=(rng.normal(size=3) * [0.20, 0.06, 0.03]).astype(np.float32),
        shape=truncated_normal(rng, len(face.shape)),
        expression=model.expression_from_units(units),
        reflectance=truncated_normal(rng, len(face.reflectance)),
        illumination=np.repeat(light, 3, axis=1).astype(np.float32),
    )


def truncated_normal(rng: np.random.Generator, count: int) -> Float32[np.ndarray, " count"]:
    """Draw standard normal numbers within two standard deviations."""
    values = rng.normal(size=count)
    while (outside := np.abs(values) > TRUNCATION).any():
        values[outside] = rng.normal(size=outside.sum())
    return values.astype(np.float32)


def portrait(model: MorphableModel, face: Parameters, size: int = TILE) -> UInt8[np.ndarray, "size size 3"]:
    """Render the whole face over a dark grey background, smoothed by rendering at twice the size."""
    vertices, _ = pose_and_shade(model, face)
    points: Float[np.ndarray, "vertices 2"] = project(vertices)
    placement = fit_placement(points, 2 * size, margin=2 * _MARGIN)
    rendering = render(model, face, 2 * size, placement)
    picture = np.where(rendering.mask[..., None], rendering.image, np.array(BACKGROUND, np.uint8))
    return picture.reshape(size, 2, size, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)


def main() -> None:
    """Render the picture for the documentation."""
    parser = argparse.ArgumentParser(prog="python -m training.face_model.contact_sheet", description=__doc__)
    parser.add_argument("--model", type=Path, help="a face model other than the default one")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model = MorphableModel.load(arguments.model) if arguments.model else MorphableModel.load_default()
    sheet = contact_sheet(model, np.random.default_rng(arguments.seed))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(arguments.output, optimize=True)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
