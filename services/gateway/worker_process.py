"""A worker process: `python -m services.gateway.worker_process FD`, started by `slots`, never by hand.

It reads `WorkerOptions` and then (method, arguments) pairs from the socket, and answers each with
(True, result) or (False, error). It ends when the socket does, so it can't outlive the service.
"""

from __future__ import annotations

import logging
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from inversefacenet.backends import InferenceBackend
from inversefacenet.errors import InverseFaceNetError
from services.gateway.context import begin_request
from services.gateway.jobs import EditJob, PhotoJob, RenderJob
from services.gateway.logging_config import configure_logging
from services.gateway.pipeline import NoBackend, Pipeline, model_info
from services.gateway.slots import WorkerOptions
from services.gateway.track_jobs import TrackJob

logger = logging.getLogger("services.gateway.worker")


def main() -> int:
    """Answer jobs until the socket ends.

    Returns:
        0 at the end of the socket, 1 if the worker couldn't start.
    """
    # Ctrl-C and a supervisor's signals reach the whole group; the service decides when workers go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    try:
        options: WorkerOptions = connection.recv()
        configure_logging(options.log_level)
        try:
            pipeline = load_pipeline(options)
        except Exception as error:
            connection.send((False, _portable(error)))
            return 1
        connection.send((True, pipeline.model))
        while True:
            method, arguments = connection.recv()
            connection.send(_answer(pipeline, method, arguments))
    except (EOFError, OSError):
        return 0


def _answer(pipeline: Pipeline, method: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    for argument in arguments[:1]:
        if isinstance(argument, EditJob | PhotoJob | RenderJob | TrackJob):
            begin_request(argument.request_id)
    try:
        return True, getattr(pipeline, method)(*arguments)
    except Exception as error:
        return False, _portable(error)


def _portable(error: Exception) -> InverseFaceNetError:
    """Return an error that can cross the socket; what nobody foresaw stays here, in the log."""
    if isinstance(error, InverseFaceNetError):
        if error.http_status == 500:
            logger.error("%s: %s", error.slug, error, exc_info=error)
        try:
            return type(error)(*error.args)
        except TypeError:  # it is made of more than its message
            logger.error("%s: %s", error.slug, error)
            return InverseFaceNetError(str(error))
    logger.error("unexpected %s", type(error).__name__, exc_info=error)
    return InverseFaceNetError(f"unexpected {type(error).__name__}")


def load_pipeline(options: WorkerOptions) -> Pipeline:
    """Load detector, network and face model, and warm them up.

    Raises:
        InverseFaceNetError: If a part is missing or damaged.
    """
    from inversefacenet.backends.onnx import OnnxBackend
    from inversefacenet.landmarks import FaceDetector
    from inversefacenet.morphable_model import MorphableModel
    from inversefacenet.networks import network_path, version_of
    from inversefacenet.reconstruction import Reconstructor
    from services.gateway.warm_up import warm_up

    backend: InferenceBackend = NoBackend()
    version = ""
    if options.embedded:
        path = network_path(options.model_path)
        backend = OnnxBackend(path, threads=options.threads)
        version = version_of(path)
    detector = FaceDetector(minimum_size=options.minimum_face, predictor=options.landmarks)
    detector.load()
    face_model = MorphableModel.load(options.face_model_path) if options.face_model_path else None
    reconstructor = Reconstructor(detector, backend, face_model)
    pipeline = Pipeline(reconstructor, model_info(backend, reconstructor.model, version))
    warm_up(pipeline)
    return pipeline


if __name__ == "__main__":
    sys.exit(main())
