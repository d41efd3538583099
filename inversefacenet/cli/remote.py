"""`--server`: the commands with a service doing the work. Neither detector nor network is loaded here."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inversefacenet import __version__
from inversefacenet.cli.output import complain, say
from inversefacenet.cli.parameter_file import FORMAT_VERSION, qualities_of, read_parameters, write_document
from inversefacenet.cli.remote_files import mesh_format, write_mesh_content, write_picture_content
from inversefacenet.cli.server import open_client, same_face_model
from inversefacenet.errors import ExportError, ImageError, ParameterError

if TYPE_CHECKING:
    from inversefacenet.client import Client, FaceQuality, ReconstructedFace, ReconstructionResult
    from inversefacenet.client.requests import MeshFormat
    from inversefacenet.morphable_model import MorphableModel

PHOTOS_AT_ONCE: Final = 4

_PARTS: Final = ("rendering", "overlay", "contours")

Attempt = Callable[[], list[dict[str, Any]]]


class RemotePhotos:
    """Reconstructs photos at a server, several at once, and writes the same files as without one."""

    def __init__(self, client: Client, options: argparse.Namespace) -> None:
        """Ask the server for its face model.

        Raises:
            InverseFaceNetError: If it doesn't answer.
        """
        self._client = client
        self._options = options
        self._face_model = same_face_model(client, options.face_model)

    def attempts(self, pairs: Iterable[tuple[Path, str]]) -> Generator[tuple[Path, Attempt], None, None]:
        """Yield each photo, in order, with the function that waits for what became of it."""
        pool = ThreadPoolExecutor(PHOTOS_AT_ONCE, thread_name_prefix="photo")
        ahead: deque[tuple[Path, Future[list[dict[str, Any]]]]] = deque()
        try:
            for photo, name in pairs:
                ahead.append((photo, pool.submit(self.reconstruct, photo, name)))
                if len(ahead) > PHOTOS_AT_ONCE:
                    first, future = ahead.popleft()
                    yield first, future.result
            for first, future in ahead:
                yield first, future.result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def reconstruct(self, photo: Path, name: str) -> list[dict[str, Any]]:
        """Reconstruct one photo and write its files; see `reconstruct.reconstruct_photo`."""
        options = self._options
        result = self._ask(photo)
        if result.truncated:
            complain(f"{photo}: shows more faces than the server answers; the smallest were left out")
        answers = []
        for index, face in enumerate(result.faces, start=1):
            base = options.output_dir / (f"{name}.{index}" if options.faces == "all" else name)
            document = self._document(result, face, photo.name, index)
            files = [write_document(document, _beside(base, ".parameters.json"))]
            files += self._write_files(photo, result, face, base)
            answers.append(
                {
                    "photo": str(photo),
                    "face": index,
                    "faces": len(result.faces),
                    **qualities_of(document),
                    "files": [str(file) for file in files],
                }
            )
        return answers

    def _ask(self, photo: Path) -> ReconstructionResult:
        options = self._options
        try:
            return self._client.reconstruct(
                photo,
                faces=options.faces,
                minimum_size=options.minimum_size,
                parts=("mesh", *_PARTS) if options.mesh else _PARTS,
                mesh_format=options.mesh[0] if options.mesh else "glb",
                mesh_space=options.mesh_space,
                mesh_colours=options.mesh_colours,
                texture_size=options.texture_size if options.mesh_colours == "photo" else None,
                size=options.size,
                refine=options.refine,
            )
        except ImageError as error:
            # The server doesn't know what the file is called here.
            message = str(error)
            named = message if message.startswith(f"{photo}:") else f"{photo}: {message}"
            raise type(error)(named) from error

    def _document(
        self, result: ReconstructionResult, face: ReconstructedFace, photo: str, index: int
    ) -> dict[str, Any]:
        """Return what `parameter_file.reconstruction_document` would; see there."""
        from inversefacenet.camera import Placement

        placement, model = face.placement, result.model
        to_photo = Placement(placement.scale, placement.offset)
        to_crop = Placement(placement.crop_scale, placement.crop_offset)
        facts: dict[str, Any] = {
            "index": index,
            "count": len(result.faces),
            "box": list(face.box),
            "score": face.score,
            "landmarks68": None if face.landmarks is None else face.landmarks.tolist(),
        }
        if self._face_model is not None:
            facts["model_landmarks68"] = model_landmarks(self._face_model, face)
        document = {
            "format_version": FORMAT_VERSION,
            "software": f"inversefacenet {__version__}",
            "face_model": asdict(model.face_model),
            "parameters": face.parameters.to_dict(),
            "network": {"backend": model.backend, "digest": model.digest},
            "photo": {"name": photo, "width": result.width, "height": result.height},
            "face": facts,
            "placement": {
                "photo": _placement(to_photo),
                "crop": _placement(to_photo.then(to_crop)),
                "photo_to_crop": _placement(to_crop),
            },
            "quality": _known(face.quality),
        }
        if face.quality_before is not None:
            document["quality_before"] = _known(face.quality_before)
        return document

    def _write_files(
        self, photo: Path, result: ReconstructionResult, face: ReconstructedFace, base: Path
    ) -> list[Path]:
        options, client = self._options, self._client
        files: list[Path] = []
        for number, form in enumerate(options.mesh):
            if number == 0 and face.mesh is not None:
                content = face.mesh.content
            else:
                content = self._further_mesh(photo, face, form)
            files += write_mesh_content(content, _beside(base, f".{form}"))
        overlay = result.overlay
        if len(result.faces) > 1:
            # The answer's own shows all faces; here each has one to itself.
            alone = client.reconstruct(
                photo, landmarks=face.landmarks, parts=("overlay",), refine=options.refine
            )
            overlay = alone.overlay
        pictures = {"rendering": face.rendering, "overlay": overlay, "contours": face.contours}
        for what, picture in pictures.items():
            if picture is None:
                raise ExportError(f"The server sent no {what}.")
            files.append(_write(picture.content, _beside(base, f".{what}.png")))
        if options.geometry:
            geometry = client.render(face.parameters, geometry=True)
            files.append(_write(geometry, _beside(base, ".geometry.png")))
        return files

    def _further_mesh(self, photo: Path, face: ReconstructedFace, form: MeshFormat) -> bytes:
        """Return a face's mesh in another format than the answer's."""
        options = self._options
        if "photo" not in (options.mesh_space, options.mesh_colours):
            return self._client.render(
                face.parameters,
                mesh_format=form,
                mesh_space=options.mesh_space,
                mesh_colours=options.mesh_colours,
            )
        again = self._client.reconstruct(
            photo,
            landmarks=face.landmarks,
            parts=("mesh",),
            mesh_format=form,
            mesh_space=options.mesh_space,
            mesh_colours=options.mesh_colours,
            texture_size=options.texture_size if options.mesh_colours == "photo" else None,
            refine=options.refine,
        )
        mesh = again.faces[0].mesh
        if mesh is None:
            raise ExportError("The server sent no mesh.")
        return mesh.content


def render(options: argparse.Namespace) -> int:
    """Let a server draw what was asked for; see `render.run`."""
    with open_client(options) as client:
        model = same_face_model(client, options.face_model)
        if model is None:
            raise ParameterError(
                "The server draws another face model than the one here: name the file of its model with "
                "--face-model."
            )
        parameters = read_parameters(options.parameters, model)
        if options.output is not None:
            content = client.render(parameters, size=options.size)
            say(str(write_picture_content(content, options.output)))
        if options.mesh is not None:
            content = client.render(
                parameters,
                mesh_format=mesh_format(options.mesh),
                mesh_space=options.mesh_space,
                mesh_colours=options.mesh_colours,
            )
            for path in write_mesh_content(content, options.mesh):
                say(str(path))
    return 0


def model_landmarks(model: MorphableModel, face: ReconstructedFace) -> list[list[float]]:
    """Return the model's 68 landmarks in photo pixels."""
    import numpy as np

    from inversefacenet.camera import Placement, landmark_points, rotation_matrix

    parameters = face.parameters
    # As a batch, which numpy multiplies: compiled code isn't worth loading for one face.
    (geometry,) = model.geometry(parameters.shape[None], parameters.expression[None])
    turned = geometry @ rotation_matrix(parameters.rotation).T.astype(np.float32)
    points = landmark_points(model, turned, float(parameters.rotation[2]))
    placed = Placement(face.placement.scale, face.placement.offset).apply(points)
    return [[float(x), float(y)] for x, y in placed]


def _known(quality: FaceQuality) -> dict[str, Any]:
    return {name: value for name, value in asdict(quality).items() if value is not None}


def _placement(placement: Any) -> dict[str, Any]:
    return {"scale": float(placement.scale), "offset": [float(value) for value in placement.offset]}


def _write(content: bytes, path: Path) -> Path:
    path.write_bytes(content)
    return path


def _beside(base: Path, ending: str) -> Path:
    # Not with_suffix: a photo's name may have dots of its own.
    return base.with_name(base.name + ending)
