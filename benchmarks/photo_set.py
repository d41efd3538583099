"""Photos to measure with: the example's, cut, lit and scaled in several ways, and rendered faces.

They are written into a folder of the caller's, as a camera would store them. All of them show a face that the
detector finds: the search for one that isn't there costs ten times as much, and how often it happens is the
collection's own matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageFilter

from inversefacenet.image import load_photo

SIDES: Final = (250, 512, 1024)
_QUALITY: Final = 92
_EXAMPLE: Final = Path(__file__).resolve().parents[1] / "examples" / "astronaut.png"
# Left, top, right, bottom within the example's 512 pixels.
_CUTS: Final = ((0, 0, 512, 512), (40, 0, 420, 380), (90, 0, 360, 270), (60, 0, 400, 340))
_LIGHTS: Final = (1.0, 0.7, 1.25)
_RENDERED: Final = 6


def compose(folder: Path) -> list[Path]:
    """Write the photos, mixed so that any few in a row are of all kinds.

    Returns:
        Their files, as many of each side in `SIDES`.

    Raises:
        MissingDependencyError: dlib isn't installed.
    """
    from inversefacenet.errors import NoFaceError
    from inversefacenet.landmarks import FaceDetector

    detector = FaceDetector(hard_faces=False)
    files = []
    pictures = list(_portraits())
    for picture in _rendered():
        with suppress(NoFaceError):
            detector.detect(np.asarray(picture), faces="largest")
            pictures.append(picture)
    for number, picture in enumerate(pictures):
        for side in SIDES:
            path = folder / f"{number:02d}-{side}.jpg"
            picture.resize((side, side), Image.Resampling.LANCZOS).save(path, "JPEG", quality=_QUALITY)
            files.append(path)
    np.random.default_rng(0).shuffle(files)
    return files


def _portraits() -> Iterator[Image.Image]:
    whole = Image.fromarray(load_photo(_EXAMPLE))
    for cut in _CUTS:
        part = whole.crop(cut)
        for turned in (part, part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
            for light in _LIGHTS:
                yield ImageEnhance.Brightness(turned).enhance(light).resize((512, 512))


def _rendered() -> Iterator[Image.Image]:
    """Yield rendered faces before blurred scraps of the example, as large as faces in portraits are."""
    from inversefacenet.morphable_model import MorphableModel
    from inversefacenet.parameters import Parameters
    from inversefacenet.rendering import render
    from inversefacenet.sampling import Distribution

    model = MorphableModel.load_default()
    rng = np.random.default_rng(0)
    whole = Image.fromarray(load_photo(_EXAMPLE)).filter(ImageFilter.GaussianBlur(6))
    gentle = Distribution(yaw=15, pitch=10, roll=5, expression_amplitude=0.3, constant_light=(0.9, 1.2))
    for theta in gentle.sample(rng, _RENDERED, model):
        rendering = render(model, Parameters.from_vector(theta))
        scene = np.asarray(whole.crop((200, 200, 512, 512)).resize((512, 512))).copy()
        _paste(scene, rendering.image, np.asarray(rendering.mask))
        yield Image.fromarray(scene)


def _paste(
    scene: UInt8[np.ndarray, "512 512 3"],
    face: UInt8[np.ndarray, "240 240 3"],
    mask: np.ndarray,
) -> None:
    part = scene[120:360, 130:370]
    part[mask] = face[mask]
