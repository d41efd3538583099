"""Everything compiled ahead of the first photo: ``python -m inversefacenet.warm_up``.

A rendered face goes through the whole pipeline, an edit and a refinement: whatever these compile is compiled
then, and kept on the disk for all processes to come. Nothing names the compiled functions.

Where the code is kept, first that works: the folder NUMBA_CACHE_DIR, the package's own, the user's cache
(``~/.cache/numba``). Code kept for another kind of processor, or of another version of a source file, is not
used: it is compiled again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import UInt8

from inversefacenet.errors import MissingDependencyError, NoFaceError
from inversefacenet.parameters import Parameters

if TYPE_CHECKING:
    from inversefacenet.reconstruction import Reconstruction, Reconstructor
    from inversefacenet.rendering import Rendering

_PACKAGE: Final = "inversefacenet"
_BORDER: Final = 80
_EDITS: Final[list[dict[str, Any]]] = [
    {"edit": "relight", "direction": [1, 0, 1]},
    {"edit": "skin", "tone": 0.2},
    {"edit": "pose", "yaw": 5},
    {"edit": "expression", "units": {"jawOpen": 0.3}},
]
_PREVIEW: Final = 128


def warm_up(reconstructor: Reconstructor) -> Reconstruction:
    """Take a rendered face through the whole pipeline, pictures, an edit and a refinement.

    Args:
        reconstructor: Whatever of it is loaded on first use is loaded afterwards.

    Returns:
        What came out: of a face that is known, so that it says nothing about anybody.

    Raises:
        MissingDependencyError: dlib or its weights are not installed.
    """
    from inversefacenet.editing import PhotoEditor, parse_edits
    from inversefacenet.export import mesh_of, mesh_to_bytes
    from inversefacenet.landmarks import FaceDetector
    from inversefacenet.rendering import render
    from inversefacenet.visualisation import contour_picture, face_picture, geometry_picture, overlay

    neutral = Parameters.neutral()
    rendering = render(reconstructor.model, neutral)
    picture = _framed(rendering.image)
    detector = reconstructor.detector
    # The detector may or may not take it for a face; the rest goes on with what we know of it.
    with suppress(NoFaceError):
        detector.detect(picture, faces="all")
    face = _known_face(rendering)
    if isinstance(detector, FaceDetector):
        for roll in (0.0, 0.3):
            detector.face_at(picture, face.box, roll=roll)
    found = reconstructor.cut(picture, [face])
    (reconstruction,) = reconstructor.finish(found, reconstructor.infer(found))
    reconstructor.refine(reconstruction, iterations=1)
    mesh_to_bytes(mesh_of(reconstruction, colours="photo", image=picture, texture_size=256), "glb")
    face_picture(reconstructor.model, neutral)
    overlay(picture, reconstruction)
    contour_picture(reconstruction)
    geometry_picture(reconstruction)
    editor = PhotoEditor(picture, reconstruction)
    edits = parse_edits(_EDITS, reconstructor.model)
    editor.preview(edits, _PREVIEW)
    editor.edit(edits)
    return reconstruction


def _framed(image: UInt8[np.ndarray, "240 240 3"]) -> UInt8[np.ndarray, "height width 3"]:
    border = ((_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0))
    return np.pad(image, border, constant_values=128)


def _known_face(rendering: Rendering) -> Any:
    from inversefacenet.landmarks import Face

    return Face.known(rendering.landmarks + np.float32(_BORDER))


def compiled_functions() -> dict[str, Any]:
    """Return the compiled functions of this package's loaded modules, by their full names."""
    return dict(_functions())


def _functions() -> Iterator[tuple[str, Any]]:
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] != _PACKAGE or module is None:
            continue
        for value in list(vars(module).values()):
            if hasattr(value, "py_func") and hasattr(value, "signatures") and value.__module__ == name:
                yield f"{name}.{value.__name__}", value


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the last line holds name=value pairs."""
    argparse.ArgumentParser(
        prog="python -m inversefacenet.warm_up",
        description="Compile ahead what the first photo would wait for, and keep it on the disk.",
    ).parse_args(arguments)
    from inversefacenet.reconstruction import Reconstructor

    started = time.perf_counter()
    try:
        warm_up(Reconstructor())
    except MissingDependencyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    functions = compiled_functions().values()
    known = sum(bool(function.signatures) for function in functions)
    anew = sum(sum(function.stats.cache_misses.values()) for function in functions)
    folders = {str(function.stats.cache_path) for function in functions if function.stats.cache_path}
    place = os.path.commonpath(folders) if folders else "none"
    seconds = time.perf_counter() - started
    print(f"seconds={seconds:.1f} functions={known} compiled={anew} cache={place}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
