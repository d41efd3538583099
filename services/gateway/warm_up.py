"""What a worker does before its first photo, so that this one costs what the thousandth costs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import numpy as np

from inversefacenet.errors import NoFaceError
from inversefacenet.landmarks import Face
from inversefacenet.parameters import Parameters
from inversefacenet.rendering import render
from services.gateway.answers import answer_faces
from services.gateway.edit_answers import answer_edit
from services.gateway.encodings import encode
from services.gateway.jobs import EditJob, Output, PhotoJob
from services.gateway.pipeline import NoBackend, Pipeline
from services.gateway.schemas import Part

_EDITS: Final[tuple[dict[str, Any], ...]] = (
    {"edit": "relight", "direction": [1, 0, 1]},
    {"edit": "pose", "yaw": 1},
)


def warm_up(pipeline: Pipeline) -> None:
    """Take a rendered face through everything that a photo goes through.

    The first photo then costs what the thousandth costs: by then numba has compiled its kernels and dlib
    has read its files.

    Raises:
        InverseFaceNetError: If a part doesn't work.
    """
    reconstructor = pipeline.reconstructor
    neutral = Parameters.neutral()
    rendering = render(reconstructor.model, neutral)
    border = 80
    picture = np.pad(rendering.image, ((border, border), (border, border), (0, 0)), constant_values=128)
    # The detector may or may not take it for a face; the rest goes on with what we know of it.
    with suppress(NoFaceError):
        reconstructor.detector.detect(picture, faces="largest")
    found = reconstructor.cut(picture, [Face.known(rendering.landmarks + np.float32(border))])
    reconstructions = reconstructor.finish(found, neutral.vector()[None])
    output = Output(frozenset(Part))
    size = (picture.shape[1], picture.shape[0])
    encode(answer_faces(picture, size, reconstructions, pipeline.model, output), output)
    answer_edit(picture, reconstructions, {}, EditJob(PhotoJob(b""), _EDITS), pipeline.model)
    if not isinstance(reconstructor.backend, NoBackend):
        pipeline.probe()
