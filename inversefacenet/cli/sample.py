"""`inversefacenet sample`: random faces."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from inversefacenet.cli.output import (
    add_face_model_option,
    add_mesh_options,
    check_picture_name,
    load_face_model,
    mesh_formats,
    picture_size,
    positive,
    progress,
    say,
    write_picture,
)
from inversefacenet.cli.parameter_file import parameter_document, write_document

DISTRIBUTION_NAMES: Final = ("natural", "paper", "paper-box", "higher-variation")
_WIDEST_DEFAULT: Final = 8


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add this command to the program's parser."""
    parser = commands.add_parser(
        "sample",
        parents=[common],
        help="draw random faces",
        description="Draw random faces, as a contact sheet, as files for each face, or both.",
    )
    parser.add_argument("--count", type=positive, default=24, help="number of faces (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same faces (default: 0)")
    parser.add_argument(
        "--distribution",
        choices=DISTRIBUTION_NAMES,
        default="natural",
        help="what they are drawn from; 'paper' is Section 5 of the paper (default: %(default)s)",
    )
    parser.add_argument(
        "--truncation",
        type=_deviations,
        metavar="SIGMA",
        help="draw shape and reflectance again where they lie more than so many standard deviations out",
    )
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="write all faces into one picture")
    parser.add_argument("--columns", type=positive, help="faces in a row of the sheet")
    parser.add_argument(
        "--output-dir", type=Path, metavar="DIR", help="write each face's picture and parameter file there"
    )
    parser.add_argument(
        "--mesh",
        type=mesh_formats,
        default=(),
        metavar="FORMATS",
        help="mesh files beside them: some of glb,obj,ply (default: none)",
    )
    add_mesh_options(parser)
    parser.add_argument(
        "--size", type=picture_size, default=240, help="side of a face in pixels (default: %(default)s)"
    )
    add_face_model_option(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Draw the faces and write what was asked for."""
    if options.sheet is None and options.output_dir is None:
        options.parser.error("name a picture with --sheet, a folder with --output-dir, or both")
    if options.seed < 0:
        options.parser.error("--seed must not be negative")
    import numpy as np

    from inversefacenet.export import face_mesh, write_mesh
    from inversefacenet.parameters import Parameters
    from inversefacenet.sampling import DISTRIBUTIONS
    from inversefacenet.visualisation import contact_sheet, face_picture

    if options.sheet is not None:
        check_picture_name(options.sheet)
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
    if options.output_dir is not None:
        options.output_dir.mkdir(parents=True, exist_ok=True)
    model = load_face_model(options.face_model)
    distribution = DISTRIBUTIONS[options.distribution]
    if options.truncation is not None:
        distribution = replace(distribution, truncation=options.truncation)
    thetas = distribution.sample(np.random.default_rng(options.seed), options.count, model)
    pictures = []
    for index, theta in enumerate(progress(thetas, options.count, "face")):
        parameters = Parameters.from_vector(theta)
        picture = face_picture(model, parameters, options.size)
        if options.sheet is not None:
            pictures.append(picture)
        if options.output_dir is not None:
            base = options.output_dir / f"sample-{index:04d}"
            document = parameter_document(parameters, model) | {
                "sample": {"distribution": options.distribution, "seed": options.seed, "index": index}
            }
            write_document(document, base.with_suffix(".parameters.json"))
            write_picture(picture, base.with_suffix(".png"))
            for file_format in options.mesh:
                mesh = face_mesh(model, parameters, options.mesh_space, options.mesh_colours)
                write_mesh(mesh, base.with_suffix(f".{file_format}"))
    if options.output_dir is not None:
        say(f"{options.output_dir}: {options.count} faces")
    if options.sheet is not None:
        columns = options.columns or min(_WIDEST_DEFAULT, math.ceil(math.sqrt(1.5 * options.count)))
        say(str(write_picture(contact_sheet(pictures, columns), options.sheet)))
    return 0


def _deviations(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    # Far below half a deviation hardly any draw is kept, and drawing would take forever.
    if not number >= 0.5:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of at least 0.5")
    return number
