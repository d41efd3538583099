"""A picture to look at: ``python -m training.strips --photos FOLDER --output out/strips.png``.

Each strip shows a photo's crop, the reconstruction over it, its geometry and the contours (Kim et al. 2018,
Figure 9). The photos are spread evenly over the folder, so that nobody chooses them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from inversefacenet.backends.onnx import OnnxBackend
from inversefacenet.errors import InverseFaceNetError
from inversefacenet.image import encode_png, load_photo
from inversefacenet.reconstruction import Reconstructor
from inversefacenet.visualisation import comparison_strip
from training.evaluation.photos import find_photos

STRIP: Final = (960, 240)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.strips", description="Draw reconstructions of a folder's photographs."
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("out", "strips.png"))
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument(
        "--network", type=Path, default=Path("reference"), help="ONNX file (default: %(default)s)"
    )
    values = parser.parse_args(arguments)
    try:
        paths = find_photos(values.photos)
        chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(values.count, len(paths))).astype(int)]
        strips = draw(chosen, Reconstructor(backend=OnnxBackend(values.network)))
    except InverseFaceNetError as error:
        print(f"strips: {error}", file=sys.stderr)
        return 1
    if not strips:
        print("strips: no face was found in these photos", file=sys.stderr)
        return 1
    values.output.parent.mkdir(parents=True, exist_ok=True)
    values.output.write_bytes(encode_png(two_columns(strips)))
    print(f"strips={len(strips)} file={values.output}")
    return 0


def draw(paths: Sequence[Path], reconstructor: Reconstructor) -> list[UInt8[np.ndarray, "240 960 3"]]:
    """Return a strip per photo that shows a face, and print its quality."""
    strips = []
    for path in paths:
        try:
            (reconstruction,) = reconstructor.reconstruct(load_photo(path))
        except InverseFaceNetError as error:
            print(f"{path.name}: {error.slug}")
            continue
        quality = reconstruction.quality
        print(
            f"{path.name}: photometric={quality.photometric:.1f} iou={quality.iou:.3f} "
            f"landmark={quality.landmark:.1f}"
        )
        strips.append(np.asarray(Image.fromarray(comparison_strip(reconstruction)).resize(STRIP)))
    return strips


def two_columns(
    strips: Sequence[UInt8[np.ndarray, "height width 3"]],
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Set strips in two columns, top to bottom."""
    rows = (len(strips) + 1) // 2
    padded = [*strips, *[np.zeros_like(strips[0])] * (2 * rows - len(strips))]
    return np.concatenate([np.concatenate(padded[:rows]), np.concatenate(padded[rows:])], axis=1)


if __name__ == "__main__":
    raise SystemExit(main())
