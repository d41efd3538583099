"""`inversefacenet reconstruct`: photos in; parameters, meshes and pictures out."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inversefacenet.cli.output import (
    add_face_model_option,
    add_mesh_options,
    add_minimum_size_option,
    add_refine_option,
    complain,
    describe,
    load_face_model,
    measures_line,
    mesh_formats,
    picture_size,
    progress,
    say,
    write_picture,
)
from inversefacenet.cli.parameter_file import qualities_of, reconstruction_document, write_document
from inversefacenet.cli.server import add_server_options, open_client
from inversefacenet.errors import InverseFaceNetError

if TYPE_CHECKING:
    from inversefacenet.reconstruction import Reconstruction, Reconstructor

Attempt = Callable[[], list[dict[str, Any]]]

_NAMES_AT_THE_END = 10


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add this command to the program's parser."""
    parser = commands.add_parser(
        "reconstruct",
        parents=[common],
        help="reconstruct the faces of photos",
        description="Reconstruct the faces of photos. For photo.jpg it writes photo.parameters.json, "
        "photo.glb, photo.rendering.png, photo.overlay.png (the face over the whole photo), "
        "photo.contours.png (red: the photo's face mask, green: the model's; the "
        "small shape is the mouth's opening, which masks leave out) and photo.geometry.png (the "
        "shape alone). With --server a service does the work and the files are the same; photo.geometry.png "
        "then costs one more request for each face: leave it out with --no-geometry.",
    )
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="a photo's file")
    parser.add_argument("--output-dir", type=Path, required=True, metavar="DIR", help="where the files go")
    parser.add_argument(
        "--faces",
        choices=("largest", "all"),
        default="largest",
        help="with 'all' the files are numbered by the face's size: photo.1.glb, photo.2.glb "
        "(default: %(default)s)",
    )
    add_minimum_size_option(parser)
    parser.add_argument(
        "--mesh",
        type=mesh_formats,
        default=("glb",),
        metavar="FORMATS",
        help="mesh files to write: some of glb,obj,ply, or none (default: glb)",
    )
    add_mesh_options(parser, photo=True)
    add_refine_option(parser)
    parser.add_argument(
        "--size",
        type=picture_size,
        default=240,
        help="side of the rendering in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--no-geometry",
        dest="geometry",
        action="store_false",
        help="don't write photo.geometry.png, which with --server costs one more request for each face",
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
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object a line for each face and each failure"
    )
    add_server_options(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Reconstruct all photos; those that fail are reported, and the others done all the same."""
    if options.server is not None and options.model is not None:
        options.parser.error("--model and --server exclude each other: the server has its own network")
    if options.server is not None and options.landmarks is not None:
        options.parser.error("--landmarks and --server exclude each other: the server has its own predictor")
    started = time.perf_counter()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    qualities: list[dict[str, float | str]] = []
    failed: list[Path] = []
    pairs = list(zip(options.photos, output_names(options.photos), strict=True))
    with _attempts(pairs, options) as attempts:
        for photo, attempt in progress(attempts, len(pairs), "photo"):
            try:
                answers = attempt()
            except (InverseFaceNetError, OSError) as error:
                if options.debug:
                    raise
                failed.append(photo)
                _report_failure(photo, error, as_json=options.json)
                continue
            for answer in answers:
                _report_face(answer, as_json=options.json)
                qualities.append(answer["quality"])
    if not options.json:
        say(_summary(len(pairs), len(failed), qualities, time.perf_counter() - started))
    if failed and len(pairs) > 1:
        named = ", ".join(str(photo) for photo in failed[:_NAMES_AT_THE_END])
        more = ", ..." if len(failed) > _NAMES_AT_THE_END else ""
        complain(f"{len(failed)} of {len(pairs)} photos failed: {named}{more}")
    return 1 if failed else 0


@contextmanager
def _attempts(
    pairs: Sequence[tuple[Path, str]], options: argparse.Namespace
) -> Iterator[Iterable[tuple[Path, Attempt]]]:
    """Give each photo the function that reconstructs it here, or waits for a server to have done so."""
    if options.server is None:
        reconstructor = make_reconstructor(options.model, options.face_model, options.landmarks)
        yield (
            (photo, partial(reconstruct_photo, reconstructor, photo, name, options)) for photo, name in pairs
        )
        return
    from inversefacenet.cli.remote import RemotePhotos

    with open_client(options) as client, closing(RemotePhotos(client, options).attempts(pairs)) as attempts:
        yield attempts


def make_reconstructor(
    network: Path | None, face_model: Path | None, landmarks: Path | None = None
) -> Reconstructor:
    """Load detector, network and face model.

    Raises:
        InverseFaceNetError: If one of them is missing or damaged; the message says what to do.
    """
    from inversefacenet.backends.onnx import OnnxBackend
    from inversefacenet.landmarks import FaceDetector
    from inversefacenet.reconstruction import Reconstructor

    return Reconstructor(FaceDetector(predictor=landmarks), OnnxBackend(network), load_face_model(face_model))


def reconstruct_photo(
    reconstructor: Reconstructor, photo: Path, name: str, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Reconstruct one photo and write its files.

    Returns:
        What was written and how good it is, a dictionary a face.

    Raises:
        InverseFaceNetError: If the photo can't be used or shows no face.
        OSError: If a file can't be written.
    """
    from inversefacenet.image import load_photo

    image = load_photo(photo)
    found = reconstructor.reconstruct(image, options.faces, minimum_size=options.minimum_size)
    if options.refine:
        found = [reconstructor.refine(one, options.refine) for one in found]
    facts = {"name": photo.name, "width": image.shape[1], "height": image.shape[0]}
    answers = []
    for index, reconstruction in enumerate(found, start=1):
        numbered = f"{name}.{index}" if options.faces == "all" else name
        document = reconstruction_document(reconstruction, reconstructor.backend, facts, index, len(found))
        base = options.output_dir / numbered
        files = [write_document(document, _beside(base, ".parameters.json"))]
        files += write_files(reconstruction, image, base, options)
        answers.append(
            {
                "photo": str(photo),
                "face": index,
                "faces": len(found),
                **qualities_of(document),
                "files": [str(file) for file in files],
            }
        )
    return answers


def write_files(
    reconstruction: Reconstruction, image: Any, base: Path, options: argparse.Namespace
) -> list[Path]:
    """Write a face's meshes and pictures, and return their paths."""
    from inversefacenet.export import mesh_of, write_mesh
    from inversefacenet.visualisation import contour_picture, face_picture, geometry_picture, overlay

    files: list[Path] = []
    if options.mesh:
        mesh = mesh_of(reconstruction, options.mesh_space, options.mesh_colours, image, options.texture_size)
        for file_format in options.mesh:
            files += write_mesh(mesh, _beside(base, f".{file_format}"))
    pictures = {
        "rendering": face_picture(reconstruction.model, reconstruction.parameters, options.size),
        "overlay": overlay(image, reconstruction),
        "contours": contour_picture(reconstruction),
    }
    if options.geometry:
        pictures["geometry"] = geometry_picture(reconstruction)
    return files + [
        write_picture(picture, _beside(base, f".{what}.png")) for what, picture in pictures.items()
    ]


def output_names(photos: Sequence[Path]) -> list[str]:
    """Name each photo's files after the photo; where two are called the same, the later gets a number."""
    taken: set[str] = set()
    names = []
    for photo in photos:
        name, number = photo.stem, 2
        while name in taken:
            name, number = f"{photo.stem}-{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _beside(base: Path, ending: str) -> Path:
    # Not with_suffix: a photo's name may have dots of its own.
    return base.with_name(base.name + ending)


def _report_face(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say(json.dumps(answer))
        return
    quality = answer["quality"]
    # A server of before confidence says none.
    sure = f" confidence={quality['confidence']:.2f} {quality['verdict']}" if "confidence" in quality else ""
    say(
        f"{answer['photo']}: face {answer['face']} of {answer['faces']}"
        f" {measures_line(quality, answer.get('quality_before'))}{sure}"
    )
    for file in answer["files"]:
        say(f"  {file}")


def _report_failure(photo: Path, error: Exception, *, as_json: bool) -> None:
    detail = describe(error)
    complain(detail if detail.startswith(f"{photo}:") else f"{photo}: {detail}")
    if as_json:
        known = getattr(error, "code", error.slug) if isinstance(error, InverseFaceNetError) else None
        code = known or "file-system"
        say(json.dumps({"photo": str(photo), "error": {"code": code, "detail": detail}}))


def _summary(photos: int, failed: int, qualities: Sequence[dict[str, float | str]], seconds: float) -> str:
    parts = [f"photos={photos}", f"faces={len(qualities)}", f"failed={failed}"]
    if qualities:
        for name, digits in (("photometric", 1), ("iou", 3), ("landmark", 2), ("confidence", 2)):
            known = [float(quality[name]) for quality in qualities if name in quality]
            if known:
                parts.append(f"{name}={sum(known) / len(known):.{digits}f}")
    return " ".join([*parts, f"seconds={seconds:.1f}"])
