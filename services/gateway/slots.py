"""Where a job runs: in a process of its own, or in this one."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from inversefacenet.errors import BackendError, InverseFaceNetError
from services.gateway.errors import WorkerCrashedError
from services.gateway.schemas import ModelInfo

if TYPE_CHECKING:
    from services.gateway.pipeline import Pipeline

START_SECONDS = 300.0
_STOP_SECONDS = 5.0
_TRANSFER_SECONDS = 10  # for each piece of a message between the service and a worker
_ROOT = Path(__file__).resolve().parents[2]


class WorkerHungError(WorkerCrashedError):
    """The process worked far past the deadline and was ended."""


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker process needs to know.

    Attributes:
        embedded: Whether it runs the network itself.
        model_path: ONNX file; None for the one that comes with the project.
        threads: Threads of one inference.
        minimum_face: Least width of a face in photo pixels.
        log_level: Least severe log lines to write.
        face_model_path: File of the face model; None for the one that comes with the project.
        landmarks: Landmark predictor: a file, or "open" for the project's own; None for the usual one.
    """

    embedded: bool
    model_path: Path | None
    threads: int
    minimum_face: float
    log_level: str
    face_model_path: Path | None = None
    landmarks: Path | None = None


class Slot(Protocol):
    """Runs one job at a time, called from one thread at a time."""

    def start(self) -> ModelInfo:
        """Make it ready and say which network answers; may be called again after a failure."""
        ...

    def alive(self) -> bool:
        """Say whether it can take a job."""
        ...

    def call(self, method: str, arguments: tuple[Any, ...], seconds: float) -> Any:
        """Run a method of the worker's `Pipeline` and return its result."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


class ThreadSlot:
    """Runs jobs in the calling thread; all such slots share one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Take the pipeline."""
        self._pipeline = pipeline

    def start(self) -> ModelInfo:
        """Return the network's name; there is nothing to start."""
        return self._pipeline.model

    def alive(self) -> bool:
        """Return True: a thread lives as long as the service."""
        return True

    def call(self, method: str, arguments: tuple[Any, ...], seconds: float) -> Any:
        """Run a method of the pipeline; it can't be interrupted."""
        return getattr(self._pipeline, method)(*arguments)

    def stop(self) -> None:
        """Do nothing: threads end with the pool."""


class ProcessSlot:
    """Runs jobs in a child process; if that dies or hangs, only its own job is lost."""

    def __init__(self, options: WorkerOptions) -> None:
        """Keep the options; nothing is started."""
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._process.pid if self._process else None

    def start(self) -> ModelInfo:
        """Start the child and wait until it has loaded everything.

        Raises:
            InverseFaceNetError: If it can't; the message says why.
        """
        self._end()  # one that lives but can't be used any more
        ours, theirs = socket.socketpair()
        # A child that has stopped takes nothing and ends nothing that it began to say: don't wait for ever.
        limit = struct.pack("@ll", _TRANSFER_SECONDS, 0)
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            ours.setsockopt(socket.SOL_SOCKET, option, limit)
        environment = dict(os.environ)
        # Workers are the parallelism: threads within small matrix products get in each other's way.
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
            environment.setdefault(name, "1")
        # The child finds this very code, wherever the service was started.
        paths = [str(_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        with theirs, self._lock:
            if self._stopped:
                ours.close()
                raise WorkerCrashedError("The service is stopping.")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.gateway.worker_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
            self._connection = connection = Connection(ours.detach())
        info = self._exchange(connection, self._options, START_SECONDS)
        assert isinstance(info, ModelInfo)
        return info

    def alive(self) -> bool:
        """Say whether the child runs; asked between jobs, for its silence then is a good sign."""
        process, connection = self._process, self._connection
        if process is None or connection is None or process.poll() is not None:
            return False
        return not connection.poll(0)

    def call(self, method: str, arguments: tuple[Any, ...], seconds: float) -> Any:
        """Run a method of the child's pipeline.

        Raises:
            WorkerCrashedError: If the child died, or did not answer in time and was ended.
            InverseFaceNetError: What the method raised.
        """
        connection = self._connection
        if connection is None:
            raise WorkerCrashedError("The worker is not running.")
        return self._exchange(connection, (method, arguments), seconds)

    def _exchange(self, connection: Connection, message: Any, seconds: float) -> Any:
        """Send a message and return the answer, or raise what it is."""
        try:
            connection.send(message)
            if not connection.poll(seconds):
                raise BlockingIOError
            fine, result = connection.recv()
        except BlockingIOError as error:  # as a socket with a time limit has it
            self._end()
            raise WorkerHungError("The worker did not answer in time and was replaced.") from error
        except (EOFError, OSError) as error:
            self._end()
            raise WorkerCrashedError("The worker ended while it worked on this photo.") from error
        if not fine:
            assert isinstance(result, InverseFaceNetError)
            raise result
        return result

    def _end(self) -> None:
        with self._lock:
            process, connection = self._process, self._connection
            self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """Let the child end by itself, and end it if it doesn't."""
        with self._lock:
            self._stopped = True
            process, connection = self._process, self._connection
            self._process = self._connection = None
        if connection is not None:
            # The end of file is the child's sign to go; closing gives none while another thread waits.
            with socket.socket(fileno=os.dup(connection.fileno())) as end, suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            connection.close()
        if process is None:
            return
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def missing_worker() -> BackendError:
    """Return the error of a service none of whose workers runs."""
    return BackendError("No worker is running; they are being started again.")
