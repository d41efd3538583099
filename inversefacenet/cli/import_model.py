"""`inversefacenet import-model`: a licence holder's face model made usable here."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from inversefacenet.cli.output import say

KINDS: Final = ("bfm2009", "bfm2017", "bfm2019", "ict")


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add this command to the program's parser."""
    parser = commands.add_parser(
        "import-model",
        parents=[common],
        help="make a published face model usable here",
        description="Turn the Basel Face Model 2009, 2017 or 2019, or ICT-FaceKit, into a face model file "
        "for --face-model. The models themselves come from their authors, under their licences.",
    )
    parser.add_argument("--kind", choices=KINDS, required=True, help="which model")
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="PATH",
        help="its file, or ICT-FaceKit's folder FaceXModel",
    )
    parser.add_argument(
        "--expression",
        type=Path,
        metavar="FILE",
        help="bfm2009: the expression basis, Exp_Pca.bin or Model_Exp.mat",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="NPZ", help="the face model file to write"
    )
    parser.add_argument(
        "--landmarks",
        type=Path,
        metavar="FILE",
        help="68 vertex numbers from 0 in iBUG order, -1 where unknown (.json or text); by default the "
        "published ones",
    )
    parser.add_argument(
        "--vertices",
        type=_count,
        default=12_000,
        help="thin the mesh to so many vertices; 0 keeps all (default: %(default)s)",
    )
    parser.add_argument(
        "--region",
        choices=("face", "all"),
        default="face",
        help="'all' keeps neck and back of the head (default: %(default)s)",
    )
    parser.add_argument(
        "--colours",
        choices=("srgb", "linear"),
        default="srgb",
        help="what the model's colours are; the Basel models' are shown as sRGB (default: %(default)s)",
    )
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Import the model."""
    if options.output.suffix != ".npz":
        options.parser.error("--output must end in .npz")
    from dataclasses import replace

    from inversefacenet.importers import ImportOptions, assemble, read
    from inversefacenet.importers.landmark_lists import read_landmarks
    from inversefacenet.morphable_model import MorphableModel

    raw = read(options.kind, options.input, options.expression, options.colours)
    if options.landmarks is not None:
        raw = replace(raw, landmarks=read_landmarks(options.landmarks))
    model = assemble(raw, ImportOptions(vertices=options.vertices, region=options.region))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    partial = options.output.with_name(options.output.name + ".partial")
    model.save(partial)
    digest = MorphableModel.load(partial).digest
    partial.replace(options.output)
    figures = {
        "output": options.output,
        "vertices": model.vertex_count,
        "triangles": len(model.triangles),
        "painted": int(model.painted.sum()),
        "shape": int((model.shape_sigma > 0).sum()),
        "expression": int((model.expression_sigma > 0).sum()),
        "reflectance": int((model.reflectance_sigma > 0).sum()),
        "units": len(model.unit_names),
        "reflectance_error": f"{raw.reflectance_error:.4f}",
        "digest": digest[:12],
    }
    say(" ".join(f"{name}={value}" for name, value in figures.items()))
    return 0


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number != 0 and number < 500:
        raise argparse.ArgumentTypeError(f"'{text}' is neither 0 nor a whole number of at least 500")
    return number
