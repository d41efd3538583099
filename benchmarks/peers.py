"""Photo to parameters beside other software on the same 512x512 photo, in turn in one run.

dlib's HOG detector on the whole photo is the measure that figures of other machines can be compared by: all
times are given over its own. MediaPipe takes part where an old package of it with the models inside is
installed, here or in another Python (``--mediapipe-python``); newer ones bring no models. What isn't
installed has no figure.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.photos import Example
from benchmarks.timing import Call, Harness, Timing
from inversefacenet.dlib_models import DlibModels
from inversefacenet.image import decode_photo
from inversefacenet.reconstruction import Reconstructor

_TURN: Final = 0.06
"""Seconds of a turn."""

HOG: Final = "dlib's HOG detector"
HOG_AND_POINTS: Final = "dlib's HOG detector and 68 points"
OURS: Final = "photo to parameters"
OURS_DECODING: Final = "photo to parameters, decoding included"
MEDIAPIPE: Final = "MediaPipe's face mesh"

QUOTED: Final[Mapping[str, float]] = {"3DDFA_V2's two networks (quoted, not measured here)": 8.7 / 55}
"""Times over that of dlib's HOG on 512x512 in the same run, on somebody else's 2 cores."""

_CHILD: Final = """
import sys
import numpy as np
import mediapipe
image = np.load(sys.argv[1])
mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=False)
found = mesh.process(image).multi_face_landmarks
print("ready" if found else "no face", flush=True)
for line in sys.stdin:
    mesh.process(image)
    print("done", flush=True)
"""


def time_peers(
    example: Example, reconstructor: Reconstructor, harness: Harness, mediapipe: Path | None = None
) -> dict[str, Timing]:
    """Time everybody in turn, each photo after photo for a while, as a busy service has them.

    Args:
        example: The photo, 512x512.
        reconstructor: Ours.
        harness: How they are timed.
        mediapipe: A Python in which MediaPipe is installed; by default this one.
    """
    frontal, predict = DlibModels().frontal(), DlibModels().predictor().predict
    image = example.image

    def points() -> None:
        for box in frontal(image, 0)[:1]:
            predict(image, box)

    def ours() -> None:
        reconstructor.infer(reconstructor.find(image))

    def ours_decoding() -> None:
        reconstructor.infer(reconstructor.find(decode_photo(example.content)))

    calls: dict[str, Call] = {
        HOG: lambda: frontal(image, 0),
        HOG_AND_POINTS: points,
        OURS: ours,
        OURS_DECODING: ours_decoding,
    }
    with _mediapipe(image, mediapipe or Path(sys.executable)) as other:
        if other is not None:
            calls[MEDIAPIPE] = other
        return replace(harness, shortest=_TURN).alternate(calls)


def over_hog(times: Mapping[str, Timing], name: str) -> float:
    """Return a time over that of dlib's HOG detector."""
    return times[name].median / times[HOG].median


@contextmanager
def _mediapipe(image: np.ndarray, python: Path) -> Iterator[Call | None]:
    """Give a call that has another process find the photo's face, or None where that can't be done."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "photo.npy")
        np.save(file, image)
        command = [str(python), "-c", _CHILD, str(file)]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            source, answers = child.stdin, child.stdout

            def ask() -> None:
                source.write("\n")
                source.flush()
                if not answers.readline():
                    raise RuntimeError("MediaPipe's process has ended.")

            yield ask if answers.readline().strip() == "ready" else None
            source.close()
