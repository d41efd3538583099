"""`inversefacenet edit`: a photo in, the edited photo out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inversefacenet.cli.edit_options import add_edit_options, read_specification
from inversefacenet.cli.output import (
    add_face_model_option,
    add_minimum_size_option,
    add_refine_option,
    check_picture_name,
    load_face_model,
    measures_line,
    say,
    write_picture,
)
from inversefacenet.cli.parameter_file import parameter_document, write_document
from inversefacenet.cli.server import add_server_options, open_client
from inversefacenet.errors import InputError, NoFaceError

if TYPE_CHECKING:
    import numpy as np

    from inversefacenet.client import EditedFace
    from inversefacenet.parameters import Parameters
    from inversefacenet.reconstruction import Reconstruction, Reconstructor

_EPILOG: Final = (
    "The edits are done in the order in which they are given: "
    "inversefacenet edit me.jpg -o evening.png --relight sunset --add-expression jawOpen=0.2 --pose yaw=10"
)


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add this command to the program's parser."""
    parser = commands.add_parser(
        "edit",
        parents=[common],
        help="edit the faces of a photo: light, pose, expression, identity, skin",
        description="Change the light, the pose, the expression, the identity or the skin of a photo's face. "
        "The edited face is set back into the whole photo, with the photo's own detail kept.",
        epilog=_EPILOG,
    )
    parser.add_argument("photo", type=Path, metavar="PHOTO", help="the photo's file")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the edited photo's file (.png, .jpg, .webp)",
    )
    add_edit_options(parser)
    parser.add_argument(
        "--faces",
        choices=("largest", "all"),
        default="largest",
        help="which faces of the photo get the edits (default: %(default)s)",
    )
    add_minimum_size_option(parser)
    add_refine_option(parser)
    parser.add_argument(
        "--parameters",
        type=Path,
        metavar="JSON",
        help="write the edited face's parameters too, for inversefacenet render; of several the largest's",
    )
    parser.add_argument(
        "--model", type=Path, metavar="ONNX", help="the network: fast, reference or a file; by default fast"
    )
    add_face_model_option(parser)
    parser.add_argument(
        "--landmarks",
        type=Path,
        metavar="FILE",
        help="landmark predictor: a file, or 'open' for the project's own; default: the usual one",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object for each face")
    add_server_options(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Edit the photo, here or at a server."""
    for name in ("model", "face-model", "landmarks"):
        if options.server is not None and getattr(options, name.replace("-", "_")) is not None:
            options.parser.error(f"--{name} and --server exclude each other: the server has its own")
    check_picture_name(options.output)
    edits, others = read_specification(options)
    if not edits:
        options.parser.error("nothing is to be changed: name an edit, such as --relight left or --neutral")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    (_here if options.server is None else _there)(options, edits, others)
    return 0


def _here(options: argparse.Namespace, edits: Sequence[dict[str, Any]], others: dict[str, Path]) -> None:
    from inversefacenet.cli.reconstruct import make_reconstructor
    from inversefacenet.confidence import quality_block
    from inversefacenet.editing import PhotoEditor, apply_edits, parse_edits
    from inversefacenet.image import load_photo
    from inversefacenet.parameters import Parameters

    # What is wrong with the edits is told before anything is loaded for them.
    model = load_face_model(options.face_model)
    parse_edits(edits, model, dict.fromkeys(others, Parameters.neutral()))
    reconstructor = make_reconstructor(options.model, options.face_model, options.landmarks)
    # Of another photo the largest face counts, however small.
    lent = {name: _largest(reconstructor, path, options.refine) for name, path in others.items()}
    parsed = parse_edits(edits, model, lent)
    picture = load_photo(options.photo)
    faces = _reconstructed(
        reconstructor, options.photo, picture, options.faces, options.refine, options.minimum_size
    )
    for number, face in enumerate(faces, start=1):
        picture = PhotoEditor(picture, face).edit(parsed)
        before = None if face.before is None else quality_block(face.before, face.confidence)
        _report(options, number, len(faces), face.assessment(), before)
    if options.parameters is not None:
        edited = apply_edits(model, faces[0].parameters, parsed)
        _write_parameters(options.parameters, parameter_document(edited, model))
    say(str(write_picture(picture, options.output)))


def _reconstructed(
    reconstructor: Reconstructor,
    path: Path,
    image: np.ndarray,
    faces: Any,
    refine: int,
    minimum_size: float | None = None,
) -> list[Reconstruction]:
    try:
        found = reconstructor.reconstruct(image, faces, minimum_size=minimum_size)
    except NoFaceError as error:
        raise NoFaceError(f"{path}: {error}") from error
    return [reconstructor.refine(one, refine) for one in found] if refine else found


def _largest(reconstructor: Reconstructor, path: Path, refine: int) -> Parameters:
    from inversefacenet.image import load_photo

    (face,) = _reconstructed(reconstructor, path, load_photo(path), "largest", refine)
    return face.parameters


def _there(options: argparse.Namespace, edits: Sequence[dict[str, Any]], others: dict[str, Path]) -> None:
    from dataclasses import asdict

    from inversefacenet.cli.remote_files import write_picture_content

    with open_client(options) as client:
        result = client.edit(
            options.photo,
            edits,
            others=others,
            faces=options.faces,
            minimum_size=options.minimum_size,
            refine=options.refine or None,
        )
    for number, face in enumerate(result.faces, start=1):
        _report(options, number, len(result.faces), _known(face.quality), _known(face.quality_before))
    if options.parameters is not None:
        document = _remote_document(result.faces[0], asdict(result.model.face_model))
        _write_parameters(options.parameters, document)
    say(str(write_picture_content(result.picture.content, options.output)))


def _known(quality: Any) -> dict[str, Any] | None:
    return None if quality is None else {n: v for n, v in vars(quality).items() if v is not None}


def _remote_document(face: EditedFace, face_model: dict[str, str]) -> dict[str, Any]:
    from inversefacenet import __version__
    from inversefacenet.cli.parameter_file import FORMAT_VERSION

    return {
        "format_version": FORMAT_VERSION,
        "software": f"inversefacenet {__version__}",
        "face_model": face_model,
        "parameters": face.parameters.to_dict(),
    }


def _write_parameters(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_document(document, path)
    say(str(path))


def _report(
    options: argparse.Namespace,
    number: int,
    count: int,
    quality: dict[str, Any] | None,
    before: dict[str, Any] | None,
) -> None:
    """Say how far the reconstruction can be trusted: an edit is only as good as that."""
    if quality is None:
        raise InputError("The server's answer has no quality.")
    facts: dict[str, Any] = {"photo": str(options.photo), "face": number, "faces": count, "quality": quality}
    if options.json:
        say(json.dumps(facts | ({"quality_before": before} if before else {})))
        return
    sure = f" confidence={quality['confidence']:.2f} {quality['verdict']}" if "confidence" in quality else ""
    say(f"{options.photo}: face {number} of {count} {measures_line(quality, before)}{sure}")
