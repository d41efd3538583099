"""`inversefacenet render`: a parameter file in, a picture or a mesh out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from inversefacenet.cli.output import (
    add_face_model_option,
    add_mesh_options,
    check_picture_name,
    load_face_model,
    picture_size,
    say,
    write_picture,
)
from inversefacenet.cli.parameter_file import read_parameters
from inversefacenet.cli.remote_files import mesh_format
from inversefacenet.cli.server import add_server_options


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add this command to the program's parser."""
    parser = commands.add_parser(
        "render",
        parents=[common],
        help="render a parameter file",
        description="Render a face from a parameter file that reconstruct or sample wrote, or from one "
        "written by hand: groups that are left out are neutral, and rig units may stand for the "
        'expression, as in {"rotation": [0.3, 0, 0], "units": {"jawOpen": 0.4}}.',
    )
    parser.add_argument("parameters", type=Path, metavar="JSON", help="a parameter file")
    parser.add_argument("--output", type=Path, metavar="PNG", help="the picture's file (.png, .jpg, .webp)")
    parser.add_argument(
        "--size", type=picture_size, default=512, help="side of the picture in pixels (default: %(default)s)"
    )
    parser.add_argument("--mesh", type=Path, metavar="FILE", help="the mesh's file (.glb, .obj, .ply)")
    add_mesh_options(parser)
    add_face_model_option(parser)
    add_server_options(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Write what was asked for."""
    if options.output is None and options.mesh is None:
        options.parser.error("name a picture with --output, a mesh with --mesh, or both")
    for path, check in ((options.output, check_picture_name), (options.mesh, mesh_format)):
        if path is not None:
            check(path)
            path.parent.mkdir(parents=True, exist_ok=True)
    if options.server is not None:
        from inversefacenet.cli.remote import render

        return render(options)
    from inversefacenet.export import face_mesh, write_mesh
    from inversefacenet.visualisation import face_picture

    model = load_face_model(options.face_model)
    parameters = read_parameters(options.parameters, model)
    if options.output is not None:
        say(str(write_picture(face_picture(model, parameters, options.size), options.output)))
    if options.mesh is not None:
        mesh = face_mesh(model, parameters, options.mesh_space, options.mesh_colours)
        for path in write_mesh(mesh, options.mesh):
            say(str(path))
    return 0
